package script_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// everything makes calls of all scripts, on keys that hold something.
func (q *queue) everything(t testing.TB) {
	t.Helper()
	q.live(t, func() {})
	q.do(t, "eval", restore, 0) // nothing
	(&run{queue: q, k: q.keys.Run(runID)}).live(t)
	q.next = 1
	q.visit(t)
	q.checkpoints(t)
	q.runs(t)
	q.lookAround(t)
}

// tour reports what a call answered that should not have failed.
type tour struct{ t testing.TB }

func (o tour) did(_ any, err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// visit makes those calls about tasks that a task needs not live through.
func (q *queue) visit(t testing.TB) {
	t.Helper()
	o, ctx := tour{t}, t.Context()
	q.openReply(t)
	q.do(t, "del", q.keys.Tasks())
	q.do(t, "xgroup", "create", q.keys.Tasks(), group, "0", "mkstream")
	entries := q.running(t, "me", 6)
	own := q.fence(t, "me")
	unique := laneTask(callers(20))
	unique.Unique, unique.Keep = "hash", time.Minute
	later := laneTask(callers(21))
	later.After = time.Hour
	limited := q.lane(unique, later)
	limited.Limit = 100
	stored, err := q.Enqueue(ctx, &limited)
	o.did(stored, err)
	o.did(q.Enqueue(ctx, &limited)) // again: a retry
	q.next = stored.Last + 1
	due := callers(30)
	q.delay(t, due, 1)
	o.did(q.Hasten(ctx, q.keys, []string{id(30), id(31)}))
	o.did(q.Cancel(ctx, q.keys, group, []script.TaskRef{{ID: id(30)}, {ID: id(1), Entry: entries[1]}, {ID: id(77)}}))
	o.did(nil, q.Stop(ctx, q.keys, id(2)))
	o.did(q.Switch(ctx, q.keys, true))
	o.did(q.Switch(ctx, q.keys, false))
	held := q.batch(entries[0])
	held.Items[0].Unique = "hash"
	o.did(q.Commit(ctx, held))
	fenced := q.batch(entries[1], entries[2])
	fenced.Fence = own
	o.did(q.Commit(ctx, fenced))
	q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "me") // leaves ghosts
	_, _, err = q.Ghosts(ctx, q.keys, group, "you", script.Page{Start: "-", Limit: 2})
	o.did(nil, err)
	q.do(t, "del", q.keys.Lease("you"))
	o.did(q.Reclaim(ctx, script.ReclaimFrom{Keys: q.keys, Group: group, Me: "me", Dead: "you", Limit: 1, Mode: script.ByLease}))
	o.did(q.Reclaim(ctx, script.ReclaimFrom{Keys: q.keys, Group: group, Me: wire.ReleasedConsumer, Dead: "you", Limit: 9, Mode: script.ByPresence}))
	waiting := q.store(t, callers(40), callers(41), callers(42))
	o.did(q.Remove(ctx, q.keys, group, []script.TaskRef{{ID: id(40), Entry: waiting[0]}, {ID: id(21)}, {ID: id(99)}}))
	_, _, _, err = q.RemovePage(ctx, q.keys, group, script.Page{Start: "-", End: "+", Limit: 5})
	o.did(nil, err)
}

// checkpoints makes and removes checkpoints.
func (q *queue) checkpoints(t testing.TB) {
	t.Helper()
	o, ctx := tour{t}, t.Context()
	one := script.Claim{Name: "b", Owner: "one", Session: "s1", Function: "f", Kind: "fold", TTL: time.Minute}
	two := one
	two.Owner, two.Session = "two", "s2"
	claimed, err := q.Claim(ctx, q.keys, one)
	o.did(claimed, err)
	save := script.Save{Name: "b", Owner: epochOf(t, claimed), Seq: 1, TTL: time.Minute, Fields: fields("a")}
	o.did(q.Save(ctx, q.keys, save))
	save.Fields = nil
	o.did(q.Save(ctx, q.keys, save))
	claimed, err = q.Claim(ctx, q.keys, two)
	o.did(claimed, err)
	o.did(q.Discard(ctx, q.keys, "b", epochOf(t, claimed), true))
	_, _, err = q.Leftover(ctx, q.keys, replyID, "-", "+")
	o.did(nil, err)
}

