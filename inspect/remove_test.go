package inspect_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// TestPurgeWhileWorkersRun holds that each of many tasks is either run or cancelled, once.
func TestPurgeWhileWorkersRun(t *testing.T) {
	t.Parallel()
	const all = 100_000
	r := newRig(t)
	reply := r.reply()
	ids := r.fill(all, reply)
	var ran atomic.Int64
	handler := func(context.Context, group.Task) ([]byte, error) { ran.Add(1); return nil, nil }
	r.start(group.Config{}, handler)
	r.start(group.Config{}, handler)
	redistest.Eventually(t, longer, func() bool { return ran.Load() > 1000 }, "tasks run")
	last, steps := 0, 0
	began := time.Now()
	n := must(r.Purge(t.Context(), queue, inspect.Waiting, func(n int) { last, steps = n, steps+1 }))(t)
	t.Logf("%d purged in %d steps and %v while %d ran", n, steps, time.Since(began), ran.Load())
	redistest.Eventually(t, longer, func() bool { return r.redis.XLen(t.Context(), r.keys.Tasks()).Val() == 0 }, "the queue is empty")
	outcomes := r.outcomes(reply)
	results, cancelled := 0, 0
	for _, id := range ids {
		switch got := outcomes[id]; {
		case slices.Equal(got, []string{"+"}):
			results++
		case slices.Equal(got, []string{"-cancelled"}):
			cancelled++
		default:
			t.Fatalf("task %s has outcomes %q, want one", id, got)
		}
	}
	if n != cancelled || last != n || int64(results) != ran.Load() || n == 0 || steps < 2 {
		t.Errorf("purged %d, told %d in %d steps: %d cancelled and %d done, of which %d ran", n, last, steps, cancelled, results, ran.Load())
	}
	if got := must(r.redis.HGet(t.Context(), r.keys.Counts(), "cancelled").Int())(t); got != n {
		t.Errorf("counted %d cancelled tasks, want %d", got, n)
	}
}

func TestPurgeTakesWhatWasHandedBackAndLeavesWhatRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill(9, "")
	ok(t, r.redis.XGroupCreate(t.Context(), r.keys.Tasks(), "workers", "0").Err())
	for consumer, n := range map[string]int64{"w": 2, wire.ReleasedConsumer: 3} {
		ok(t, r.redis.XReadGroup(t.Context(), &redis.XReadGroupArgs{
			Group: "workers", Consumer: consumer, Streams: []string{r.keys.Tasks(), ">"}, Count: n, Block: -1,
		}).Err())
	}
	n := must(r.Purge(t.Context(), queue, inspect.Waiting, nil))(t)
	pending := must(r.redis.XPending(t.Context(), r.keys.Tasks(), "workers").Result())(t)
	if left := r.redis.XLen(t.Context(), r.keys.Tasks()).Val(); n != 7 || left != 2 || pending.Count != 2 || pending.Consumers["w"] != 2 {
		t.Errorf("purged %d, left %d, pending %v: want 7, and the 2 that run", n, left, pending)
	}
}

func TestPurgeEndsAtWhatWasThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill(1200, "")
	ok(t, r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), Values: []string{"by", "hand n=9"}}).Err())
	more := false
	n := must(r.Purge(t.Context(), queue, inspect.Waiting, func(int) {
		if !more {
			r.fill(5, "") // meanwhile
		}
		more = true
	}))(t)
	if left := r.redis.XLen(t.Context(), r.keys.Tasks()).Val(); n != 1201 || left != 5 {
		t.Errorf("purged %d, left %d, want 1201 and 5", n, left)
	}
	client := r.client()
	for n := range 450 {
		must(work.Enqueue(t.Context(), client, "x", stream.After(time.Hour+time.Duration(n)*time.Second)))(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n, err := r.Purge(ctx, queue, inspect.Delayed, func(int) { cancel() })
	if n != 200 || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: got %d, %v, want a step of 200", n, err)
	}
	n = must(r.Purge(t.Context(), queue, inspect.Delayed, nil))(t)
	if left := r.redis.ZCard(t.Context(), r.keys.Due()).Val() + r.redis.HLen(t.Context(), r.keys.Body()).Val(); n != 250 || left != 0 {
		t.Errorf("purged %d delayed tasks, left %d", n, left)
	}
	r.bury(30, three)
	if n = must(r.Purge(t.Context(), queue, inspect.Dead, nil))(t); n != 30 {
		t.Errorf("purged %d dead letters, want 30", n)
	}
	for _, state := range []inspect.State{inspect.Running, "nonsense", ""} {
		if _, err := r.Purge(t.Context(), queue, state, nil); err == nil || !strings.Contains(err.Error(), "use waiting, delayed or dead") {
			t.Errorf("state %q: got %v", state, err)
		}
	}
}

