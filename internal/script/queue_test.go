package script_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

const (
	group   = "workers"
	replyID = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
)

// queue is a queue on a server of its own, and what a test does to it.
type queue struct {
	*script.Runner
	rdb    *redis.Client
	server *redistest.Server
	keys   wire.Keys
	next   int64 // of the lane that store uses
}

func newQueue(t *testing.T, args ...string) *queue {
	t.Helper()
	server := redistest.Start(t, args...)
	q := &queue{rdb: server.Client(t), server: server, keys: wire.NewKeys("wm", "q"), next: 1}
	q.Runner = script.NewRunner(q.rdb)
	q.do(t, "xgroup", "create", q.keys.Tasks(), group, "0", "mkstream")
	return q
}

// id is the nth task ID.
func id(n int) string { return fmt.Sprintf("01ARZ3NDEKTSV4RRFFQ69%05d", n) }

func task(n int) wire.Task {
	return wire.Task{ID: id(n), Function: "f", Attempt: 1, Payload: []byte(fmt.Sprint("p", n))}
}

func laneTask(t wire.Task) script.LaneTask {
	return script.LaneTask{Task: t.Encode(), Unique: t.Unique, UniqueTTL: time.Minute}
}

func (q *queue) lane(tasks ...script.LaneTask) script.Lane {
	return script.Lane{Keys: q.keys, ID: "lane", First: q.next, TTL: time.Minute, Tasks: tasks}
}

func (q *queue) enqueue(t testing.TB, tasks ...script.LaneTask) (script.Stored, error) {
	t.Helper()
	call := q.lane(tasks...)
	return q.Enqueue(t.Context(), &call)
}

// placesOf is what became of the tasks of a call.
func placesOf(stored script.Stored, n int) []script.Place {
	places := make([]script.Place, n)
	for i := range places {
		places[i] = stored.Place(i)
	}
	return places
}

func (q *queue) do(t testing.TB, args ...any) any {
	t.Helper()
	answer, err := q.rdb.Do(t.Context(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%v: %v", args, err)
	}
	return answer
}

// store enqueues tasks and returns their entries.
func (q *queue) store(t testing.TB, tasks ...wire.Task) []string {
	t.Helper()
	var lane []script.LaneTask
	for _, task := range tasks {
		lane = append(lane, laneTask(task))
	}
	stored, err := q.enqueue(t, lane...)
	if err != nil {
		t.Fatal(err)
	}
	q.next = stored.Last + 1
	entries := make([]string, len(tasks))
	for i, place := range placesOf(stored, len(tasks)) {
		entries[i] = place.Entry
	}
	return entries
}

// deliver hands at most n new entries to a consumer.
func (q *queue) deliver(t testing.TB, consumer string, n int64) []string {
	t.Helper()
	streams, err := q.rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group: group, Consumer: consumer, Streams: []string{q.keys.Tasks(), ">"}, Count: n, Block: -1,
	}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	var entries []string
	for _, stream := range streams {
		for _, m := range stream.Messages {
			entries = append(entries, m.ID)
		}
	}
	return entries
}

// running stores n tasks and delivers them to a consumer.
func (q *queue) running(t testing.TB, consumer string, n int) []string {
	t.Helper()
	tasks := make([]wire.Task, n)
	for i := range tasks {
		tasks[i] = task(i)
	}
	q.store(t, tasks...)
	entries := q.deliver(t, consumer, int64(n))
	if len(entries) != n {
		t.Fatalf("delivered %d of %d", len(entries), n)
	}
	return entries
}

// owner is the consumer of an entry, "" when nobody has it.
func (q *queue) owner(t testing.TB, entry string) string {
	t.Helper()
	rows, err := q.rdb.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: q.keys.Tasks(), Group: group, Start: entry, End: entry, Count: 1}).Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		return ""
	}
	return rows[0].Consumer
}

func (q *queue) consumers(t testing.TB) []string {
	t.Helper()
	rows, err := q.rdb.XInfoConsumers(t.Context(), q.keys.Tasks(), group).Result()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, row := range rows {
		names = append(names, row.Name)
	}
	return names
}

