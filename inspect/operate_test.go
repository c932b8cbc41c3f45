package inspect_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
)

func TestPausedQueueStartsNothingUntilItIsResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client()
	ok(t, r.Pause(t.Context(), queue, "other")) // before anybody uses it
	var ran atomic.Int64
	handler := func(context.Context, group.Task) ([]byte, error) { ran.Add(1); return nil, nil }
	r.start(group.Config{}, handler)
	r.start(group.Config{}, handler)
	enqueue := func(n int) {
		for range n {
			must(work.Enqueue(t.Context(), client, "x"))(t)
		}
	}
	enqueue(20)
	r.quiet(&ran, 0)
	resumed := time.Now()
	ok(t, r.Resume(t.Context(), queue))
	redistest.Eventually(t, longer, func() bool { return ran.Load() == 20 }, "all run")
	if took := time.Since(resumed); took > 2*time.Second {
		t.Errorf("they ran %v after it was resumed: want at once", took)
	}

	ok(t, r.Pause(t.Context(), queue)) // while workers block in a read
	ok(t, r.Pause(t.Context(), queue))
	if since := r.redis.HGet(t.Context(), r.keys.State(), "paused").Val(); len(since) != 13 {
		t.Errorf("paused since %q, want ms", since)
	}
	<-time.After(200 * time.Millisecond) // until both have heard of it
	enqueue(20)
	r.quiet(&ran, 20)
	ok(t, r.Resume(t.Context(), queue))
	ok(t, r.Resume(t.Context(), queue))
	redistest.Eventually(t, longer, func() bool { return ran.Load() == 40 }, "all run")
	if n := r.redis.Exists(t.Context(), r.keys.State()).Val(); n != 0 {
		t.Error("the state of a queue that is not paused is left")
	}
}

// quiet holds that no task starts for a while.
func (r *rig) quiet(ran *atomic.Int64, want int64) {
	r.t.Helper()
	<-time.After(300 * time.Millisecond)
	if n := ran.Load(); n != want {
		r.t.Errorf("%d tasks ran while the queue is paused, want %d", n, want)
	}
}

func TestBadNamesAreRefusedBeforeAnythingIsSwitched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, change := range []func(context.Context, ...string) error{r.Pause, r.Resume} {
		if err := change(t.Context(), queue, "a}b"); err == nil || !strings.Contains(err.Error(), "queue name") {
			t.Errorf("got %v", err)
		}
	}
	if n := r.redis.Exists(t.Context(), r.keys.State()).Val(); n != 0 {
		t.Error("the good one was switched")
	}
	ok(t, r.redis.Set(t.Context(), r.keys.State(), "x", 0).Err())
	if err := r.Pause(t.Context(), queue); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") || !strings.Contains(err.Error(), queue) {
		t.Errorf("a state of a wrong type: got %v", err)
	}
}
