package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// What one look reads at most. Each check says of how much it speaks where there is more.
const (
	deliveredPages = 10  // of lettersAtOnce entries, in which ghosts are sought
	hintsRead      = 50  // tasks whose function is looked at
	pendingRead    = 200 // entries of which the longest with a worker is told
	consumersRead  = 500
	repliesRead    = 10 // reply streams of clients that have left, each of which costs a command
)

const (
	longWait    = time.Minute      // for a worker
	longRun     = time.Hour        // of one task
	longOverdue = 10 * time.Second // of a delayed task
	longDead    = 30 * time.Second // of a worker without a lease that has tasks
	farFuture   = 24 * time.Hour   // of an entry ID
	freshLetter = time.Hour
)

// ward is what a queue looks like to the doctor.
type ward struct {
	name     string
	keys     wire.Keys
	group    string
	census   script.Census
	seen     script.Examined
	looked   int  // delivered entries in which ghosts were sought
	more     bool // there are delivered entries behind these
	ghosts   int
	ghost    string
	newest   string // the highest entry ID that was ever made, or of the newest entry where that may not be read
	pausedAt time.Time
	workers  int // in the group, consumersRead of which are looked at
	alive    []wire.LeaseInfo
	dead     []redis.XInfoConsumer // without a lease, with entries
	higher   string                // the highest ID that is pending
	pending  int                   // entries that longest is the longest of
	longest  redis.XPendingExt
	due      time.Time // of the first that is due later
	crashes  int64
	letter   string // the newest
	left     int    // dead sessions, repliesRead of which are looked at
	stale    []string
	endless  []string // reply streams of dead sessions that never go away
}

// examineQueue checks one queue.
func (i *Inspector) examineQueue(ctx context.Context, queue string) ([]Check, error) {
	types, err := i.examineTypes(ctx, queue)
	if err != nil || types.Grade != Passed { // nothing else can be told then
		return []Check{types}, err
	}
	w := &ward{name: queue, keys: i.store.Keys(queue), group: i.store.Group()}
	if err := i.visit(ctx, w); err != nil {
		if !answered(err) {
			return nil, err
		}
		return []Check{types, {
			Name: "queue.readable", Queue: queue, Grade: Unknown, Found: "it cannot be looked at: " + err.Error(),
			Remedy: "give this user the rights of PROTOCOL.md",
		}}, nil
	}
	checks := []Check{types}
	for _, check := range queueChecks {
		c := Check{Name: "queue." + check.name, Queue: queue}
		c.Grade, c.Found, c.Remedy = check.look(w)
		checks = append(checks, c)
	}
	return checks, nil
}

func (i *Inspector) examineTypes(ctx context.Context, queue string) (Check, error) {
	c := Check{Name: "queue.keys", Queue: queue, Grade: Passed, Found: "all keys have the types they should"}
	var wrong, remedies []string
	for _, key := range i.looksAt(ctx, queue) {
		err := key.answer.Err()
		switch {
		case isWrongType(err):
			wrong = append(wrong, key.key+" is no "+key.kind)
			remedies = append(remedies, "redis-cli RENAME "+key.key+" "+key.key+".wrong")
		case err != nil && !answered(err):
			return c, err
		case err != nil && !errors.Is(err, redis.Nil):
			c.Grade, c.Found, c.Remedy = Unknown, key.key+" cannot be read: "+err.Error(), "give this user the rights of PROTOCOL.md"
		}
	}
	if len(wrong) > 0 {
		c.Grade, c.Found = Refused, strings.Join(wrong, ", ")+": another program has written it, and every call that needs it fails"
		c.Remedy = strings.Join(remedies, "; ") + " (look into it before you delete it)"
	}
	return c, nil
}

// visit reads what the checks need.
func (i *Inspector) visit(ctx context.Context, w *ward) error {
	w.census = i.store.Scripts().Census(ctx, []wire.Keys{w.keys}, w.group)[0]
	if w.census.Err != nil {
		return w.census.Err
	}
	if err := i.visitTasks(ctx, w); err != nil {
		return err
	}
	if err := i.visitWorkers(ctx, w); err != nil {
		return err
	}
	return i.visitSessions(ctx, w)
}

func (i *Inspector) visitTasks(ctx context.Context, w *ward) error {
	if err := i.findGhosts(ctx, w); err != nil {
		return err
	}
	pipe := i.store.Client().Pipeline()
	newest, letter := pipe.XRevRangeN(ctx, w.keys.Tasks(), "+", "-", 1), pipe.XRevRangeN(ctx, w.keys.Dead(), "+", "-", 1)
	paused, crashes := pipe.HGet(ctx, w.keys.State(), "paused"), pipe.HLen(ctx, w.keys.Crashes())
	due := pipe.ZRangeWithScores(ctx, w.keys.Due(), 0, 0)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	w.crashes, w.newest, w.letter = crashes.Val(), firstID(newest.Val()), firstID(letter.Val())
	if stream, err := i.store.Client().XInfoStream(ctx, w.keys.Tasks()).Result(); err == nil { // PROTOCOL.md gives no right to that
		w.newest = stream.LastGeneratedID
	}
	if ms, err := strconv.ParseInt(paused.Val(), 10, 64); err == nil && ms > 1 {
		w.pausedAt = time.UnixMilli(ms)
	}
	if found := due.Val(); len(found) > 0 {
		w.due = time.UnixMilli(int64(found[0].Score))
	}
	return nil
}

