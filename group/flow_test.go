package group_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

func TestStrictOrderOfQueues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 30 {
		for _, name := range []string{"low", "mid", "high"} {
			r.addTo(name, task(name))
		}
	}
	var mu sync.Mutex
	var order []string
	start(t, r.store, group.Config{
		Queues: []group.Queue{{Name: "high"}, {Name: "mid"}, {Name: "low"}}, Strict: true, Concurrency: 1,
	}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		<-time.After(10 * time.Millisecond) // no prefetch
		mu.Lock()
		defer mu.Unlock()
		order = append(order, task.Queue)
		return nil, nil
	}))
	eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(order) == 90 }, "all are done")
	if !slices.Equal(slices.Compact(slices.Clone(order)), []string{"high", "mid", "low"}) {
		t.Errorf("order: got %v, want all of high, then mid, then low", slices.Compact(order))
	}
}

func TestWeightsOfQueues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 600 {
		r.addTo("often", task("often"))
		r.addTo("seldom", task("seldom"))
	}
	counts := map[string]int{}
	total, done := 0, make(chan struct{})
	start(t, r.store, group.Config{
		Queues: []group.Queue{{Name: "often", Weight: 4}, {Name: "seldom"}}, Concurrency: 1,
	}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		<-time.After(6 * time.Millisecond) // no prefetch
		if total++; total <= 500 {
			counts[task.Queue]++
		}
		if total == 500 {
			close(done)
		}
		return nil, nil
	}))
	<-done
	// 400 of 500 are expected; 60 are more than six standard deviations.
	if n := counts["often"]; n < 340 || n > 460 {
		t.Errorf("of 500 tasks, %d were of the queue with 4 of 5 parts, want about 400", n)
	}
}

func TestParkedQueuesAllWakeUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var seen tally
	start(t, r.store, group.Config{Queues: []group.Queue{{Name: "a"}, {Name: "b"}, {Name: "c"}}}, handle(
		func(_ context.Context, task group.Task) ([]byte, error) {
			seen.count([]byte(task.Queue))
			return nil, nil
		}))
	for i, name := range []string{"c", "a", "b", "c"} {
		r.addTo(name, task(""))
		redistest.Eventually(t, 2*time.Second, func() bool { return seen.sum() == i+1 }, "the task of queue "+name+" runs")
	}
}

func TestDelayedTasksAreNeverEarly(t *testing.T) {
	t.Parallel()
	const tasks = 200
	r := newRig(t)
	lateness := make(chan time.Duration, tasks)
	due := map[string]time.Time{}
	var mu sync.Mutex
	for range 2 {
		start(t, newStore(t, r.server.Client(t)), group.Config{}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
			now := time.Now() // Redis runs on the same machine
			mu.Lock()
			defer mu.Unlock()
			lateness <- now.Sub(due[task.ID])
			return nil, nil
		}))
	}
	<-time.After(100 * time.Millisecond)
	for i := range tasks {
		one := task("")
		mu.Lock()
		due[one.ID] = r.later(one, time.Duration(i*5+int(time.Now().UnixNano()%100))*time.Millisecond)
		mu.Unlock()
	}
	var all []time.Duration
	for range tasks {
		all = append(all, <-lateness)
	}
	slices.Sort(all)
	t.Logf("lateness: least %v, median %v, p99 %v, most %v", all[0], all[tasks/2], all[tasks*99/100], all[tasks-1])
	if all[0] < 0 {
		t.Errorf("a task ran %v early", -all[0])
	}
	if all[tasks/2] > 100*time.Millisecond {
		t.Errorf("half of the tasks ran more than %v late", all[tasks/2])
	}
}

func TestEarlierTaskWakesTheSleeper(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ran := make(chan time.Time, 1)
	start(t, r.store, group.Config{}, handle(func(context.Context, group.Task) ([]byte, error) {
		ran <- time.Now()
		return nil, nil
	}))
	r.later(task(""), time.Hour)
	<-time.After(200 * time.Millisecond) // it sleeps until the next look by now
	due := r.later(task(""), 50*time.Millisecond)
	if late := (<-ran).Sub(due); late < 0 || late > time.Second {
		t.Errorf("it ran %v after it was due", late)
	}
}

