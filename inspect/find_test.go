package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// whats are the events of a history in their order.
func whats(h inspect.History) (whats []string) {
	for _, e := range h.Events {
		whats = append(whats, e.What)
	}
	return whats
}

func wantHistory(t *testing.T, h inspect.History, state inspect.State, events ...string) {
	t.Helper()
	if h.State != state || h.Queue != queue || !slices.Equal(whats(h), events) {
		t.Errorf("got %s task of queue %q with the events %q, want %s, %q", h.State, h.Queue, whats(h), state, events)
	}
}

// TestALifeOfATaskIsTold asks after each step of it.
func TestALifeOfATaskIsTold(t *testing.T) {
	t.Parallel()
	for name, kept := range map[string]bool{"with its outcome kept": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ctx := t.Context()
			client := r.client()
			opts := []stream.Option{stream.MaxAttempts(2)}
			if kept {
				opts = append(opts, stream.Keep(time.Minute))
			}
			payload := strings.Repeat("x", 10_000)
			id, err := work.Enqueue(ctx, client, payload, opts...)
			ok(t, err)
			for _, of := range []string{queue, ""} {
				h, err := r.Task(ctx, of, id)
				ok(t, err)
				wantHistory(t, h, inspect.Waiting, "enqueued", "waiting")
				if len(h.Payload) != len(payload)+2 || h.Size != len(payload)+2 || h.MaxAttempts != 2 || h.Entry == "" || h.ID != id {
					t.Errorf("got %d bytes, a size of %d, %d attempts, entry %q", len(h.Payload), h.Size, h.MaxAttempts, h.Entry)
				}
			}
			began, fail := make(chan struct{}, 2), make(chan error)
			r.start(group.Config{}, func(context.Context, group.Task) ([]byte, error) {
				began <- struct{}{}
				return nil, <-fail
			})
			<-began
			h, err := r.Task(ctx, queue, id)
			ok(t, err)
			wantHistory(t, h, inspect.Running, "enqueued", "waiting", "delivered")
			if h.Worker == "" || h.Events[2].Worker != h.Worker || h.Deliveries != 1 {
				t.Errorf("got worker %q, events %+v", h.Worker, h.Events)
			}

			fail <- group.RetryAfter(time.Second, errors.New("a first time"))
			redistest.Eventually(t, longer, func() bool { h, err = r.Task(ctx, queue, id); return err == nil && h.State == inspect.Delayed }, "it waits for its next attempt")
			if kept {
				wantHistory(t, h, inspect.Delayed, "enqueued", "delayed", "delayed")
			} else {
				wantHistory(t, h, inspect.Delayed, "enqueued", "failed", "delayed")
			}
			if h.Attempt != 2 || h.LastError != "a first time" || time.Until(h.Due) > 2*time.Second || h.Due.IsZero() {
				t.Errorf("got attempt %d after %q, due %v", h.Attempt, h.LastError, h.Due)
			}
			<-began
			h, err = r.Task(ctx, queue, id)
			ok(t, err)
			if h.State != inspect.Running || h.Attempt != 2 {
				t.Errorf("got %s in attempt %d", h.State, h.Attempt)
			}
			fail <- errors.New("a second time")
			redistest.Eventually(t, longer, func() bool { h, err = r.Task(ctx, queue, id); return err == nil && h.State == inspect.Dead }, "it is a dead letter")
			if last := h.Events[len(h.Events)-1]; last.What != "buried" || !strings.Contains(last.Detail, "a second time") || h.Letter == "" || h.Reason != wire.ReasonFailed {
				t.Errorf("got letter %q, %q, %+v", h.Letter, h.Reason, h.Events)
			}
			ok(t, r.redis.XDel(ctx, r.keys.Dead(), h.Letter).Err())
			h, err = r.Task(ctx, queue, id)
			switch {
			case kept && (err != nil || h.State != inspect.Failed || h.LastError != "a second time"):
				t.Errorf("purged: got %s, %q, %v, want the kept failure", h.State, h.LastError, err)
			case !kept && (!errors.Is(err, inspect.ErrNotFound) || !h.Looked.Exact):
				t.Errorf("purged: got %+v, %v, want ErrNotFound after a look at everything", h.Looked, err)
			}
		})
	}
}

func TestKeptOutcomesAreFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	client := r.client()
	gone, err := work.Enqueue(ctx, client, "x", stream.Keep(time.Minute), stream.After(time.Hour))
	ok(t, err)
	done, err := work.Enqueue(ctx, client, "x", stream.Keep(time.Minute))
	ok(t, err)
	_, err = r.Cancel(ctx, queue, gone)
	ok(t, err)
	h, err := r.Task(ctx, queue, gone)
	ok(t, err)
	wantHistory(t, h, inspect.Cancelled, "enqueued", "cancelled")
	r.start(group.Config{}, func(context.Context, group.Task) ([]byte, error) { return []byte(`"y"`), nil })
	redistest.Eventually(t, longer, func() bool { h, err = r.Task(ctx, queue, done); return err == nil && h.State == inspect.Done }, "it is done")
	wantHistory(t, h, inspect.Done, "enqueued", "done")
	if string(h.Result) != `"y"` || h.Since.IsZero() {
		t.Errorf("got %q at %v", h.Result, h.Since)
	}
}