func firstID(found []redis.XMessage) string {
	if len(found) == 0 {
		return ""
	}
	return found[0].ID
}

// findGhosts looks at what was delivered, and in the first page also at what waits.
func (i *Inspector) findGhosts(ctx context.Context, w *ward) error {
	page, hints := script.Page{Start: "-", Limit: lettersAtOnce}, hintsRead
	for range deliveredPages {
		seen, err := i.store.Scripts().Examine(ctx, w.keys, w.group, page, hints)
		if err != nil {
			return err
		}
		if hints > 0 {
			w.seen = seen
		}
		w.ghosts, w.ghost = w.ghosts+seen.Ghosts, cmp.Or(w.ghost, seen.Ghost)
		w.looked, w.more = w.looked+seen.Looked, seen.Next != ""
		if !w.more {
			return nil
		}
		page.Start, page.End, hints = seen.Next, seen.Delivered, 0
	}
	return nil
}

func (i *Inspector) visitWorkers(ctx context.Context, w *ward) error {
	if w.seen.Delivered == "" {
		return nil // there is no group
	}
	pipe := i.store.Client().Pipeline()
	consumers, pending := pipe.XInfoConsumers(ctx, w.keys.Tasks(), w.group), pipe.XPending(ctx, w.keys.Tasks(), w.group)
	first := pipe.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: w.keys.Tasks(), Group: w.group, Start: "-", End: "+", Count: pendingRead})
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	w.higher, w.pending = pending.Val().Higher, len(first.Val())
	for _, row := range first.Val() {
		if row.Consumer != wire.ReleasedConsumer && row.Idle > w.longest.Idle {
			w.longest = row
		}
	}
	workers := slices.DeleteFunc(consumers.Val(), func(c redis.XInfoConsumer) bool { return c.Name == wire.ReleasedConsumer })
	w.workers = len(workers)
	return i.askLeases(ctx, w, workers[:min(len(workers), consumersRead)])
}

// askLeases parts the workers that live from those that are dead and have tasks.
func (i *Inspector) askLeases(ctx context.Context, w *ward, workers []redis.XInfoConsumer) error {
	if len(workers) == 0 {
		return nil
	}
	names := make([]string, len(workers))
	for n, c := range workers {
		names[n] = w.keys.Lease(c.Name)
	}
	leases, err := i.store.Client().MGet(ctx, names...).Result()
	if err != nil {
		return err
	}
	for n, c := range workers {
		if text, ok := leases[n].(string); ok {
			w.alive = append(w.alive, wire.DecodeLeaseInfo(text))
		} else if c.Pending > 0 {
			w.dead = append(w.dead, c)
		}
	}
	return nil
}

// visitSessions finds reply streams whose readers are gone: of the last ones that were heard, those that have been silent for longest.
func (i *Inspector) visitSessions(ctx context.Context, w *ward) error {
	sessions, _, _, err := i.sessions(ctx, w.name)
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(sessions, func(s Batch) bool { return s.Alive })
	if w.left = len(gone); w.left == 0 {
		return nil
	}
	pipe := i.store.Client().Pipeline()
	left := map[string]*redis.DurationCmd{}
	for _, s := range gone[max(0, len(gone)-repliesRead):] {
		left[s.ID] = pipe.PTTL(ctx, w.keys.Reply(s.ID))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(left)) {
		switch ttl := left[id].Val(); {
		case ttl == -1:
			w.endless = append(w.endless, w.keys.Reply(id))
		case ttl > 0:
			w.stale = append(w.stale, id)
		}
	}
	return nil
}

// waiting is how many entries wait for a worker.
func (w *ward) waiting() int64 { return max(0, w.census.Entries-w.census.Running) }

// slots is how many tasks the live workers run at a time; known is false where one does not say.
func (w *ward) slots() (n int64, known bool) {
	known = w.workers <= consumersRead
	for _, worker := range w.alive {
		n += int64(worker.Concurrency)
		known = known && worker.Concurrency > 0
	}
	return n, known
}

// unknownFunctions are those that tasks need and no live worker has, with how many of the tasks that were looked at need them.
func (w *ward) unknownFunctions() map[string]int {
	known := map[string]bool{}
	for _, worker := range w.alive {
		if len(worker.Functions) == 0 || slices.Contains(worker.Functions, wire.More) {
			return nil // it does not say
		}
		for _, name := range worker.Functions {
			known[name] = true
		}
	}
	missing := map[string]int{}
	for _, hint := range w.seen.Waiting {
		if len(w.alive) > 0 && hint.Function != "" && !known[hint.Function] {
			missing[hint.Function]++
		}
	}
	return missing
}

// since is a time span for people.
func (w *ward) since(t time.Time) string {
	return max(0, w.census.Now.Sub(t)).Round(time.Second).String()
}

func (w *ward) isFuture(id string) bool {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(ms, 10, 64)
	return err == nil && n > math.MaxInt64/2 || entryTime(id).After(w.census.Now.Add(farFuture))
}

func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
