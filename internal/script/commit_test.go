package script_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

func (q *queue) batch(entries ...string) script.CommitBatch {
	b := script.CommitBatch{Keys: q.keys, Group: group, Worker: "me", Counter: "done"}
	for i, entry := range entries {
		b.Items = append(b.Items, script.CommitItem{Entry: entry, TaskID: id(i), Reply: replyID, Outcome: result("x")})
	}
	return b
}

// fence makes the worker's lease and returns its fence.
func (q *queue) fence(t testing.TB, worker string) string {
	t.Helper()
	fence, _, err := q.beat(t, worker, time.Minute, "host")
	if err != nil || fence == "" {
		t.Fatalf("heartbeat: fence %q, %v", fence, err)
	}
	return fence
}

// TestCommitIsTheGate commits three running tasks after something has happened to them: the same with the worker's fence, a wrong one
// and none.
func TestCommitIsTheGate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(t *testing.T, q *queue, entries []string)
		late   []int
		done   int // by this commit
	}{
		"nothing happened": {func(*testing.T, *queue, []string) {}, nil, 3},
		"all were committed before": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.mustCommit(t, q.batch(entries...))
		}, []int{0, 1, 2}, 0},
		"another worker committed one": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xclaim", q.keys.Tasks(), group, "other", 0, entries[1])
			other := q.batch(entries[1])
			other.Worker, other.Items[0].TaskID = "other", id(1)
			q.mustCommit(t, other)
		}, []int{1}, 2},
		"another worker has them all": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xclaim", q.keys.Tasks(), group, "other", 0, entries[0], entries[1], entries[2])
		}, nil, 3},
		"an operator trimmed all": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xtrim", q.keys.Tasks(), "maxlen", 0)
		}, nil, 3},
		"an operator deleted one": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xdel", q.keys.Tasks(), entries[0])
		}, nil, 3},
		"an operator deleted the consumer": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "me")
		}, nil, 3},
		"an operator made the group anew": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "destroy", q.keys.Tasks(), group)
			q.do(t, "xgroup", "create", q.keys.Tasks(), group, "0")
		}, nil, 3},
		"an operator destroyed the group": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "destroy", q.keys.Tasks(), group)
		}, nil, 3},
		"trimmed and orphaned: gone for good": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "me")
			q.do(t, "xtrim", q.keys.Tasks(), "maxlen", 0)
		}, []int{0, 1, 2}, 0},
		"one of each": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xclaim", q.keys.Tasks(), group, "other", 0, entries[1])
			q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "other")
			done := q.batch(entries[2])
			done.Items[0].TaskID = id(2)
			q.mustCommit(t, done)
		}, []int{2}, 2},
	} {
		for _, with := range []string{"the fence", "a wrong fence", "a longer fence", "no fence"} {
			t.Run(name+", with "+with, func(t *testing.T) {
				t.Parallel()
				q := newQueue(t)
				q.openReply(t)
				entries := q.running(t, "me", 3)
				b := q.batch(entries...)
				b.Fence = map[string]string{"the fence": q.fence(t, "me"), "a wrong fence": "1.1", "a longer fence": q.fence(t, "me") + "0"}[with]
				c.before(t, q, entries)
				before := q.count(t, "done")
				late, err := q.Commit(t.Context(), b)
				if err != nil || !slices.Equal(late, c.late) {
					t.Errorf("commit: got late %v, %v, want %v", late, err, c.late)
				}
				q.wantCount(t, "done", before+c.done)
				q.wantStored(t, 0)
				want := 3
				if name == "trimmed and orphaned: gone for good" {
					want = 0
				}
				texts, _ := q.replies(t)
				slices.Sort(texts)
				if len(texts) != want || len(slices.Compact(texts)) != want {
					t.Errorf("outcomes: got %q, want one of each of %d", texts, want)
				}
				if late, err = q.Commit(t.Context(), b); err != nil || len(late) != 3 {
					t.Errorf("commit again: got late %v, %v, want all", late, err)
				}
				if again, _ := q.replies(t); len(again) != want {
					t.Errorf("outcomes after the second commit: %q", again)
				}
			})
		}
	}
}

func (q *queue) mustCommit(t testing.TB, b script.CommitBatch) {
	t.Helper()
	if late, err := q.Commit(t.Context(), b); err != nil || len(late) > 0 {
		t.Fatalf("commit: late %v, %v", late, err)
	}
}

