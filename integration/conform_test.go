package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

var errBroken = errors.New("broken")

func conformEnqueue(t *testing.T, r *rig) {
	t.Helper()
	const alone, together = 40, 600
	var callers sync.WaitGroup
	ids := make([]string, alone)
	for n := range alone {
		callers.Go(func() {
			id, err := square.Enqueue(t.Context(), r.tasks, together+n)
			if err != nil {
				t.Errorf("enqueue: %v", err)
			}
			ids[n] = id
		})
	}
	r.enqueue(together)
	callers.Wait()
	if slices.Sort(ids); len(slices.Compact(ids)) != alone {
		t.Error("some tasks have the same ID")
	}
	if stored := r.client.XLen(t.Context(), r.keys.Tasks()).Val(); stored != alone+together {
		t.Fatalf("%d entries, want %d", stored, alone+together)
	}
	var ran record
	r.work(group.Config{Concurrency: 16}, squares(&ran))
	ran.once(t, alone+together)
	r.empty()
}

func conformHeaders(t *testing.T, r *rig) {
	t.Helper()
	fn := stream.Func[string, string]{Name: "echoHeader", Queue: queue}
	r.work(group.Config{}, handler(fn, func(ctx context.Context, in string) (string, error) {
		m := group.Meta(ctx)
		return fmt.Sprint(in, " ", m.Function, " ", m.Queue, " ", m.Attempt, " ", m.MaxAttempts, " ", m.Timeout, " ", m.Headers["trace"]), nil
	}))
	got, err := fn.Call(t.Context(), r.tasks, "é\x00\n", stream.Header("trace", "a b=c\n"), stream.MaxAttempts(3), stream.Timeout(time.Minute))
	if want := "é\x00\n echoHeader work 1 3 1m0s a b=c\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func conformLimit(t *testing.T, r *rig) {
	t.Helper()
	client := openClient(t, r.store, stream.ClientConfig{MaxQueue: 10})
	n, err := square.EnqueueAll(t.Context(), client, numbers(25))
	if !errors.Is(err, stream.ErrQueueFull) || n != 10 {
		t.Errorf("got %d, %v, want 10 and ErrQueueFull", n, err)
	}
	if _, err := square.Enqueue(t.Context(), client, 1); !errors.Is(err, stream.ErrQueueFull) {
		t.Errorf("got %v, want ErrQueueFull", err)
	}
	var ran record
	r.work(group.Config{}, squares(&ran))
	r.empty()
	if _, err := square.Enqueue(t.Context(), client, 10); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	ran.once(t, 11)
}

func conformUnique(t *testing.T, r *rig) {
	t.Helper()
	once := stream.Unique("front page", time.Hour)
	first, err := square.Enqueue(t.Context(), r.tasks, 0, once)
	must(t, err)
	second, err := square.Enqueue(t.Context(), r.tasks, 1, once)
	if !errors.Is(err, stream.ErrDuplicate) || second != first {
		t.Errorf("the second: got %s, %v, want %s, ErrDuplicate", second, err, first)
	}
	delayed, err := square.Enqueue(t.Context(), r.tasks, 1, once, stream.After(time.Millisecond))
	if !errors.Is(err, stream.ErrDuplicate) || delayed != first {
		t.Errorf("a delayed one: got %s, %v, want %s, ErrDuplicate", delayed, err, first)
	}
	var ran record
	r.work(group.Config{}, squares(&ran))
	r.empty()
	if third, err := square.Enqueue(t.Context(), r.tasks, 1, once); err != nil || third == first {
		t.Errorf("once the first is done: got %s, %v", third, err)
	}
	ran.once(t, 2)
}

func conformDelayed(t *testing.T, r *rig) {
	t.Helper()
	const delay = 300 * time.Millisecond
	type start struct {
		n  int
		at time.Time
	}
	starts := make(chan start, 10)
	r.work(group.Config{}, handler(square, func(_ context.Context, n int) (int, error) {
		starts <- start{n, time.Now()}
		return n, nil
	}))
	began := time.Now()
	_, err := square.Enqueue(t.Context(), r.tasks, 3, stream.After(3*delay))
	must(t, err)
	_, err = square.Enqueue(t.Context(), r.tasks, 1, stream.After(delay)) // newer, and due earlier
	must(t, err)
	_, err = square.Enqueue(t.Context(), r.tasks, 2, stream.At(began.Add(2*delay)))
	must(t, err)
	for want := 1; want <= 3; want++ {
		s := <-starts
		due := time.Duration(want) * delay
		// A due time is a whole millisecond of Redis.
		if late := s.at.Sub(began) - due; s.n != want || late < -time.Millisecond || late > 10*time.Second {
			t.Errorf("task %d started %v after it was due, want task %d, on time", s.n, late, want)
		}
	}
	r.empty()
}

