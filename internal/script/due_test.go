package script_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// delay stores a task that is due at a time of the Redis clock, in milliseconds.
func (q *queue) delay(t testing.TB, task wire.Task, at int64) {
	t.Helper()
	task.Promoted = true
	one := laneTask(task)
	one.At = at
	stored, err := q.enqueue(t, one)
	if err != nil {
		t.Fatal(err)
	}
	q.next = stored.Last + 1
}

// stored is every task of the stream, in order.
func (q *queue) stored(t testing.TB) (tasks []wire.Task, entries []string) {
	t.Helper()
	rows, err := q.rdb.Do(t.Context(), "xrange", q.keys.Tasks(), "-", "+").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		var fields []string
		for _, field := range row.([]any)[1].([]any) {
			fields = append(fields, field.(string))
		}
		task, err := wire.Decode(fields)
		if err != nil {
			t.Fatalf("decode %q: %v", fields, err)
		}
		tasks, entries = append(tasks, task), append(entries, row.([]any)[0].(string))
	}
	return tasks, entries
}

func TestPromoteMovesInTheOrderOfTheirTimes(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.openReply(t)
	now := q.rdb.Time(t.Context()).Val().UnixMilli()
	for i, ago := range []int64{1000, 3000, 2000, -60000} {
		one := task(i)
		one.Reply, one.Headers = replyID, map[string]string{"note": "line\nd=1 "}
		q.delay(t, one, now-ago)
	}
	moved, next, err := q.Promote(t.Context(), q.keys, 2)
	if err != nil || moved != 2 || next != 0 {
		t.Fatalf("promote 2: got %d, %v, %v, want 2 and one that waits already", moved, next, err)
	}
	moved, next, err = q.Promote(t.Context(), q.keys, 2)
	if err != nil || moved != 1 || next < 50*time.Second || next > time.Minute {
		t.Fatalf("promote the rest: got %d, %v, %v, want 1 and about a minute", moved, next, err)
	}
	tasks, entries := q.stored(t)
	var got, want []string
	for i, n := range []int{1, 2, 0} {
		want = append(want, id(n)+"=~"+entries[i])
		if tasks[i].ID != id(n) || !tasks[i].Promoted || string(tasks[i].Payload) != fmt.Sprint("p", n) || tasks[i].Headers["note"] != "line\nd=1 " {
			t.Errorf("entry %d: got %+v, want task %d, promoted", i, tasks[i], n)
		}
	}
	if got, _ = q.replies(t); !slices.Equal(got, want) {
		t.Errorf("replies: got %q, want %q", got, want)
	}
	if n := q.rdb.HLen(t.Context(), q.keys.Body()).Val(); n != 1 {
		t.Errorf("bodies left: %d, want 1", n)
	}
}

func TestPromoteIsNeverEarly(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	due := q.rdb.Time(t.Context()).Val().UnixMilli() + 80
	q.delay(t, task(0), due)
	redistest.Eventually(t, 10*time.Second, func() bool {
		moved, next, err := q.Promote(t.Context(), q.keys, 10)
		now := q.rdb.Time(t.Context()).Val().UnixMilli()
		if err != nil || moved == 1 && now < due || moved == 0 && (next < 0 || next > 80*time.Millisecond) {
			t.Fatalf("at %d, due at %d: moved %d, next %v, %v", now, due, moved, next, err)
		}
		return moved == 1
	}, "the task is promoted")
	if _, entries := q.stored(t); len(entries) != 1 || entries[0] < fmt.Sprint(due) {
		t.Errorf("entries %v, due at %d", entries, due)
	}
	if _, next, err := q.Promote(t.Context(), q.keys, 10); err != nil || next != -1 {
		t.Errorf("with none: got %v, %v, want -1", next, err)
	}
}

// TestPromoteIsExact holds that a due time with a fraction of a millisecond is neither early nor a millisecond late.
func TestPromoteIsExact(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for i := range 50 {
		item := laneTask(task(i))
		item.After = time.Millisecond
		before := q.rdb.Time(t.Context()).Val().UnixMicro()
		stored, err := q.enqueue(t, item)
		if err != nil {
			t.Fatal(err)
		}
		q.next = stored.Last + 1
		due := int64(math.Round(q.rdb.ZScore(t.Context(), q.keys.Due(), id(i)).Val() * 1000))
		if after := q.rdb.Time(t.Context()).Val().UnixMicro(); due < before+1000 || due > after+1000 {
			t.Fatalf("due at %d, stored for a millisecond between %d and %d", due, before, after)
		}
		for moved := 0; moved == 0; {
			var next time.Duration
			before := q.rdb.Time(t.Context()).Val().UnixMicro()
			if moved, next, err = q.Promote(t.Context(), q.keys, 10); err != nil {
				t.Fatal(err)
			}
			after := q.rdb.Time(t.Context()).Val().UnixMicro()
			switch {
			case moved == 1 && after < due, moved == 0 && before > due:
				t.Fatalf("between %d and %d, due at %d: moved %d", before, after, due, moved)
			case moved == 0 && (after+next.Microseconds() < due || before+next.Microseconds() > due):
				t.Fatalf("between %d and %d: due in %v, want at %d", before, after, next, due)
			}
		}
	}
}

