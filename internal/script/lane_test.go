package script_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// TestEnqueueSkipsWhatItStored repeats calls as a client does after a lost reply, and skips numbers as one does after a loss of data.
func TestEnqueueSkipsWhatItStored(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	call := q.lane(laneTask(task(1)), laneTask(task(2)), laneTask(task(3)))
	first, err := q.Enqueue(t.Context(), &call)
	if err != nil || first.Gap || first.Last != 3 {
		t.Fatalf("first: %+v, %v", first, err)
	}
	again, err := q.Enqueue(t.Context(), &call)
	if err != nil || again.Gap || again.Last != 3 || !slices.Equal(placesOf(again, 3), placesOf(first, 3)) || first.Place(0).Entry == "" {
		t.Errorf("again: got %+v, %v, want the entries of the first call, %+v", again, err, first)
	}
	q.wantStored(t, 3)
	q.do(t, "xdel", q.keys.Tasks(), first.Place(1).Entry)
	done, err := q.Enqueue(t.Context(), &call)
	if err != nil || done.Place(1) != (script.Place{}) || done.Place(2) != first.Place(2) {
		t.Errorf("when one is done: got %+v, %v, want the others", done, err)
	}
	call.Tasks = append(call.Tasks, laneTask(task(4)))
	longer, err := q.Enqueue(t.Context(), &call)
	if err != nil || longer.Last != 4 || longer.Place(2) != first.Place(2) || longer.Place(3).Entry == "" {
		t.Errorf("longer: got %+v, %v, want only the fourth stored", longer, err)
	}
	q.wantStored(t, 3)
	before := q.dump(t)
	call.First = 6
	if gap, err := q.Enqueue(t.Context(), &call); err != nil || !gap.Gap || gap.Last != 4 {
		t.Errorf("gap: got %+v, %v, want a gap after 4", gap, err)
	}
	if after := q.dump(t); after != before {
		t.Errorf("a gap changed\n%s\nto\n%s", before, after)
	}
	q.wantCount(t, "enqueued", 4)
	q.do(t, "del", q.keys.Producer("lane"))
	if gap, err := q.Enqueue(t.Context(), &call); err != nil || !gap.Gap || gap.Last != 0 {
		t.Errorf("lane gone: got %+v, %v, want a gap after 0", gap, err)
	}
}

func TestLanesCountBeyondTheDigitsOfADouble(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const far = int64(1) << 50
	q.do(t, "set", q.keys.Producer("lane"), far)
	call := q.lane(laneTask(task(1)))
	call.First = far + 1
	for range 2 {
		if stored, err := q.Enqueue(t.Context(), &call); err != nil || stored.Last != far+1 {
			t.Fatalf("got %+v, %v, want %d", stored, err, far+1)
		}
	}
	q.wantStored(t, 1)
}

func TestEnqueueRefusesWhatIsAboveTheLimit(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	delayed := laneTask(task(1))
	delayed.After = time.Hour
	call := q.lane(delayed, laneTask(task(2)), laneTask(task(3)), laneTask(task(4)))
	call.Limit = 3
	stored, err := q.Enqueue(t.Context(), &call)
	if err != nil || stored.Last != 3 || stored.Place(2).Full || !stored.Place(3).Full {
		t.Fatalf("got %+v, %v, want three stored and one refused", stored, err)
	}
	again, err := q.Enqueue(t.Context(), &call)
	if err != nil || again.Last != 3 || again.Place(2).Full || !again.Place(3).Full {
		t.Errorf("again: got %+v, %v, want the same", again, err)
	}
	q.do(t, "del", q.keys.Due())
	if again, err = q.Enqueue(t.Context(), &call); err != nil || again.Last != 4 || again.Place(3).Full {
		t.Errorf("with room: got %+v, %v, want the last one stored", again, err)
	}
	q.wantStored(t, 3)
}

func TestARetriedDuplicateGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	unique := func(n int) script.LaneTask {
		one := task(n)
		one.Unique = "hash"
		return laneTask(one)
	}
	call := q.lane(unique(1), unique(2), laneTask(task(3)), unique(4))
	want := []string{"", id(1), "", id(1)}
	for try := range 3 {
		stored, err := q.Enqueue(t.Context(), &call)
		if err != nil || stored.Last != 4 {
			t.Fatal(stored, err)
		}
		for i, place := range placesOf(stored, len(want)) {
			if place.Duplicate != want[i] {
				t.Errorf("try %d, task %d: got duplicate %q, want %q", try, i, place.Duplicate, want[i])
			}
		}
		if try == 1 { // the task is done and the lock is free: what was answered stays so
			q.do(t, "del", q.keys.Unique("hash"))
		}
	}
	q.wantStored(t, 2)
}