// TestPurgeTakesLargeTasksInSmallSteps: Redis serves nobody else while a script has them in hand.
func TestPurgeTakesLargeTasksInSmallSteps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	large := wire.Task{ID: stream.NewID(), Function: "f", Payload: make([]byte, 1<<20)}
	for range 64 {
		ok(t, r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), Values: large.Fields()}).Err())
	}
	steps := 0
	n := must(r.Purge(t.Context(), queue, inspect.Waiting, func(int) { steps++ }))(t)
	if n != 64 || steps < 4 {
		t.Errorf("purged %d in %d steps, want 64 in at least 4", n, steps)
	}
}

func TestPurgedTasksReleaseTheirLocksAndTellTheirCallers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client()
	failed := make(chan error, 2)
	call := func(input string, options ...stream.Option) {
		go func() {
			_, err := work.Call(t.Context(), client, input, options...)
			failed <- err
		}()
	}
	call("now", stream.Unique("a", time.Hour))
	redistest.Eventually(t, longer, func() bool { return r.redis.XLen(t.Context(), r.keys.Tasks()).Val() == 1 }, "it is stored")
	call("later", stream.Unique("b", time.Hour), stream.After(time.Hour))
	redistest.Eventually(t, longer, func() bool { return r.redis.ZCard(t.Context(), r.keys.Due()).Val() == 1 }, "it is stored")
	for _, state := range []inspect.State{inspect.Waiting, inspect.Delayed} {
		if n := must(r.Purge(t.Context(), queue, state, nil))(t); n != 1 {
			t.Errorf("purged %d %s tasks, want 1", n, state)
		}
		var told *stream.TaskError
		if err := receive(t, failed); !errors.As(err, &told) || told.Reason != wire.ReasonCancelled || !strings.Contains(told.Message, "removed before it started") {
			t.Errorf("%s: the caller got %v", state, err)
		}
	}
	for _, key := range []string{"a", "b"} {
		if _, err := work.Enqueue(t.Context(), client, "again", stream.Unique(key, time.Hour)); err != nil {
			t.Errorf("the lock of %s: %v", key, err)
		}
	}
}

// blocked starts a worker whose handlers run until they are told to end; told gets the cause.
func (r *rig) blocked(cfg group.Config) (started chan string, told chan error, release chan struct{}) {
	started, told, release = make(chan string, 100), make(chan error, 100), make(chan struct{})
	r.start(cfg, func(ctx context.Context, task group.Task) ([]byte, error) {
		started <- string(task.Payload)
		select {
		case <-ctx.Done():
			told <- context.Cause(ctx)
			return nil, ctx.Err()
		case <-release:
			return nil, nil
		}
	})
	r.t.Cleanup(func() { close(release) }) // BEFORE the worker is stopped
	return started, told, release
}

func TestCancelWaitingDelayedAndRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	started, told, _ := r.blocked(group.Config{Concurrency: 1})
	client := r.client()
	reply := r.reply()
	running := r.fill(1, reply)[0]
	receive(t, started)
	ok(t, r.Pause(t.Context(), queue)) // what comes now waits
	<-time.After(200 * time.Millisecond)
	waiting := r.fill(2, reply)
	delayed := must(work.Enqueue(t.Context(), client, "x", stream.After(time.Hour)))(t)
	got := must(r.Cancel(t.Context(), queue, waiting[0], running, delayed, stream.NewID(), waiting[0]))(t)
	if want := (inspect.Cancellation{Removed: 2, Told: 1, Missing: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if cause := receive(t, told); !errors.Is(cause, group.ErrCancelled) {
		t.Errorf("the handler was told %v", cause)
	}
	redistest.Eventually(t, longer, func() bool { return len(r.outcomes(reply)) == 2 }, "both have outcomes")
	outcomes := r.outcomes(reply)
	for _, id := range []string{waiting[0], running} {
		if !slices.Equal(outcomes[id], []string{"-cancelled"}) {
			t.Errorf("got %q, want that it was cancelled", outcomes[id])
		}
	}
	if n := r.redis.XLen(t.Context(), r.keys.Tasks()).Val(); n != 1 {
		t.Errorf("%d tasks are left, want the other one that waits", n)
	}
	if n := r.redis.XLen(t.Context(), r.keys.Dead()).Val() + r.redis.ZCard(t.Context(), r.keys.Due()).Val(); n != 0 {
		t.Errorf("%d are dead or delayed", n)
	}
}

func TestRetryOfDelayedAndDead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client()
	ran := make(chan string, 100)
	r.start(group.Config{}, func(_ context.Context, task group.Task) ([]byte, error) {
		ran <- string(task.Payload)
		return nil, nil
	})
	r.bury(700, three)
	letters := must(r.Letters(t.Context(), queue, inspect.LetterFilter{Function: "f", Limit: 200}))(t).Letters
	delayed := must(work.Enqueue(t.Context(), client, "x", stream.After(time.Hour)))(t)
	other := must(work.Enqueue(t.Context(), client, "y", stream.After(time.Hour)))(t)
	began := time.Now()
	n := must(r.Retry(t.Context(), queue, delayed, letters[100].TaskID, letters[0].ID, stream.NewID()))(t)
	if n != 3 {
		t.Errorf("retried %d, want 3", n)
	}
	var got []string
	for range 3 {
		select {
		case payload := <-ran:
			got = append(got, payload)
		case <-time.After(longer):
			t.Fatalf("only %q ran", got)
		}
	}
	slices.Sort(got)
	want := []string{`"x"`, string(letters[100].Payload), string(letters[0].Payload)}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%q ran, want %q", got, want)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("they ran %v after the call, want at once", took)
	}
	if n := r.redis.ZScore(t.Context(), r.keys.Due(), other).Val(); n == 0 {
		t.Error("the other delayed task is gone")
	}
	if n := must(r.Retry(t.Context(), queue, delayed, letters[0].ID))(t); n != 0 {
		t.Errorf("again: %d", n)
	}
}

