package script_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// TestCancel cancels one task in each place that it may be in.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		place     func(t *testing.T, q *queue) script.TaskRef
		removed   int
		heard     bool // workers are told
		tombstone bool
	}{
		"waiting": {func(t *testing.T, q *queue) script.TaskRef {
			t.Helper()
			return script.TaskRef{ID: id(0), Entry: q.store(t, callers(0))[0]}
		}, 1, false, false},
		"due later": {func(t *testing.T, q *queue) script.TaskRef {
			t.Helper()
			q.delay(t, callers(0), 1)
			return script.TaskRef{ID: id(0)}
		}, 1, false, false},
		"due again after it had an entry": {func(t *testing.T, q *queue) script.TaskRef {
			t.Helper()
			entry := q.store(t, callers(0))[0]
			q.deliver(t, "me", 10)
			item := q.retry(entry, time.Hour)
			item.Task = callers(0)
			if ok, err := q.Retry(t.Context(), item); err != nil || !ok {
				t.Fatal(ok, err)
			}
			return script.TaskRef{ID: id(0), Entry: entry}
		}, 1, false, false},
		"with a worker": {func(t *testing.T, q *queue) script.TaskRef {
			t.Helper()
			entry := q.store(t, callers(0))[0]
			q.deliver(t, "me", 10)
			return script.TaskRef{ID: id(0), Entry: entry}
		}, 0, true, false},
		"promoted, so that its caller does not know the entry": {func(t *testing.T, q *queue) script.TaskRef {
			t.Helper()
			q.delay(t, callers(0), 1)
			if n, _, err := q.Promote(t.Context(), q.keys, 1); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			return script.TaskRef{ID: id(0)}
		}, 0, true, true},
		"done": {func(t *testing.T, q *queue) script.TaskRef {
			t.Helper()
			entry := q.store(t, callers(0))[0]
			q.deliver(t, "me", 10)
			q.mustCommit(t, q.batch(entry))
			return script.TaskRef{ID: id(0), Entry: entry}
		}, 0, true, true},
		"in a stream without a group": {func(t *testing.T, q *queue) script.TaskRef {
			t.Helper()
			q.do(t, "xgroup", "destroy", q.keys.Tasks(), group)
			return script.TaskRef{ID: id(0), Entry: q.store(t, callers(0))[0]}
		}, 1, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.openReply(t)
			q.store(t, task(7)) // a neighbor
			ref := c.place(t, q)
			q.do(t, "set", q.keys.Unique("hash"), id(0))
			before, _ := q.replies(t)
			heard := q.listen(t)
			removed, err := q.Cancel(t.Context(), q.keys, group, []script.TaskRef{ref})
			if err != nil || removed != c.removed {
				t.Fatalf("got %d, %v, want %d removed", removed, err, c.removed)
			}
			if c.heard {
				if got := heard(); got != "cancel "+id(0) {
					t.Errorf("heard %q", got)
				}
			}
			noted, err := q.Cancelled(t.Context(), q.keys, []string{id(7), id(0)})
			if err != nil || !slices.Equal(noted, []bool{false, c.tombstone}) {
				t.Errorf("cancelled: got %v, %v, want %v", noted, err, c.tombstone)
			}
			if locks := q.rdb.Exists(t.Context(), q.keys.Unique("hash")).Val(); (locks == 0) != (removed == 1) {
				t.Errorf("locks left: %d, removed %d", locks, removed)
			}
			q.wantCount(t, "cancelled", c.removed)
			q.wantCancelled(t, before, removed)
			if again, err := q.Cancel(t.Context(), q.keys, group, []script.TaskRef{ref}); err != nil || again != 0 {
				t.Errorf("again: got %d, %v, want 0", again, err)
			}
		})
	}
}

// callers is a task that somebody waits for, with a uniqueness lock.
func callers(n int) wire.Task {
	one := task(n)
	one.Reply, one.Unique, one.Attempt = replyID, "hash", 2
	return one
}