func TestAFenceThatIsTheStartOfAnotherIsNoFence(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entries := q.running(t, "me", 2)
	q.do(t, "set", q.keys.Lease("me"), "17.55 host")
	q.do(t, "xack", q.keys.Tasks(), group, entries[0]) // done elsewhere, while the other was trimmed: only exact counting tells them apart
	q.do(t, "xdel", q.keys.Tasks(), entries[0], entries[1])
	b := q.batch(entries...)
	b.Fence = "17.5"
	if late, err := q.Commit(t.Context(), b); err != nil || !slices.Equal(late, []int{0}) {
		t.Errorf("got late %v, %v, want the first only: the lease is another one", late, err)
	}
}

func TestOutcomesOfOneCommitArePackedInOneEntry(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.openReply(t)
	entries := q.running(t, "me", 256)
	q.mustCommit(t, q.batch(entries...))
	if texts, n := q.replies(t); len(texts) != 256 || n != 1 || texts[255] != id(255)+"=+x" {
		t.Errorf("got %d outcomes in %d entries, want 256 in 1", len(texts), n)
	}
	q.wantCount(t, "unclaimed", 0)
}

func TestOutcomesThatNobodyWaitsForAreCountedAndNotKept(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.mustCommit(t, q.batch(q.running(t, "me", 3)...))
	q.wantCount(t, "unclaimed", 3)
	q.wantCount(t, "done", 3)
	if n := q.rdb.Exists(t.Context(), q.keys.Reply(replyID)).Val(); n != 0 {
		t.Error("the reply stream came back to life")
	}
}

func TestTheUniqueLockIsReleasedByItsHolderOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		holder string
		want   int64
	}{"held by the task": {id(0), 0}, "held by another task by now": {id(9), 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, end := range map[string]func(q *queue, entry string) error{
				"commit": func(q *queue, entry string) error {
					b := q.batch(entry)
					b.Items[0].Unique = "hash"
					_, err := q.Commit(t.Context(), b)
					return err
				},
				"bury": func(q *queue, entry string) error {
					_, err := q.Bury(t.Context(), script.BuryItem{
						Keys: q.keys, Group: group, Consumer: "me", Entry: entry, TaskID: id(0), Unique: "hash", Outcome: "-{}", Fields: []string{"raw", "x"},
					})
					return err
				},
			} {
				q := newQueue(t)
				entries := q.running(t, "me", 1)
				q.do(t, "set", q.keys.Unique("hash"), c.holder)
				if err := end(q, entries[0]); err != nil {
					t.Fatal(err)
				}
				if got := q.rdb.Exists(t.Context(), q.keys.Unique("hash")).Val(); got != c.want {
					t.Errorf("%s: locks left: %d, want %d", what, got, c.want)
				}
			}
		})
	}
}

func TestCrashCountersGoWithTheirEntries(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(q *queue, entry string) (bool, error){
		"commit": func(q *queue, entry string) (bool, error) {
			late, err := q.Commit(t.Context(), q.batch(entry))
			return len(late) == 0, err
		},
		"retry": func(q *queue, entry string) (bool, error) { return q.Retry(t.Context(), q.retry(entry, time.Hour)) },
		"bury":  func(q *queue, entry string) (bool, error) { return q.Bury(t.Context(), q.bury(entry)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			entry := q.running(t, "me", 1)[0]
			q.do(t, "hset", q.keys.Crashes(), entry, 2, entry+"!", 1, "other", 1)
			if ok, err := end(q, entry); err != nil || !ok {
				t.Fatalf("%s: %v, %v", name, ok, err)
			}
			if left := q.rdb.HGetAll(t.Context(), q.keys.Crashes()).Val(); len(left) != 1 || left["other"] != "1" {
				t.Errorf("crash counters left: %v, want the other's only", left)
			}
		})
	}
}

func (q *queue) retry(entry string, delay time.Duration) script.RetryItem {
	next := task(0)
	next.Attempt, next.LastError = 2, "no luck"
	return script.RetryItem{Keys: q.keys, Group: group, Consumer: "me", Entry: entry, Task: next, Delay: delay, Counter: "retried"}
}

func (q *queue) bury(entry string) script.BuryItem {
	return script.BuryItem{
		Keys: q.keys, Group: group, Consumer: "me", Entry: entry, TaskID: id(0), Reply: replyID,
		Outcome: `-{"reason":"failed"}`, Fields: []string{"raw", "x", "reason", "failed"},
	}
}