// runs makes those calls about runs that one which goes well needs not.
func (q *queue) runs(t testing.TB) {
	t.Helper()
	o, ctx := tour{t}, t.Context()
	r := &run{queue: q, k: q.keys.Run(runID)}
	o.did(r.open(t, "tolerate", 1, "limit", 1000, "within", 60000))
	_, _, err := r.feed(t, 0, true, "m0", "m1", "m2", "m3")
	o.did(nil, err)
	copied := r.execution(script.Maps, 1, "copy")
	copied.Avoid = "w-b"
	for _, e := range []*script.Execution{r.execution(script.Maps, 0, "a"), r.execution(script.Maps, 1, "b"), r.execution(script.Maps, 2, "c"), copied} {
		r.begin(t, e)
	}
	o.did(r.SpillRun(ctx, copied, 10))
	r.finish(t, r.execution(script.Maps, 0, "a"))
	o.did(r.SlowRun(ctx, r.k, 0, 0))
	q.do(t, "hset", r.k.Running(), "1", "1 task entry execution w-b")
	o.did(r.CopyRun(ctx, r.k, script.Maps, script.SlowTask{Number: "1", Record: "1 task entry execution w-b"}, []byte("again")))
	o.did(nil, r.KeepPartitions(ctx, r.k, 1, time.Minute, true))
	o.did(nil, r.KeepPartitions(ctx, r.k, 1, time.Minute, false))
	o.did(r.PutParts(ctx, []script.Part{{Key: r.k.Shuffle(0), Field: "f", Data: []byte("x")}}))
	o.did(r.RenewRun(ctx, r.k, time.Minute, true))
	for i, reason := range []string{"", "", script.ReasonDataLost, script.ReasonCancelled} {
		r.fail(t, script.Maps, i, reason)
	}
}

// lookAround makes the calls that change nothing, or only what people see.
func (q *queue) lookAround(t testing.TB) {
	t.Helper()
	o, ctx := tour{t}, t.Context()
	queues := []wire.Keys{q.keys, wire.NewKeys("wm", "p")}
	q.store(t, callers(50), callers(51), callers(52))
	q.deliver(t, "me", 1)
	q.delay(t, callers(53), 1<<50)
	for i := range 3 {
		letter := callers(60 + i)
		q.do(t, "xadd", q.keys.Dead(), "*", "v1", string(letter.Encode()), "reason", "failed", "error", fmt.Sprint("error ", i, " of 10.0.0.1:", i))
	}
	o.did(nil, q.Record(ctx, group, []script.Record{{Keys: q.keys, Minute: did(3)}, {Keys: queues[1], Minute: did(1)}}))
	q.do(t, "hset", q.keys.Now(), "minute", 60000)
	o.did(nil, q.Record(ctx, group, []script.Record{{Keys: q.keys, Minute: did(2)}}))
	for _, census := range q.Census(ctx, queues, group) {
		o.did(nil, census.Err)
	}
	o.did(q.Consumers(ctx, q.keys, group, script.ConsumerQuery{Limit: 10}))
	o.did(q.Examine(ctx, q.keys, group, script.Page{Start: "-", Limit: 10}, 5))
	for _, state := range []string{"waiting", "running", "delayed", "dead"} {
		o.did(q.List(ctx, q.keys, group, script.Listing{State: state, Function: "f", Limit: 10, Look: 100}))
	}
	for _, whole := range []bool{true, false} {
		o.did(q.Look(ctx, queues, group, whole))
	}
	o.did(q.Waiting(ctx, queues, group))
	query := script.LetterQuery{Start: "-", End: "+", Look: 10, Find: 10}
	_, _, err := q.LetterIDs(ctx, q.keys, &query)
	o.did(nil, err)
	_, _, err = q.Letters(ctx, q.keys, &query)
	o.did(nil, err)
	query = script.LetterQuery{Newest: true, Start: "+", End: "-", Look: 10, Find: 10, Tasks: []string{id(61)}}
	_, _, err = q.LetterGroups(ctx, q.keys, &query)
	o.did(nil, err)
	q.Trace(ctx, queues, id(50))
	o.did(q.Near(ctx, q.keys.Tasks(), time.Now(), true))
	o.did(q.Near(ctx, q.keys.Tasks(), time.Now().Add(-time.Hour), false))
	o.did(nil, q.Spot(ctx, &script.Spot{Stream: q.keys.Tasks(), ID: id(51), Chunk: chunkID, From: "-"}, 100))
	o.did(nil, q.Spot(ctx, &script.Spot{Stream: q.keys.Tasks(), ID: id(50), Chunk: chunkID, From: "+", Down: true}, 100))
	o.did(q.Seek(ctx, q.keys, script.Page{Start: "-", End: "+", Limit: 10}, []string{id(51)}))
}
