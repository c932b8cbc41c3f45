package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/stream"
)

// pollEach is how often it is looked whether a queue is empty.
const pollEach = 100 * time.Millisecond

// left is what lies in the queue and is to be done. Not in that of runs: where the call of a dead submitter that opens a run comes after the
// next one has ended it, there is an open run again, until it expires.
func (w *world) left(ctx context.Context, admin *redis.Client) int64 {
	n := int64(0)
	pipe := admin.Pipeline() // one request: a task that moves meanwhile would be seen nowhere
	counts := []*redis.IntCmd{pipe.XLen(ctx, w.keys.Tasks()), pipe.ZCard(ctx, w.keys.Due())}
	if _, err := pipe.Exec(ctx); err != nil {
		w.complain("count tasks: %v", err)
	}
	for _, count := range counts {
		n += count.Val()
	}
	return n
}

// checkOutcomes compares what Redis keeps with what was ordered.
func (w *world) checkOutcomes(ctx context.Context, client *stream.Client) {
	least, most := 0, 0
	for n, e := range w.ledger.tasks {
		if e.order.way == lasts {
			continue
		}
		switch {
		case e.acked:
			least++
			most++
		case e.unsure:
			most++
		case e.refusal != nil && e.starts > 0:
			w.complain("task %d was refused (%v) and has run", n, e.refusal)
		}
		if e.refusal != nil {
			w.complain("task %d was refused: %v", n, e.refusal)
		}
		if e.acked && e.starts == 0 {
			w.complain("task %d has never run", n)
		}
		if e.id == "" {
			continue
		}
		value, err := work.Await(ctx, client, e.id)
		if wrong := e.order.right(value, err); wrong != "" {
			w.complain("task %d, kept, %s", n, wrong)
		}
	}
	if w.plan.lossy || slices.ContainsFunc(w.plan.lasting, func(l lasting) bool { return !l.run }) {
		return // tasks are stored again, or by two owners
	}
	counts := client.Store().Client().HGetAll(ctx, w.keys.Counts()).Val()
	ended := atoi(counts["done"]) + atoi(counts["dead"]) + atoi(counts["cancelled"])
	if ended < least || ended > most {
		w.complain("%d tasks have ended, want %d to %d: %v", ended, least, most, counts)
	}
}

// atoi is the number in a text; 0 for none.
func atoi(text string) (n int) {
	for _, c := range text {
		n = n*10 + int(c-'0')
	}
	return n
}

// stays holds the keys that may be there when all is done.
var stays = []string{"counts", "now", "trend", "sessions", "sessions:info", "dead", "cancels", "state", "tasks"}

// checkKeys looks for what was left behind.
func (w *world) checkKeys(ctx context.Context, admin *redis.Client) {
	kept := make(map[string]bool)
	for _, e := range w.ledger.tasks {
		if e.id != "" {
			kept[w.keys.Reply(e.id)] = true
		}
	}
	prefix := strings.TrimSuffix(w.keys.Tasks(), "tasks")
	for _, key := range w.redis.mini.DB(0).Keys() {
		rest, of := strings.CutPrefix(key, prefix)
		switch {
		case strings.HasPrefix(rest, "batch") && len(w.plan.lasting) > 0: // likewise: the claim of a dead owner came late
		case !of && (key == "wm:queues" || strings.HasPrefix(key, "wm:{"+runs)), kept[key], slices.Contains(stays, rest), strings.HasPrefix(rest, "producer:"):
		default:
			w.complain("the key %s is left: %v", key, admin.TTL(ctx, key).Val())
		}
	}
	groups := admin.XInfoGroups(ctx, w.keys.Tasks()).Val()
	for _, g := range groups {
		if g.Pending > 0 {
			w.complain("%d entries are pending", g.Pending)
		}
	}
}

// pending tells who has what, for whoever looks for a cause.
func (w *world) pending(admin *redis.Client) string {
	entries := admin.XPendingExt(w.ctx, &redis.XPendingExtArgs{Stream: w.keys.Tasks(), Group: "workers", Start: "-", End: "+", Count: 10}).Val()
	return fmt.Sprintf("%+v, %+v", entries, admin.XInfoConsumers(w.ctx, w.keys.Tasks(), "workers").Val())
}