// wantCancelled holds that whoever waits for a removed task gets its outcome.
func (q *queue) wantCancelled(t testing.TB, before []string, removed int) {
	t.Helper()
	after, _ := q.replies(t)
	after = after[len(before):]
	if len(after) != removed {
		t.Fatalf("outcomes: got %q, want %d", after, removed)
	}
	if removed == 0 {
		return
	}
	taskID, text, _ := strings.Cut(after[0], "=")
	got, err := wire.DecodeOutcome(taskID, text)
	if want := (wire.Failure{Function: "f", Attempt: 2, Reason: wire.ReasonCancelled, Message: "it was cancelled before it started"}); err != nil || got.Failure != want || taskID != id(0) {
		t.Errorf("outcome: got %+v, %v, want %+v", got, err, want)
	}
}

func TestCancelForgetsCrashes(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entry := q.running(t, "dead", 1)[0]
	q.reclaim(t, script.ByLease, 1)
	if err := q.Release(t.Context(), q.keys, group, "me", []string{entry}); err != nil {
		t.Fatal(err)
	}
	if removed, err := q.Cancel(t.Context(), q.keys, group, []script.TaskRef{{ID: id(0), Entry: entry}}); err != nil || removed != 1 {
		t.Fatal(removed, err)
	}
	if left := q.rdb.HGetAll(t.Context(), q.keys.Crashes()).Val(); len(left) != 0 {
		t.Errorf("left for ever: %v", left)
	}
}

func TestCancelTakesManyAtOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	tasks, refs := make([]wire.Task, 450), make([]script.TaskRef, 450)
	for i := range tasks {
		tasks[i] = task(i)
	}
	for i, entry := range q.store(t, tasks...) {
		refs[i] = script.TaskRef{ID: id(i), Entry: entry}
	}
	if removed, err := q.Cancel(t.Context(), q.keys, group, refs); err != nil || removed != 450 {
		t.Errorf("got %d, %v, want 450", removed, err)
	}
	q.wantStored(t, 0)
}

func TestTombstonesOfCancelAreGoneAfterAnHour(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	now := q.rdb.Time(t.Context()).Val().UnixMilli()
	q.do(t, "zadd", q.keys.Cancels(), now-3600001, "old", now-3500000, "young")
	if _, err := q.Cancel(t.Context(), q.keys, group, []script.TaskRef{{ID: id(0)}}); err != nil {
		t.Fatal(err)
	}
	if got := q.rdb.ZRange(t.Context(), q.keys.Cancels(), 0, -1).Val(); !slices.Equal(got, []string{"young", id(0)}) {
		t.Errorf("tombstones: %v", got)
	}
}

// TestStop notes tasks that run, and tells their workers.
func TestStop(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	old := time.Now().Add(-2 * time.Hour).UnixMilli()
	q.do(t, "zadd", q.keys.Cancels(), old, id(5))
	q.do(t, "hset", q.keys.State(), "paused", "1")
	heard := q.listen(t)
	if err := q.Stop(t.Context(), q.keys, id(0), id(1)); err != nil {
		t.Fatal(err)
	}
	if first, second := heard(), heard(); first != "stop "+id(0) || second != "stop "+id(1) {
		t.Errorf("heard %q, %q", first, second)
	}
	noted, err := q.Cancelled(t.Context(), q.keys, []string{id(0), id(1), id(2), id(5)})
	if err != nil || !slices.Equal(noted, []bool{true, true, false, false}) {
		t.Errorf("cancelled: got %v, %v", noted, err)
	}
	before := q.rdb.HGetAll(t.Context(), q.keys.State()).Val()
	if err := q.Stop(t.Context(), q.keys, id(2)); err != nil {
		t.Fatal(err)
	}
	after := q.rdb.HGetAll(t.Context(), q.keys.State()).Val()
	if after["paused"] != "1" || before["stops"] == "" || before["stops"] == after["stops"] {
		t.Errorf("state: got %v, then %v", before, after)
	}
}