// TestZombiesCannotEndWhatIsNotTheirs holds who may retry or bury: the owner, and whoever ran an entry that nobody owns.
func TestZombiesCannotEndWhatIsNotTheirs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(t *testing.T, q *queue, entry string)
		want   bool
	}{
		"it is ours": {func(*testing.T, *queue, string) {}, true},
		"another worker has it": {func(t *testing.T, q *queue, entry string) {
			t.Helper()
			q.do(t, "xclaim", q.keys.Tasks(), group, "other", 0, entry)
		}, false},
		"it is done": {func(t *testing.T, q *queue, entry string) {
			t.Helper()
			q.mustCommit(t, q.batch(entry))
		}, false},
		"it is orphaned": {func(t *testing.T, q *queue, _ string) {
			t.Helper()
			q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "me")
		}, true},
		"it was trimmed while we ran it": {func(t *testing.T, q *queue, _ string) {
			t.Helper()
			q.do(t, "xtrim", q.keys.Tasks(), "maxlen", 0)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, end := range map[string]func(q *queue, entry string) (bool, error){
				"retry": func(q *queue, entry string) (bool, error) { return q.Retry(t.Context(), q.retry(entry, time.Hour)) },
				"bury":  func(q *queue, entry string) (bool, error) { return q.Bury(t.Context(), q.bury(entry)) },
			} {
				q := newQueue(t)
				q.openReply(t)
				entry := q.running(t, "me", 1)[0]
				c.before(t, q, entry)
				before := q.dump(t)
				ok, err := end(q, entry)
				if err != nil || ok != c.want {
					t.Errorf("%s: got %v, %v, want %v", what, ok, err, c.want)
				}
				if after := q.dump(t); !ok && after != before {
					t.Errorf("%s was refused and changed:\n%s\nto\n%s", what, before, after)
				}
				if again, err := end(q, entry); err != nil || again {
					t.Errorf("%s again: got %v, %v, want false", what, again, err)
				}
				if ok && what == "retry" {
					q.wantRetried(t)
				}
				if ok && what == "bury" {
					q.wantBuried(t)
				}
			}
		})
	}
}

func (q *queue) wantRetried(t testing.TB) {
	t.Helper()
	body, err := wire.DecodeBody(q.rdb.HGet(t.Context(), q.keys.Body(), id(0)).Val())
	if err != nil || body.Attempt != 2 || body.LastError != "no luck" || string(body.Payload) != "p0" {
		t.Errorf("body: got %+v, %v", body, err)
	}
	if n := q.rdb.ZCard(t.Context(), q.keys.Due()).Val(); n != 1 {
		t.Errorf("due: %d", n)
	}
	q.wantStored(t, 0)
	q.wantCount(t, "retried", 1)
}

func (q *queue) wantBuried(t testing.TB) {
	t.Helper()
	letters := q.rdb.XRange(t.Context(), q.keys.Dead(), "-", "+").Val()
	if len(letters) != 1 || letters[0].Values["reason"] != "failed" {
		t.Errorf("dead letters: %v", letters)
	}
	if texts, _ := q.replies(t); len(texts) != 1 || !strings.HasPrefix(texts[0], id(0)+"=-") {
		t.Errorf("outcomes: %q", texts)
	}
	q.wantStored(t, 0)
	q.wantCount(t, "dead", 1)
}

func TestRetryTellsItsCallerAndTheQueue(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.openReply(t)
	heard := q.listen(t)
	entries := q.running(t, "me", 3)
	for i, delay := range []time.Duration{time.Hour, 2 * time.Hour, time.Minute} {
		item := q.retry(entries[i], delay)
		item.Task.ID, item.Task.Reply = id(i), replyID
		if ok, err := q.Retry(t.Context(), item); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	texts, _ := q.replies(t)
	if want := []string{id(0) + "=~due", id(1) + "=~due", id(2) + "=~due"}; !slices.Equal(texts, want) {
		t.Errorf("replies: got %q, want %q", texts, want)
	}
	first, second := heard(), heard() // the second retry is due later than the first: no reason to wake anybody
	if !strings.HasPrefix(first, "due ") || !strings.HasPrefix(second, "due ") || first <= second {
		t.Errorf("heard %q, then %q, want two due times, the second earlier", first, second)
	}
}