// TestItemsOfChunksAreFound looks for items that wait, run and are settled while others run.
func TestItemsOfChunksAreFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.lay(100)
	var pack []byte
	for n := range 20 {
		pack = wire.AppendItem(pack, fmt.Appendf(nil, "item %d", n))
	}
	chunk := wire.Task{ID: stream.NewChunkID(), Function: "f", Items: 20, Payload: pack}
	entry := r.add(chunk)
	h, err := r.Task(ctx, queue, wire.ItemID(chunk.ID, 7))
	ok(t, err)
	wantHistory(t, h, inspect.Waiting, "enqueued", "waiting")
	if string(h.Payload) != "item 7" || h.Entry != entry || h.Items != 0 {
		t.Errorf("got %q at %s", h.Payload, h.Entry)
	}
	r.makeGroup()
	r.deliver("a", 200)
	ok(t, r.redis.HSet(ctx, r.keys.Chunks(), entry, "0-3").Err())
	for item, state := range map[int]inspect.State{3: inspect.Done, 4: inspect.Running} {
		if h, err = r.Task(ctx, queue, wire.ItemID(chunk.ID, item)); err != nil || h.State != state {
			t.Errorf("item %d: got %s, %v, want %s", item, h.State, err, state)
		}
	}
	if h, err = r.Task(ctx, queue, chunk.ID); err != nil || h.Items != 20 {
		t.Errorf("the chunk itself: got %+v, %v", h.Task, err)
	}
	if _, err = r.Task(ctx, queue, wire.ItemID(chunk.ID, 20)); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("an item that it does not have: got %v, want ErrNotFound", err)
	}
}

func TestTasksThatAreNowhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	if h, err := r.Task(ctx, "", stream.NewID()); !errors.Is(err, inspect.ErrNotFound) || !h.Looked.Exact {
		t.Errorf("in no queue at all: got %+v, %v", h.Looked, err)
	}
	r.lay(100)
	r.bury(50, func(int) (string, string, string) { return "f", "failed", "x" })
	if h, err := r.Task(ctx, queue, stream.NewID()); !errors.Is(err, inspect.ErrNotFound) || h.Looked != (inspect.Count{N: 150, Exact: true}) {
		t.Errorf("got %+v, %v, want ErrNotFound after 150 entries", h.Looked, err)
	}
	for _, bad := range [][2]string{{queue, "short"}, {queue, ""}, {"no/name", stream.NewID()}} {
		if _, err := r.Task(ctx, bad[0], bad[1]); err == nil || errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("%q: got %v, want it refused", bad, err)
		}
	}
	ok(t, r.redis.Set(ctx, r.keys.Due(), "text", 0).Err())
	if _, err := r.Task(ctx, queue, stream.NewID()); err == nil || !strings.Contains(err.Error(), r.keys.Due()) {
		t.Errorf("got %v, want an error that names the key", err)
	}
}

// TestTasksAreFoundWhateverTheClockOfTheirClient looks in a long queue, into which a client whose clock is off has stored tasks late.
func TestTasksAreFoundWhateverTheClockOfTheirClient(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"right": 0, "two hours behind": 2 * time.Hour, "a day ahead": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			const n, every = 30_000, 3 * time.Millisecond // as of a minute and a half, stored within a few milliseconds
			const sameTime = 10_000
			began := time.Now().UnixMilli()
			var stored []string
			start := time.Now().Add(-n * every)
			for from := 0; from < n; from += 5000 {
				r.pipe(func(pipe redis.Pipeliner) {
					for i := from; i < from+5000; i++ {
						task := wire.Task{ID: taskID(time.Since(start)-time.Duration(i)*every+off, i), Function: "f"}
						entry := fmt.Sprintf("%d-%d", began+int64(i/sameTime), i%sameTime)
						pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), ID: entry, Values: task.Fields()})
						stored = append(stored, task.ID)
					}
				})
			}
			for _, i := range []int{0, 1, 5000, 14_999, 15_000, 22_222, n - 1} {
				h, err := r.Task(t.Context(), queue, stored[i])
				if err != nil || h.ID != stored[i] || h.State != inspect.Waiting || h.Looked.N > 9000 {
					t.Errorf("task %d: got %s, looked at %+v, %v", i, h.State, h.Looked, err)
				}
			}
		})
	}
}

// TestTasksThatMoveAreFound looks for tasks while workers run, retry and end them: they are somewhere all the time.
func TestTasksThatMoveAreFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	client := r.client()
	const n = 60
	ids := make([]string, n)
	for i := range ids {
		var err error
		ids[i], err = work.Enqueue(ctx, client, "x", stream.Keep(time.Minute), stream.MaxAttempts(6))
		ok(t, err)
	}
	r.start(group.Config{Concurrency: 4}, func(context.Context, group.Task) ([]byte, error) {
		return nil, group.RetryAfter(time.Millisecond, errors.New("again"))
	})
	looks, dead := 0, 0
	for dead < n {
		dead = 0
		for _, id := range ids {
			h, err := r.Task(ctx, queue, id)
			if err != nil {
				t.Fatalf("after %d looks: %v", looks, err)
			}
			if h.State == inspect.Dead {
				dead++
			}
			looks++
		}
	}
}