func (q *queue) count(t testing.TB, name string) int {
	t.Helper()
	n, err := q.rdb.HGet(t.Context(), q.keys.Counts(), name).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return n
}

func (q *queue) wantCount(t testing.TB, name string, want int) {
	t.Helper()
	if got := q.count(t, name); got != want {
		t.Errorf("count %q: got %d, want %d", name, got, want)
	}
}

func (q *queue) length(t testing.TB, key string) int {
	t.Helper()
	n, err := q.rdb.XLen(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

func (q *queue) wantStored(t testing.TB, want int) {
	t.Helper()
	if got := q.length(t, q.keys.Tasks()); got != want {
		t.Errorf("entries in tasks: got %d, want %d", got, want)
	}
}

// openReply makes a reply stream, as a session does.
func (q *queue) openReply(t testing.TB) {
	t.Helper()
	if _, err := q.Session(t.Context(), script.SessionKeys{Keys: q.keys, ID: replyID, Lane: "lane"}, time.Minute); err != nil {
		t.Fatal(err)
	}
}

// replies is all that lies in the reply stream, "<task ID>=<text>" for each, and how many entries hold it.
func (q *queue) replies(t testing.TB) (texts []string, entries int) {
	t.Helper()
	streams, err := q.rdb.Do(t.Context(), "xrange", q.keys.Reply(replyID), "-", "+").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range streams {
		fields := row.([]any)[1].([]any)
		for i := 0; i < len(fields); i += 2 {
			texts = append(texts, fmt.Sprint(fields[i], "=", fields[i+1]))
		}
	}
	return texts, len(streams)
}

// listen returns what is published on the control channel from now on.
func (q *queue) listen(t testing.TB) func() string {
	t.Helper()
	pubsub := q.rdb.Subscribe(t.Context(), q.keys.Control())
	t.Cleanup(func() { _ = pubsub.Close() })
	if _, err := pubsub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		message, err := pubsub.ReceiveMessage(ctx)
		if err != nil {
			t.Fatalf("no message on the control channel: %v", err)
		}
		return message.Payload
	}
}

// dump is everything in Redis, for tests that nothing may change; TTLs and volatile parts are left out.
func (q *queue) dump(t testing.TB) string {
	t.Helper()
	keys, err := q.rdb.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&b, "%s ", key)
		switch kind := q.rdb.Type(t.Context(), key).Val(); kind {
		case "string":
			fmt.Fprintln(&b, q.rdb.Get(t.Context(), key).Val())
		case "hash":
			all := q.rdb.HGetAll(t.Context(), key).Val()
			for _, field := range slices.Sorted(maps.Keys(all)) {
				fmt.Fprintf(&b, "%s=%q ", field, all[field])
			}
			fmt.Fprintln(&b)
		case "zset":
			fmt.Fprintln(&b, q.rdb.ZRangeWithScores(t.Context(), key, 0, -1).Val())
		case "stream":
			fmt.Fprintln(&b, q.rdb.Do(t.Context(), "xrange", key, "-", "+").Val())
			pending, _ := q.rdb.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: key, Group: group, Start: "-", End: "+", Count: 100}).Result()
			for _, row := range pending {
				fmt.Fprintln(&b, "  pending", row.ID, row.Consumer)
			}
		default:
			fmt.Fprintln(&b, kind)
		}
	}
	return b.String()
}

func result(text string) string {
	o := wire.Outcome{Kind: wire.KindResult, Payload: []byte(text)}
	return o.Encode()
}

// beat is a heartbeat for this queue alone.
func (q *queue) beat(t testing.TB, worker string, ttl time.Duration, value string) (fence string, renewed bool, err error) {
	t.Helper()
	leases, err := q.Heartbeat(t.Context(), []wire.Keys{q.keys}, worker, ttl, value)
	if err != nil {
		return "", false, err
	}
	return leases[0].Fence, leases[0].Renewed, nil
}
