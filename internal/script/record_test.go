package script_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// did is a minute in which so many tasks of f took a millisecond each.
func did(n int64) (m wire.Minute) {
	d := m.Deeds("f")
	d.Done = n
	d.Handler.Add(time.Millisecond, n)
	m.Wait.Add(2*time.Second, n)
	return m
}

// TestRecord adds up two reports, and ends a minute.
func TestRecord(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	record := func(m wire.Minute) {
		t.Helper()
		if err := q.Record(t.Context(), group, []script.Record{{Keys: q.keys, Minute: m}}); err != nil {
			t.Fatal(err)
		}
	}
	q.store(t, task(0), task(1), task(2))
	q.deliver(t, "me", 1)
	awaitStartOfMinute(t, q)
	record(did(3))
	record(did(4))
	trend, now, err := q.Trend(t.Context(), q.keys, 10)
	if err != nil || len(trend) != 1 {
		t.Fatal(trend, err)
	}
	m := trend[0]
	if d := m.Deeds("f"); d.Done != 7 || d.Handler.N() != 7 || d.Handler.Sum != 7000 || m.Wait.N() != 7 {
		t.Errorf("got %+v", m)
	}
	if m.At != now/60000*60000 || m.Enqueued != 3 || m.Waiting != 2 || m.Running != 1 {
		t.Errorf("got %+v", m)
	}

	past := now/60000*60000 - 5*60000
	q.do(t, "hset", q.keys.Now(), "minute", past)
	q.store(t, task(3))
	record(did(1))
	trend, _, err = q.Trend(t.Context(), q.keys, 10)
	if err != nil || len(trend) != 2 {
		t.Fatal(trend, err)
	}
	if first := trend[1]; first.At != past || first.Deeds("f").Done != 7 || first.Enqueued != 3 {
		t.Errorf("the minute before: %+v", first)
	}
	if second := trend[0]; second.Deeds("f").Done != 1 || second.Enqueued != 1 || second.Waiting != 3 {
		t.Errorf("this minute: %+v", second)
	}
}

// awaitStartOfMinute waits when a minute is about to end, so that what follows falls into one.
func awaitStartOfMinute(t *testing.T, q *queue) {
	t.Helper()
	now := q.rdb.Time(t.Context()).Val()
	if left := now.Truncate(time.Minute).Add(time.Minute).Sub(now); left < 2*time.Second {
		<-time.After(left)
	}
}

func TestRecordOfManyFunctionsIsBounded(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	awaitStartOfMinute(t, q)
	for i := range 20 {
		var m wire.Minute
		for j := range 50 {
			m.Deeds(fmt.Sprint("f", i, "-", j)).Done = 2
		}
		if err := q.Record(t.Context(), group, []script.Record{{Keys: q.keys, Minute: m}}); err != nil {
			t.Fatal(err)
		}
	}
	trend, _, err := q.Trend(t.Context(), q.keys, 1)
	if err != nil || len(trend) != 1 {
		t.Fatal(trend, err)
	}
	var sum int64
	for _, d := range trend[0].Functions {
		sum += d.Done
	}
	if n := len(trend[0].Functions); n > 610 || sum != 2000 {
		t.Errorf("%d functions, and %d tasks, want 2000", n, sum)
	}
}

// TestRecordLeavesOutAQueueOfAWrongType spoils each key of one of two queues.
func TestRecordLeavesOutAQueueOfAWrongType(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	awaitStartOfMinute(t, q)
	good := wire.NewKeys("wm", "good")
	for n, spoil := range []func(wire.Keys) string{wire.Keys.Now, wire.Keys.Due, wire.Keys.Counts, wire.Keys.Tasks} {
		bad := wire.NewKeys("wm", fmt.Sprint("bad", n))
		kind := []any{"set", spoil(bad), "x"}
		q.do(t, kind...)
		if err := q.Record(t.Context(), group, []script.Record{{Keys: bad, Minute: did(1)}, {Keys: good, Minute: did(1)}}); err != nil {
			t.Errorf("%s: %v", spoil(bad), err)
		}
		if trend, _, err := q.Trend(t.Context(), good, 1); err != nil || trend[0].Deeds("f").Done != int64(n+1) {
			t.Errorf("%s: the good one has %+v, %v", spoil(bad), trend, err)
		}
	}
	if all := q.rdb.Keys(t.Context(), "wm:{bad*").Val(); len(all) != 4 {
		t.Errorf("keys are left of the bad ones: %s", strings.Join(all, " "))
	}
}