func TestDeleteWherever(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	started, _, _ := r.blocked(group.Config{Concurrency: 1})
	running := r.fill(1, "")[0]
	receive(t, started)
	ok(t, r.Pause(t.Context(), queue))
	<-time.After(200 * time.Millisecond)
	waiting := r.fill(3, "")
	r.bury(3, three)
	letters := must(r.Letters(t.Context(), queue, inspect.LetterFilter{}))(t).Letters
	delayed := must(work.Enqueue(t.Context(), r.client(), "x", stream.After(time.Hour)))(t)
	n := must(r.Delete(t.Context(), queue, waiting[1], delayed, letters[0].ID, letters[1].TaskID, running, stream.NewID()))(t)
	if n != 4 {
		t.Errorf("deleted %d, want 4", n)
	}
	ctx := t.Context()
	if a, b, c := r.redis.XLen(ctx, r.keys.Tasks()).Val(), r.redis.ZCard(ctx, r.keys.Due()).Val(), r.redis.XLen(ctx, r.keys.Dead()).Val(); a != 3 || b != 0 || c != 1 {
		t.Errorf("left %d in the stream, %d delayed, %d dead: want 3 (one runs), 0, 1", a, b, c)
	}
}

func TestIDsAreChecked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	many := make([]string, 201)
	for i := range many {
		many[i] = stream.NewID()
	}
	cancel := func(ctx context.Context, queue string, ids ...string) (int, error) {
		_, err := r.Cancel(ctx, queue, ids...)
		return 0, err
	}
	for name, call := range map[string]func(context.Context, string, ...string) (int, error){"retry": r.Retry, "delete": r.Delete, "cancel": cancel} {
		for input, want := range map[string]string{"+": "use that of a task", strings.ToLower(many[0]): "use that of a task"} {
			if _, err := call(t.Context(), queue, input); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %q: got %v, want %q in it", name, input, err, want)
			}
		}
		if _, err := call(t.Context(), queue, many...); err == nil || !strings.Contains(err.Error(), "at most 200") {
			t.Errorf("%s of 201: got %v", name, err)
		}
		if _, err := call(t.Context(), "a}b", many[0]); err == nil || !strings.Contains(err.Error(), "queue name") {
			t.Errorf("%s of a bad queue: got %v", name, err)
		}
		if _, err := call(t.Context(), queue); err != nil {
			t.Errorf("%s of nothing: got %v", name, err)
		}
	}
}

// TestTasksAreFoundInLongQueues cancels single ones of many that wait, also where the clock of their client is wrong.
func TestTasksAreFoundInLongQueues(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"right clock": 0, "clock behind": -time.Minute, "clock ahead": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ids := r.fillAt(40_000, "", off)
			for _, at := range []int{0, 5_000, 20_000, 30_123, 39_999} {
				var got inspect.Cancellation
				n := r.commands(func() { got = must(r.Cancel(t.Context(), queue, ids[at]))(t) })
				if got.Removed != 1 || n > 60 {
					t.Errorf("%d: got %+v with %d commands, want it removed with at most 60", at, got, n)
				}
			}
			got := must(r.Cancel(t.Context(), queue, ids[1], ids[10_000], ids[35_000], stream.NewID()))(t)
			if want := (inspect.Cancellation{Removed: 3, Missing: 1}); got != want {
				t.Errorf("several: got %+v, want %+v", got, want)
			}
		})
	}
}
