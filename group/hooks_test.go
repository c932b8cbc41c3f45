package group_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/wire"
)

// TestHooksTellTimes has tasks that wait for known times, and an item of a chunk.
func TestHooksTellTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	put := func(one wire.Task, age time.Duration) {
		t.Helper()
		now := r.redis.Time(t.Context()).Val()
		id := fmt.Sprint(now.Add(-age).UnixMilli(), "-1")
		if err := r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Tasks(), ID: id, Values: one.Fields()}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	put(task("chosen"), 30*365*24*time.Hour)
	put(task("old"), time.Hour)
	put(chunk("", "item", "item"), time.Minute)
	put(task("new"), 0)
	var mu sync.Mutex
	waits := map[string]time.Duration{}
	var committed, calls, renewed, failed atomic.Int64
	cfg := group.Config{Lease: 300 * time.Millisecond, Hooks: group.Hooks{
		Waited: func(m group.Metadata, wait time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			waits[m.ID] = wait
		},
		Committed: func(name string, tasks int, took time.Duration, err error) {
			if name != queue || took <= 0 || err != nil {
				t.Errorf("committed: %s, %v, %v", name, took, err)
			}
			committed.Add(int64(tasks))
			calls.Add(1)
		},
		Renewed: func(name string, took time.Duration, err error) {
			if err != nil {
				failed.Add(1)
			} else if name == queue && took > 0 {
				renewed.Add(1)
			}
		},
	}}
	var payloads sync.Map
	start(t, r.store, cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		payloads.Store(task.ID, string(task.Payload))
		return nil, nil
	}))
	eventually(t, func() bool { return committed.Load() == 5 && renewed.Load() >= 3 }, "all is committed, and the lease renewed")
	if n := calls.Load(); n > 5 {
		t.Errorf("%d calls", n)
	}
	mu.Lock()
	defer mu.Unlock()
	payloads.Range(func(id, payload any) bool {
		want := map[string]time.Duration{"old": time.Hour, "item": time.Minute}[payload.(string)]
		if got := waits[id.(string)]; got < want || got > want+10*time.Second {
			t.Errorf("%s waited for %v, want %v and a little more", payload, got, want)
		}
		return true
	})
	if len(waits) != 5 {
		t.Errorf("heard of %d waits, want 5", len(waits))
	}
	r.server.Stop()
	eventually(t, func() bool { return failed.Load() > 0 }, "a renewal failed")
	r.server.Cont()
}