func conformRetry(t *testing.T, r *rig) {
	t.Helper()
	var ran record
	r.work(group.Config{}, handler(square, func(ctx context.Context, n int) (int, error) {
		m := group.Meta(ctx)
		ran.add(n, m.Attempt)
		switch {
		case m.Attempt == 2 && m.LastError != errBroken.Error():
			return 0, group.Drop(fmt.Errorf("the last error is %q", m.LastError))
		case m.Attempt == 2:
			return 0, group.RetryAfter(20*time.Millisecond, errBroken)
		case m.Attempt < 4:
			return 0, errBroken
		}
		return n * n, nil
	}))
	if got, err := square.Call(t.Context(), r.tasks, 5); err != nil || got != 25 {
		t.Errorf("got %d, %v, want 25", got, err)
	}
	if got := ran.of(5); !slices.Equal(got, []int{1, 2, 3, 4}) {
		t.Errorf("attempts %v, want 1 to 4", got)
	}
}

func conformDeadLetter(t *testing.T, r *rig) {
	t.Helper()
	var ran record
	r.work(group.Config{}, handler(square, func(ctx context.Context, n int) (int, error) {
		attempt := group.Meta(ctx).Attempt
		ran.add(n, attempt)
		if len(ran.of(n)) > 2 {
			return n, nil // somebody has repaired it
		}
		if n == 2 {
			return 0, group.Drop(errBroken)
		}
		return 0, errBroken
	}))
	for n, want := range map[int]wire.Failure{
		1: {Function: "square", Attempt: 2, Reason: wire.ReasonFailed, Message: "broken"},
		2: {Function: "square", Attempt: 1, Reason: wire.ReasonDropped, Message: "broken"},
	} {
		_, err := square.Call(t.Context(), r.tasks, n, stream.MaxAttempts(2))
		var failure *stream.TaskError
		if !errors.As(err, &failure) || failure.Function != want.Function || failure.Attempt != want.Attempt ||
			failure.Reason != want.Reason || failure.Message != want.Message {
			t.Errorf("task %d: got %v, want %+v", n, err, want)
		}
	}
	letters := 0
	for letter, err := range reclaim.List(t.Context(), r.store, queue) {
		must(t, err)
		letters++
		if letter.Function != "square" || letter.Error != "broken" || letter.Worker == "" {
			t.Errorf("got %+v", letter)
		}
		if letter.Reason == wire.ReasonFailed {
			n, err := reclaim.Replay(t.Context(), r.store, queue, letter.ID)
			if n != 1 || err != nil {
				t.Errorf("replay: got %d, %v", n, err)
			}
		} else if n, err := reclaim.Purge(t.Context(), r.store, queue, letter.ID); n != 1 || err != nil {
			t.Errorf("purge: got %d, %v", n, err)
		}
	}
	r.empty()
	if got := ran.of(1); letters != 2 || !slices.Equal(got, []int{1, 2, 1}) {
		t.Errorf("%d letters, and the replayed task ran as %v; want 2, and 1 2 1", letters, got)
	}
	if left := r.client.XLen(t.Context(), r.keys.Dead()).Val(); left != 0 {
		t.Errorf("%d dead letters are left", left)
	}
}

func conformForeign(t *testing.T, r *rig) {
	t.Helper()
	task := wire.Task{ID: stream.NewID(), Function: "square", Attempt: 1, Payload: []byte("1")}
	newer := task.Fields()
	newer[0] = "v2"
	for _, fields := range [][]string{{"hello", "world"}, newer, {"v1", "no header\n"}} {
		must(t, r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), Values: fields}).Err())
	}
	r.enqueue(3)
	var ran record
	r.work(group.Config{}, squares(&ran))
	ran.once(t, 3)
	r.empty()
	var reasons []string
	for letter, err := range reclaim.List(t.Context(), r.store, queue) {
		must(t, err)
		reasons = append(reasons, letter.Reason)
		if letter.Error == "" || letter.Raw == "" {
			t.Errorf("%s: error %q, raw %q", letter.Reason, letter.Error, letter.Raw)
		}
		if letter.Reason != wire.ReasonNewer {
			continue
		}
		kept, err := r.client.XRange(t.Context(), r.keys.Dead(), letter.ID, letter.ID).Result()
		must(t, err)
		if len(kept) != 1 || kept[0].Values[newer[0]] != newer[1] {
			t.Errorf("of the newer entry %v is kept", kept)
		}
	}
	if slices.Sort(reasons); !slices.Equal(reasons, []string{"malformed", "malformed", "newer version"}) {
		t.Errorf("dead letters: %v", reasons)
	}
}