func TestPromoteOfARetryKeepsOneMark(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entry := q.running(t, "me", 1)[0]
	item := q.retry(entry, 0)
	item.Task.Promoted = true // it came through due before
	if ok, err := q.Retry(t.Context(), item); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if moved, _, err := q.Promote(t.Context(), q.keys, 10); err != nil || moved != 1 {
		t.Fatal(moved, err)
	}
	if tasks, _ := q.stored(t); len(tasks) != 1 || tasks[0].Attempt != 2 || !tasks[0].Promoted || tasks[0].LastError != "no luck" {
		t.Errorf("got %+v", tasks)
	}
}

func TestPromoteMovesAFewMegabytesAtOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const tasks, size = 7, 1 << 20
	for i := range tasks {
		one := task(i)
		one.Payload = make([]byte, size)
		q.delay(t, one, 1)
	}
	left := tasks
	for _, want := range []int{4, 3} {
		moved, next, err := q.Promote(t.Context(), q.keys, 100)
		if left -= moved; err != nil || moved != want || (next == 0) != (left > 0) {
			t.Errorf("moved %d, next %v, %v, want %d", moved, next, err, want)
		}
	}
}

func TestPromoteMeetsWhatIsNoTask(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.do(t, "zadd", q.keys.Due(), 1, "no body", 2, "strange body")
	q.do(t, "hset", q.keys.Body(), "strange body", "x")
	if moved, next, err := q.Promote(t.Context(), q.keys, 10); err != nil || moved != 0 || next != -1 {
		t.Errorf("got %d, %v, %v, want 0 moved and none left", moved, next, err)
	}
	if rows := q.rdb.XRange(t.Context(), q.keys.Tasks(), "-", "+").Val(); len(rows) != 1 || rows[0].Values["raw"] != "x" {
		t.Errorf("entries: %v, want the raw text, which a worker buries", rows)
	}
	q.wantCount(t, "lost", 1)
}

// TestAFullRedisDrains holds what must work when memory is full, and that an enqueue is refused before it has stored anything.
func TestAFullRedisDrains(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.openReply(t)
	lock := task(5)
	lock.Unique = "hash"
	entries := q.running(t, "me", 5)
	q.delay(t, task(6), 1)
	q.delay(t, task(7), q.rdb.Time(t.Context()).Val().Add(time.Hour).UnixMilli())
	q.fence(t, "me")
	q.do(t, "config", "set", "maxmemory", "1")

	before := q.dump(t)
	full := q.lane(laneTask(task(8)), laneTask(lock))
	if _, err := q.Enqueue(t.Context(), &full); err == nil || !isFull(err) {
		t.Errorf("enqueue: got %v, want OOM", err)
	}
	if after := q.dump(t); after != before {
		t.Errorf("a refused enqueue changed\n%s\nto\n%s", before, after)
	}
	for name, try := range map[string]func() error{
		"heartbeat": func() error { return second(q.beat(t, "me", time.Minute, "host")) },
		"a new heartbeat": func() error {
			return second(q.beat(t, "new", time.Minute, "host"))
		},
		"session": func() error {
			_, err := q.Session(t.Context(), script.SessionKeys{Keys: q.keys, ID: replyID, Lane: "lane"}, time.Minute)
			return err
		},
		"missing": func() error {
			_, err := q.Missing(t.Context(), q.keys, []script.TaskRef{{ID: id(0), Entry: entries[0]}})
			return err
		},
		"mark alone": func() error { return q.MarkAlone(t.Context(), q.keys, entries[0]) },
		"make group": func() error {
			_, err := q.MakeGroup(t.Context(), wire.NewKeys("wm", "other"), group)
			return err
		},
		"commit": func() error { q.mustCommit(t, q.batch(entries[0])); return nil },
		"retry": func() error {
			item := q.retry(entries[1], time.Hour)
			item.Task.ID = id(1)
			return notOK(q.Retry(t.Context(), item))
		},
		"bury":    func() error { return notOK(q.Bury(t.Context(), q.bury(entries[2]))) },
		"release": func() error { return q.Release(t.Context(), q.keys, group, "me", entries[3:4]) },
		"reclaim": func() error {
			_, err := q.Reclaim(t.Context(), script.ReclaimFrom{Keys: q.keys, Group: group, Me: "you", Dead: wire.ReleasedConsumer, Limit: 9, Mode: script.ByRelease})
			return err
		},
		"ghosts": func() error {
			_, _, err := q.Ghosts(t.Context(), q.keys, group, "me", script.Page{Start: "-", Limit: 10})
			return err
		},
		"promote": func() error {
			_, _, err := q.Promote(t.Context(), q.keys, 10)
			return err
		},
		"cancel": func() error {
			_, err := q.Cancel(t.Context(), q.keys, group, []script.TaskRef{{ID: id(7)}, {ID: id(99)}})
			return err
		},
	} {
		if err := try(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for {
		left, err := q.Leave(t.Context(), q.keys, group, "me")
		if err != nil {
			t.Fatalf("leave: %v", err)
		}
		if left == 0 {
			break
		}
	}
	if names := q.consumers(t); slices.Contains(names, "me") {
		t.Errorf("consumers: %v", names)
	}
	if n := q.rdb.ZCard(t.Context(), q.keys.Due()).Val(); n != 1 {
		t.Errorf("due: %d, want the retried task only", n)
	}
}