func TestATaskStoredAgainIsNoDuplicateOfItself(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	one := task(1)
	one.Unique = "hash"
	for range 2 { // in two lanes, as after a loss of data that spared the lock
		stored, err := q.enqueue(t, laneTask(one))
		if err != nil || stored.Place(0).Entry == "" {
			t.Fatalf("got %+v, %v, want it stored", stored, err)
		}
		q.do(t, "del", q.keys.Producer("lane"))
	}
}

func TestDelayedTasksAreNotEarlyAndWakeWorkersWhenTheyAreFirst(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	heard := q.listen(t)
	now := q.rdb.Time(t.Context()).Val()
	after, at, later := laneTask(task(1)), laneTask(task(2)), laneTask(task(3))
	after.After, at.At, later.After = time.Minute+time.Nanosecond, now.Add(30*time.Second).UnixMilli(), time.Hour
	for _, tasks := range [][]script.LaneTask{{after}, {later}, {at, later}} {
		stored, err := q.enqueue(t, tasks...)
		if err != nil || stored.Place(0) != (script.Place{}) {
			t.Fatalf("got %+v, %v, want no entry", stored, err)
		}
		q.next = stored.Last + 1
	}
	due := q.rdb.ZRangeWithScores(t.Context(), q.keys.Due(), 0, -1).Val()
	if len(due) != 3 || due[0].Member != id(2) || int64(due[0].Score) != at.At {
		t.Fatalf("due: %v, want %s first, at %d", due, id(2), at.At)
	}
	if early := now.Add(time.Minute + time.Millisecond); int64(math.Round(due[1].Score*1000)) < early.UnixMicro() {
		t.Errorf("due at %.3f, before %d", due[1].Score, early.UnixMicro())
	}
	if got, want := []string{heard(), heard()}, []string{fmt.Sprintf("due %.0f", math.Ceil(due[1].Score)), fmt.Sprintf("due %d", at.At)}; !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
	q.wantStored(t, 0)
}

func TestEnqueueWaitsForReplicasAlsoWhereTheScriptIsNotKnown(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	redistest.StartReplica(t, server)
	q := &queue{rdb: server.Client(t), server: server, keys: wire.NewKeys("wm", "q"), next: 1}
	q.Runner = script.NewRunner(q.rdb)
	for i := range 3 {
		q.do(t, "script", "flush")
		call := q.lane(laneTask(task(i)))
		call.Replicas, call.Wait = 1, 5*time.Second
		for range 2 { // the second is a retry, which WAIT covers as well
			stored, err := q.Enqueue(t.Context(), &call)
			if err != nil || stored.Replicas != 1 || stored.Last != int64(i+1) {
				t.Fatalf("got %+v, %v, want one replica", stored, err)
			}
		}
		q.next++
	}
	q.wantStored(t, 3)
	call := q.lane(laneTask(task(9)))
	call.Replicas, call.Wait = 2, 10*time.Millisecond
	if stored, err := q.Enqueue(t.Context(), &call); err != nil || stored.Replicas != 1 || stored.Place(0).Entry == "" {
		t.Errorf("two of one: got %+v, %v, want it stored and one replica", stored, err)
	}
}

func TestEntriesAreReadableByAPerson(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.store(t, task(7))
	got := fmt.Sprint(q.do(t, "xrange", q.keys.Tasks(), "-", "+"))
	if want := "[v1 " + id(7) + " f\np7]"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheLongestTimesAreNotNow(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	never := laneTask(task(0))
	never.After, never.Unique, never.UniqueTTL = math.MaxInt64, "hash", math.MaxInt64
	if stored, err := q.enqueue(t, never); err != nil || stored.Place(0) != (script.Place{}) {
		t.Fatal(stored, err)
	}
	if ids := q.rdb.ZRange(t.Context(), q.keys.Due(), 0, -1).Val(); !slices.Equal(ids, []string{id(0)}) {
		t.Errorf("due later: %v", ids)
	}
	if ms := q.do(t, "pttl", q.keys.Unique("hash")); ms.(int64) < 9e12 {
		t.Errorf("the lock is held for %v ms", ms)
	}
}