func conformUnknown(t *testing.T, r *rig) {
	t.Helper()
	var ran record
	other := handler(nap, func(context.Context, time.Duration) (bool, error) { return true, nil })
	r.work(group.Config{MaxAttempts: 3}, other)
	_, err := stream.Func[int, int]{Name: "nobodyKnows", Queue: queue}.Call(t.Context(), r.tasks, 1)
	var failure *stream.TaskError
	if !errors.As(err, &failure) || failure.Reason != wire.ReasonUnknown || !strings.Contains(failure.Message, "nobodyKnows") {
		t.Errorf("got %v, want %q", err, wire.ReasonUnknown)
	}
	// A worker that knows the function gets the task, though others see it too.
	r.work(group.Config{}, squares(&ran))
	if got, err := square.Call(t.Context(), r.tasks, 3, stream.MaxAttempts(25)); err != nil || got != 9 {
		t.Errorf("with a worker that knows it: got %d, %v", got, err)
	}
}

func conformReclaim(t *testing.T, r *rig) {
	t.Helper()
	const n = 50
	r.enqueue(n)
	r.deliver("dead", n)
	_, err := r.store.Scripts().Heartbeat(t.Context(), []wire.Keys{r.keys}, "dead", time.Minute, `{"presence":true}`)
	must(t, err)
	var ran record
	r.work(group.Config{Concurrency: 8}, squares(&ran))
	ran.once(t, n)
	r.empty()
	redistest.Eventually(t, patience, func() bool {
		all, err := r.client.XInfoConsumers(t.Context(), r.keys.Tasks(), r.store.Group()).Result()
		must(t, err)
		return !slices.ContainsFunc(all, func(c redis.XInfoConsumer) bool { return c.Name == "dead" })
	}, "the dead consumer is removed")
	if got := r.count(t, "reclaimed"); got != n {
		t.Errorf("counted %d reclaimed, want %d", got, n)
	}
}

// conformCrashLoop plays a task that killed three workers, the last of which ran it alone.
func conformCrashLoop(t *testing.T, r *rig) {
	t.Helper()
	r.enqueue(1)
	r.deliver("dead", 1)
	_, err := r.store.Scripts().Heartbeat(t.Context(), []wire.Keys{r.keys}, "dead", time.Minute, `{"presence":true}`)
	must(t, err)
	pending, err := r.client.XPending(t.Context(), r.keys.Tasks(), r.store.Group()).Result()
	must(t, err)
	must(t, r.client.HSet(t.Context(), r.keys.Crashes(), pending.Lower, 2).Err())
	must(t, r.store.Scripts().MarkAlone(t.Context(), r.keys, pending.Lower))
	var ran record
	r.work(group.Config{}, squares(&ran))
	r.empty()
	for letter, err := range reclaim.List(t.Context(), r.store, queue) {
		must(t, err)
		if letter.Reason != wire.ReasonCrash || ran.len() != 0 {
			t.Errorf("got %q after %d runs, want %q and none", letter.Reason, ran.len(), wire.ReasonCrash)
		}
		return
	}
	t.Error("there is no dead letter")
}

func conformGhosts(t *testing.T, r *rig) {
	t.Helper()
	const n = 20
	r.enqueue(n)
	r.deliver("bob", n)
	must(t, r.client.XGroupDelConsumer(t.Context(), r.keys.Tasks(), r.store.Group(), "bob").Err())
	var ran record
	r.work(group.Config{}, squares(&ran))
	ran.once(t, n)
	r.empty()
}

func conformDestroyed(t *testing.T, r *rig) {
	t.Helper()
	var ran record
	r.work(group.Config{}, squares(&ran))
	r.enqueue(5)
	ran.once(t, 5)
	r.empty()
	must(t, r.client.XGroupDestroy(t.Context(), r.keys.Tasks(), r.store.Group()).Err())
	if got, err := square.Call(t.Context(), r.tasks, 7); err != nil || got != 49 {
		t.Errorf("after XGROUP DESTROY: got %d, %v, want 49", got, err)
	}
	must(t, r.client.Del(t.Context(), r.keys.Tasks()).Err())
	if got, err := square.Call(t.Context(), r.tasks, 8); err != nil || got != 64 {
		t.Errorf("after DEL: got %d, %v, want 64", got, err)
	}
}

