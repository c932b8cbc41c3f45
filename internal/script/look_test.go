package script_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// many are more queues than one call of a script takes.
func many(q *queue) []wire.Keys {
	all := make([]wire.Keys, 230)
	for i := range all {
		all[i] = wire.NewKeys("wm", fmt.Sprint("many", i))
	}
	all[101] = q.keys
	return all
}

func TestLookAtManyQueues(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	all := many(q)
	q.running(t, "a", 3)
	q.running(t, "b", 2)
	q.store(t, task(7))
	now := q.rdb.Time(t.Context()).Val()
	q.do(t, "zadd", all[0].Due(), now.Add(time.Minute).UnixMilli(), "x")
	q.do(t, "zadd", all[229].Due(), 5, "x")
	q.do(t, "set", all[3].Tasks(), "a key of a wrong type")
	q.do(t, "set", all[4].Due(), "a key of a wrong type")

	for _, whole := range []bool{true, false} {
		sights, err := q.Look(t.Context(), all, group, whole)
		if err != nil || len(sights) != len(all) {
			t.Fatalf("whole %v: got %d, %v", whole, len(sights), err)
		}
		for i, got := range sights {
			waiting, due := 0, time.Duration(-1)
			switch {
			case i == 0 && whole:
				due = time.Minute
			case i == 229 && whole:
				due = 0
			case i == 101:
				if !maps.Equal(got.Pending, map[string]int{"a": 3, "b": 2}) {
					t.Errorf("whole %v: pending: got %v", whole, got.Pending)
				}
				if whole {
					waiting = 1
				}
			case len(got.Pending) != 0:
				t.Errorf("whole %v, queue %d: got %v pending", whole, i, got.Pending)
			}
			if got.Waiting != waiting || got.Due > due || got.Due < due-10*time.Second {
				t.Errorf("whole %v, queue %d: got %d waiting, due in %v, want %d, %v", whole, i, got.Waiting, got.Due, waiting, due)
			}
		}
	}
}

func TestWaitingFindsQueuesWhereNobodyWasGivenSomething(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	all := many(q)
	q.running(t, "a", 3)
	for _, i := range []int{2, 99, 100, 229} {
		q.do(t, "xgroup", "create", all[i].Tasks(), group, "0", "mkstream")
		q.do(t, "xadd", all[i].Tasks(), "*", "v", "1")
	}
	q.do(t, "xreadgroup", "group", group, "a", "streams", all[99].Tasks(), ">")
	q.do(t, "set", all[3].Tasks(), "a key of a wrong type")
	q.do(t, "xadd", all[4].Tasks(), "*", "v", "1") // and no group
	found, err := q.Waiting(t.Context(), all, group)
	if want := []int{2, 3, 4, 100, 229}; err != nil || !slices.Equal(found, want) {
		t.Errorf("got %v, %v, want %v", found, err, want)
	}
	q.store(t, task(7))
	if found, err = q.Waiting(t.Context(), all, group); err != nil || !slices.Contains(found, 101) {
		t.Errorf("beside pending entries: got %v, %v, want 101 among them", found, err)
	}
}

func TestHeartbeatOfManyQueues(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	all := many(q)
	first, err := q.Heartbeat(t.Context(), all, "me", time.Minute, "host")
	if err != nil || len(first) != len(all) {
		t.Fatalf("got %d leases, %v", len(first), err)
	}
	q.do(t, "del", all[150].Lease("me"))
	q.do(t, "del", all[151].Lease("me"))
	q.do(t, "hset", all[151].Lease("me"), "a key", "of a wrong type")
	second, err := q.Heartbeat(t.Context(), all, "me", time.Hour, "host")
	if err != nil || len(second) != len(all) {
		t.Fatalf("again: got %d leases, %v", len(second), err)
	}
	for i := range all {
		made, kept := first[i], second[i]
		if made.Renewed || made.Fence == "" || kept.Renewed != (i != 150) || (kept.Fence == made.Fence) != (i != 150 && i != 151) {
			t.Errorf("queue %d: made %+v, then %+v", i, made, kept)
		}
		ttl := q.rdb.PTTL(t.Context(), all[i].Lease("me")).Val()
		if ttl < 50*time.Minute {
			t.Errorf("queue %d: the lease lasts for %v, want an hour", i, ttl)
		}
	}
	if second[151].Fence != "" {
		t.Errorf("a key of a wrong type: got %+v, want no fence", second[151])
	}
	if text, err := q.rdb.Get(t.Context(), all[7].Lease("me")).Result(); err != nil || text != first[7].Fence+" host" {
		t.Errorf("got %q, %v, want the fence and the value", text, err)
	}
}