func TestRetryWaitsForItsBackoff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var times []time.Time
	start(t, r.store, group.Config{Concurrency: 1}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		times = append(times, time.Now())
		if task.Attempt == 1 {
			return nil, group.RetryAfter(150*time.Millisecond, errors.New("later"))
		}
		return []byte(task.LastError), nil
	}))
	one := task("")
	one.Reply = r.reply()
	r.add(one)
	if got := r.outcome(one); string(got.Payload) != "later" {
		t.Errorf("last error: got %q, want %q", got.Payload, "later")
	}
	if wait := times[1].Sub(times[0]); wait < 150*time.Millisecond || wait > time.Second {
		t.Errorf("second attempt after %v, want 150ms", wait)
	}
}

func TestCancelledTasksDoNotStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	scripts := r.store.Scripts()
	var cancelled atomic.Int64
	release := make(chan struct{})
	var ran tally
	started := make(chan struct{}, 100)
	start(t, r.store, group.Config{Concurrency: 1, Hooks: group.Hooks{Cancelled: func(group.Metadata) { cancelled.Add(1) }}}, handle(
		func(_ context.Context, task group.Task) ([]byte, error) {
			ran.count(task.Payload)
			if string(task.Payload) == "block" {
				started <- struct{}{}
				<-release
			}
			return nil, nil
		}))
	for range 50 { // short ones, so that the worker prefetches
		r.add(task("warm"))
	}
	r.empty(soon)
	block := task("block")
	r.add(block)
	<-started

	buffered := task("buffered")
	buffered.Reply = r.reply()
	entry := r.add(buffered)
	eventually(t, func() bool { return r.redis.XPending(t.Context(), keys.Tasks(), "workers").Val().Count == 2 }, "it is in the buffer")
	if _, err := scripts.Cancel(t.Context(), keys, "workers", []script.TaskRef{{ID: buffered.ID, Entry: entry}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.redis.XLen(t.Context(), keys.Tasks()).Val() == 1 }, "it is gone, whether it waited here or was handed back")
	for _, got := range r.outcomes(buffered.Reply)[buffered.ID] {
		if got.Failure.Reason != wire.ReasonCancelled {
			t.Errorf("in the buffer: got %+v, want %q", got, wire.ReasonCancelled)
		}
	}

	// One that was promoted: nobody knows its entry, so it is noted.
	promoted := task("promoted")
	promoted.Promoted, promoted.Reply = true, buffered.Reply
	if _, err := scripts.Cancel(t.Context(), keys, "workers", []script.TaskRef{{ID: promoted.ID}}); err != nil {
		t.Fatal(err)
	}
	close(release)
	r.add(promoted)
	if got := r.outcome(promoted); got.Failure.Reason != wire.ReasonCancelled {
		t.Errorf("promoted: got %+v, want %q", got, wire.ReasonCancelled)
	}
	other := task("other")
	other.Promoted, other.Reply = true, buffered.Reply
	r.add(other)
	if got := r.outcome(other); got.Kind != '+' {
		t.Errorf("promoted and not cancelled: got %+v, want a result", got)
	}
	r.empty(soon)
	if ran.calls["buffered"]+ran.calls["promoted"] != 0 {
		t.Errorf("cancelled tasks ran: %v", ran.calls)
	}
	if n := cancelled.Load(); n < 1 || n > 2 {
		t.Errorf("Cancelled was called %d times, want 2, or 1 if the first was handed back", n)
	}
}

func TestPausedQueueIsNotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var ran tally
	r.redis.HSet(t.Context(), keys.State(), "paused", 1)
	start(t, r.store, group.Config{}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		ran.count(task.Payload)
		return nil, nil
	}))
	say := func(value int, word string) {
		r.redis.HSet(t.Context(), keys.State(), "paused", value)
		r.redis.Publish(t.Context(), keys.Control(), word)
	}
	r.add(task("1"))
	<-time.After(300 * time.Millisecond)
	if ran.sum() != 0 {
		t.Fatal("paused at the start: it ran")
	}
	say(0, "resume")
	redistest.Eventually(t, 2*time.Second, func() bool { return ran.sum() == 1 }, "resumed: it runs")
	say(1, "pause")
	<-time.After(100 * time.Millisecond)
	r.add(task("2"))
	<-time.After(300 * time.Millisecond)
	if ran.sum() != 1 {
		t.Fatal("paused: it ran")
	}
	say(0, "resume")
	redistest.Eventually(t, 2*time.Second, func() bool { return ran.sum() == 2 }, "resumed again: it runs")
}

func TestDrainHandsOverWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	reply := r.reply()
	started := make(chan struct{}, 1000)
	drained := make(chan error, 1000)
	cfg := group.Config{Concurrency: 10, Drain: 200 * time.Millisecond}
	first := start(t, r.store, cfg, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		started <- struct{}{}
		switch n := task.Payload[0] - '0'; {
		case n < 3: // ends in time
			<-time.After(100 * time.Millisecond)
			return nil, nil
		case n < 6: // ends with a result when it is told to
			<-ctx.Done()
			drained <- context.Cause(ctx)
			return nil, nil
		case n < 9: // gives up when it is told to
			<-ctx.Done()
			drained <- context.Cause(ctx)
			return nil, ctx.Err()
		default: // does not listen
			<-t.Context().Done()
			return nil, nil
		}
	}))
	r.addMany(10, reply)
	for range 10 {
		<-started
	}
	r.addMany(5, reply)
	first.cancel()
	var attempts, seconds atomic.Int64
	<-first.done
	stopped := time.Now()
	if first.err != nil {
		t.Errorf("Run: got %v, want nil", first.err)
	}
	for range 6 {
		if err := <-drained; !errors.Is(err, group.ErrDrain) {
			t.Errorf("cause: got %v, want ErrDrain", err)
		}
	}
	if n := len(r.outcomes(reply)); n != 6 {
		t.Errorf("outcomes after the drain: got %d, want 6: three in time, three late", n)
	}
	start(t, newStore(t, r.server.Client(t)), group.Config{Concurrency: 10}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		attempts.Add(int64(task.Attempt))
		if seconds.Add(1) == 9 {
			t.Logf("all that was left ran %v after the first worker ended, which includes the start of the second", time.Since(stopped))
		}
		return nil, nil
	}))
	eventually(t, func() bool { return len(r.outcomes(reply)) == 15 }, "all are done")
	checkOnce(t, r, reply, 15)
	if attempts.Load() != 9 {
		t.Errorf("attempts of the 9 that were left: got %d in sum, want 9", attempts.Load())
	}
	r.empty(soon)
}

func TestReleasedWorkStartsElsewhereAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	started := make(chan struct{}, 10)
	first := start(t, r.store, group.Config{Concurrency: 10, Drain: time.Millisecond}, handle(func(ctx context.Context, _ group.Task) ([]byte, error) {
		started <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	r.addMany(10, "")
	for range 10 {
		<-started
	}
	again := make(chan time.Time, 10)
	start(t, newStore(t, r.server.Client(t)), group.Config{Concurrency: 10}, handle(func(context.Context, group.Task) ([]byte, error) {
		again <- time.Now()
		return nil, nil
	}))
	<-time.After(300 * time.Millisecond)
	told := time.Now()
	first.cancel()
	for range 10 {
		if took := (<-again).Sub(told); took > time.Second {
			t.Errorf("it started %v after the first worker was told to stop", took)
		}
	}
	t.Logf("all started elsewhere within %v", time.Since(told))
}

// TestNoMoreInHandThanSlots holds that long tasks are not hoarded.
func TestNoMoreInHandThanSlots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	var running atomic.Int64
	for range 2 {
		start(t, newStore(t, r.server.Client(t)), group.Config{Concurrency: 4}, handle(func(context.Context, group.Task) ([]byte, error) {
			running.Add(1)
			<-release
			return nil, nil
		}))
	}
	r.addMany(20, "")
	eventually(t, func() bool { return running.Load() == 8 }, "all slots are busy")
	<-time.After(200 * time.Millisecond)
	pending := r.redis.XPending(t.Context(), keys.Tasks(), "workers").Val()
	if pending.Count != 8 {
		t.Errorf("in hand: got %v, want 4 each", pending.Consumers)
	}
	close(release)
	r.empty(soon)
}

// TestStaleBufferIsHandedBack has a worker that prefetches short tasks and then meets a long one.
func TestStaleBufferIsHandedBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	defer close(release)
	handler := func(_ context.Context, task group.Task) ([]byte, error) {
		if string(task.Payload) == "long" {
			<-release
		}
		return nil, nil
	}
	start(t, r.store, group.Config{Concurrency: 1, Drain: time.Millisecond}, handle(handler))
	r.addMany(100, "")
	r.empty(soon)
	pipe := r.redis.TxPipeline()
	reply := r.reply()
	long := task("long")
	pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Tasks(), Values: long.Fields()})
	for i := range 20 {
		one := task(fmt.Sprint(i))
		one.Reply = reply
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Tasks(), Values: one.Fields()})
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	start(t, newStore(t, r.server.Client(t)), group.Config{Concurrency: 1}, handle(handler))
	redistest.Eventually(t, 10*time.Second, func() bool { return len(r.outcomes(reply)) == 20 }, "the others run elsewhere")
	checkOnce(t, r, reply, 20)
}