func conformCancel(t *testing.T, r *rig) {
	t.Helper()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := square.Call(short, r.tasks, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that nobody answers: got %v", err)
	}
	if left := r.client.XLen(t.Context(), r.keys.Tasks()).Val(); left != 0 {
		t.Errorf("%d entries are left of a call that was given up", left)
	}
	breakOff(t, r, mapreduce.Chunk(1), 2)
	breakOff(t, r, mapreduce.Chunk(50), 100) // what waits in a chunk that runs is cancelled when its worker hears of it
}

// breakOff breaks a batch off when one of its tasks runs and the others wait behind it; most of them may run.
func breakOff(t *testing.T, r *rig, chunk mapreduce.Option, most int) {
	t.Helper()
	var ran record
	gate := make(chan struct{})
	stop := r.work(group.Config{Concurrency: 1}, handler(square, func(_ context.Context, n int) (int, error) {
		ran.add(n, 1)
		if n > 0 {
			<-gate
		}
		return n, nil
	}))
	batch := mapreduce.Map(t.Context(), r.tasks, square, numbers(100), chunk)
	for result := range batch.Results() {
		if result.Err != nil {
			t.Error(result.Err)
		}
		break
	}
	redistest.Eventually(t, patience, func() bool {
		return r.client.XLen(t.Context(), r.keys.Tasks()).Val() <= 1 // the one that runs
	}, "what has not started is cancelled")
	close(gate)
	r.empty()
	stop()
	if ran.len() > most {
		t.Errorf("%d of 100 tasks ran though the batch was broken off after one", ran.len())
	}
}

func conformDrain(t *testing.T, r *rig) {
	t.Helper()
	const n = 4
	started := make(chan int, 4*n)
	stop := r.work(group.Config{Concurrency: n, Drain: 50 * time.Millisecond}, handler(square, func(ctx context.Context, n int) (int, error) {
		started <- n
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}))
	r.enqueue(2 * n)
	for range n {
		<-started
	}
	stop()
	if more := len(started); more != 0 {
		t.Errorf("%d more tasks started while the worker drained", more)
	}
	consumers, err := r.client.XInfoConsumers(t.Context(), r.keys.Tasks(), r.store.Group()).Result()
	must(t, err)
	for _, c := range consumers {
		if c.Name != wire.ReleasedConsumer {
			t.Errorf("the worker has left, and consumer %+v is there", c)
		}
	}
	var ran record
	r.work(group.Config{}, squares(&ran))
	ran.once(t, 2*n)
	r.empty()
}

func conformMap(t *testing.T, r *rig) {
	t.Helper()
	const n = 500
	for range 2 {
		r.work(group.Config{}, handler(square, func(_ context.Context, n int) (int, error) {
			if n == 13 {
				return 0, group.Drop(errBroken)
			}
			return n * n, nil
		}))
	}
	batch := mapreduce.Map(t.Context(), r.tasks, square, numbers(n), mapreduce.InOrder(), mapreduce.Window(64))
	next := 0
	for result := range batch.Results() {
		if result.Index != next || (result.Err != nil) != (next == 13) || (next != 13 && result.Value != next*next) {
			t.Errorf("result %d: got %+v", next, result)
		}
		next++
	}
	if err := batch.Err(); err != nil || next != n {
		t.Errorf("got %d results, %v, want %d", next, err, n)
	}
	left, err := r.client.Keys(t.Context(), r.keys.Reply("")+"*").Result()
	if err != nil || len(left) != 0 {
		t.Errorf("reply streams left: %v, %v", left, err)
	}
}

func conformShared(t *testing.T, r *rig) {
	t.Helper()
	r.work(group.Config{}, handler(square, func(ctx context.Context, n int) (int, error) {
		base, err := group.Shared(ctx).Get(ctx, "base")
		if err != nil {
			return 0, err
		}
		return n + len(base), nil
	}))
	batch := mapreduce.Map(t.Context(), r.tasks, square, numbers(3))
	must(t, batch.Set(t.Context(), "base", []byte("12345")))
	for result := range batch.Results() {
		if result.Err != nil || result.Value != result.Index+5 {
			t.Errorf("got %+v", result)
		}
	}
	must(t, batch.Err())
}