func TestHandlersMayUseUpThePool(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.server.Client(t, func(o *redis.Options) { o.PoolSize = 1 })
	reply := r.reply()
	r.addMany(200, reply)
	start(t, newStore(t, client), group.Config{Concurrency: 8}, handle(func(ctx context.Context, _ group.Task) ([]byte, error) {
		return nil, client.Ping(ctx).Err()
	}))
	eventually(t, func() bool { return len(r.outcomes(reply)) == 200 }, "all are done")
	checkOnce(t, r, reply, 200)
}

func TestClusterWithSeveralQueues(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	client := cluster.Client(t)
	store := newStore(t, client)
	var queues []group.Queue
	for i := range 6 {
		queues = append(queues, group.Queue{Name: fmt.Sprint("q", i)})
	}
	var seen tally
	cfg := group.Config{Queues: queues, Concurrency: 4, Backoff: quick}
	w := start(t, store, cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if task.Attempt == 1 {
			return nil, errors.New("once more")
		}
		seen.count([]byte(task.Queue + string(task.Payload)))
		return nil, nil
	}))
	for i := range 20 {
		for _, q := range queues {
			one := task(fmt.Sprint(i))
			fields := &redis.XAddArgs{Stream: wire.NewKeys("wm", q.Name).Tasks(), Values: one.Fields()}
			if err := client.XAdd(t.Context(), fields).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, func() bool { return seen.distinct() == 120 }, "all are done")
	for _, q := range queues {
		channel := wire.NewKeys("wm", q.Name).Presence(w.Name())
		node, err := client.MasterForKey(t.Context(), channel)
		if err != nil {
			t.Fatal(err)
		}
		if n := node.PubSubShardNumSub(t.Context(), channel).Val()[channel]; n != 1 {
			t.Errorf("subscribers of %s on its node: got %d, want 1", channel, n)
		}
	}
	if err := w.stop(); err != nil {
		t.Errorf("Run: got %v", err)
	}
}

func TestWorkerWithoutTheRightToSubscribe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.redis.Do(t.Context(), "ACL", "SETUSER", "shy", "on", ">secret", "~*", "resetchannels", "+@all", "-subscribe", "-ssubscribe")
	client := r.server.Client(t, func(o *redis.Options) { o.Username, o.Password = "shy", "secret" })
	w := start(t, newStore(t, client), group.Config{Backoff: quick}, handle(nop))
	one := task("")
	one.Reply = r.reply()
	r.add(one)
	r.outcome(one)
	_, value := wire.ParseLease(r.redis.Get(t.Context(), keys.Lease(w.Name())).Val())
	if want := `"presence":false`; !strings.Contains(value, want) {
		t.Errorf("lease: got %s, want it to say %s", value, want)
	}
}
