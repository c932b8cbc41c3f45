package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// use is what was used up to a moment.
type use struct {
	at       time.Time
	commands int           // that clients sent
	redis    time.Duration // CPU
	worker   time.Duration // CPU of this process
}

// usage reads it. Commands that came by scripts are not counted.
func usage(t *testing.T, client redis.UniversalClient, inside ...string) use {
	t.Helper()
	text, err := client.Info(t.Context(), "cpu", "commandstats").Result()
	must(t, err)
	u := use{at: time.Now()}
	gets, beats := 0, 0
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		var seconds float64
		var calls int
		switch {
		case name == "used_cpu_user" || name == "used_cpu_sys":
			_, err = fmt.Sscanf(rest, "%g", &seconds)
			u.redis += time.Duration(seconds * float64(time.Second))
		case strings.HasPrefix(name, "cmdstat_") && !byScripts[strings.TrimPrefix(name, "cmdstat_")] &&
			!slices.Contains(inside, strings.TrimPrefix(name, "cmdstat_")):
			_, err = fmt.Sscanf(rest, "calls=%d", &calls)
			u.commands += calls
		case strings.HasPrefix(name, "cmdstat_"):
			_, err = fmt.Sscanf(rest, "calls=%d", &calls)
		}
		must(t, err)
		switch name {
		case "cmdstat_get":
			gets = calls
		case "cmdstat_pexpire":
			beats = calls
		}
	}
	u.commands += max(0, gets-beats) // a heartbeat has one, of each lease; looks have the others
	var own syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &own))
	u.worker = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return u
}

// since logs what was used from then until now.
func (u use) since(t *testing.T, what string, now use) float64 {
	t.Helper()
	took := now.at.Sub(u.at)
	perSecond := float64(now.commands-u.commands) / took.Seconds()
	t.Logf("%s: %.1f commands a second, CPU of Redis %.2f %%, of the worker %.2f %%", what, perSecond,
		100*(now.redis-u.redis).Seconds()/took.Seconds(), 100*(now.worker-u.worker).Seconds()/took.Seconds())
	return perSecond
}

// TestManyQueuesFigures runs one worker on many queues.
func TestManyQueuesFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	b := startLocal(t)
	queues := numberedQueues(size(50, 1000))
	functions := make([]stream.Func[int, int], len(queues))
	for i := range queues {
		functions[i] = stream.Func[int, int]{Name: "square", Queue: queues[i].Name}
	}
	client := openClient(t, b.store, stream.ClientConfig{})
	rdb := redis.NewClient(&redis.Options{Network: b.Network, Addr: b.Addr, ClientName: "measured"})
	defer rdb.Close()
	store, err := stream.NewStore(rdb, stream.Config{Logger: zap.NewNop()})
	must(t, err)
	routines := runtime.NumGoroutine()
	worker, err := group.NewWorker(store, group.Config{Queues: queues, Concurrency: 16})
	must(t, err)
	starts := make(chan started, 1000)
	group.Handle(worker, square, func(_ context.Context, n int) (int, error) {
		starts <- started{n, time.Now()}
		return n, nil
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- worker.Run(ctx) }()
	leases := make([]string, len(queues))
	for i, q := range queues {
		leases[i] = store.Keys(q.Name).Lease(worker.Name())
	}
	redistest.Eventually(t, 2*patience, func() bool {
		return b.client.Exists(t.Context(), leases...).Val() == int64(len(leases))
	}, "all leases are there")
	t.Logf("%d queues: all leases %v after the start", len(queues), time.Since(began))
	for n := range queues {
		_, err := functions[n].Enqueue(t.Context(), client, n)
		must(t, err)
	}
	for range queues {
		<-starts
	}
	t.Logf("a task of each has started %v after the start", time.Since(began))
	must(t, pauseFor(t.Context(), 3*time.Second))
	before := usage(t, b.client, "xpending")
	must(t, pauseFor(t.Context(), time.Duration(size(3, 15))*time.Second))
	before.since(t, "idle", usage(t, b.client, "xpending"))
	t.Logf("connections: %d, goroutines: %d", connected(t, b.client, "name=measured"), runtime.NumGoroutine()-routines)
	var took []time.Duration
	for n := range 300 {
		must(t, pauseFor(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond))
		began := time.Now()
		_, err := functions[rand.IntN(len(functions))].Enqueue(t.Context(), client, n)
		must(t, err)
		took = append(took, (<-starts).at.Sub(began))
	}
	report(t, "from Enqueue to the start of the handler", took)
	var late []time.Duration
	due := make([]time.Time, 300)
	begin := time.Now().Add(time.Second)
	for n := range due {
		due[n] = begin.Add(rand.N(3 * time.Second)).Truncate(time.Millisecond)
		_, err := functions[rand.IntN(len(functions))].Enqueue(t.Context(), client, n, stream.At(due[n]))
		must(t, err)
	}
	for range due {
		s := <-starts
		late = append(late, s.at.Sub(due[s.task]))
	}
	report(t, "lateness of delayed tasks", late)
	if slices.Min(late) < 0 {
		t.Error("early")
	}
	began = time.Now()
	stop()
	must(t, <-done)
	t.Logf("stopped after %v", time.Since(began))
	must(t, store.Close())
}

// connected is how many connections there are with a text in their line of CLIENT LIST.
func connected(t *testing.T, client redis.UniversalClient, with string) int {
	t.Helper()
	text, err := client.ClientList(t.Context()).Result()
	must(t, err)
	found := 0
	for line := range strings.Lines(text) {
		if strings.Contains(line, with) {
			found++
		}
	}
	return found
}

// TestManyQueuesKilledFigures kills a worker that runs a task of each of many queues.
func TestManyQueuesKilledFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	b := startLocal(t)
	queues := numberedQueues(size(50, 1000))
	client := openClient(t, b.store, stream.ClientConfig{})
	c := newCrew(t, b)
	many := func(s *spec) { s.Queues, s.Concurrency = len(queues), len(queues) }
	victim := c.worker(many)
	for n, q := range queues {
		fn := stream.Func[int, int]{Name: hold.Name, Queue: q.Name}
		_, err := fn.Enqueue(t.Context(), client, n)
		must(t, err)
	}
	c.history.await(t, len(queues), "a task of each queue starts", startedOn(victim))
	other := c.worker(many)
	last := b.store.Keys(queues[len(queues)-1].Name).Lease(other.name())
	redistest.Eventually(t, patience, func() bool { return b.client.Exists(t.Context(), last).Val() == 1 }, "another worker is there")
	must(t, pauseFor(t.Context(), 3*time.Second)) // as in real life, it has been there for a while
	before := usage(t, b.client, "xpending")
	must(t, pauseFor(t.Context(), 3*time.Second))
	before.since(t, "beside a worker that has a task of each queue", usage(t, b.client, "xpending"))
	killed := time.Now()
	victim.kill()
	var took []time.Duration
	again := c.history.await(t, len(queues), "all start again elsewhere", startedOn(other))
	for _, e := range again {
		took = append(took, e.At.Sub(killed))
		if e.Attempt != 1 {
			t.Errorf("task %d: attempt %d, want 1", e.Number, e.Attempt)
		}
	}
	report(t, "from kill -9 to the second start", took)
}

// TestManyWorkersFigures runs many workers, some in each process, on one queue; it kills one process while all of them have tasks.
func TestManyWorkersFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	b := startLocal(t)
	processes, each := size(4, 10), size(5, 50)
	client := openClient(t, b.store, stream.ClientConfig{})
	conns := connected(t, b.client, "")
	c := newCrew(t, b)
	began := time.Now()
	all := c.workers(processes, func(s *spec) { s.Workers, s.Concurrency = each, 2 })
	redistest.Eventually(t, 2*patience, func() bool { return b.workers(t) == processes*each }, "all workers are there")
	t.Logf("%d processes of %d workers: all there after %v", processes, each, time.Since(began))
	window := time.Duration(size(3, 10)) * time.Second
	must(t, pauseFor(t.Context(), 3*time.Second))
	before := usage(t, b.client)
	must(t, pauseFor(t.Context(), window))
	before.since(t, "idle", usage(t, b.client))
	t.Logf("connections for each worker: %.1f", float64(connected(t, b.client, "")-conns)/float64(processes*each))

	tasks := processes * each
	_, err := hold.EnqueueAll(t.Context(), client, numbers(tasks))
	must(t, err)
	c.history.await(t, tasks, "all tasks start", startedOn(all...))
	must(t, pauseFor(t.Context(), 5*time.Second))
	before = usage(t, b.client)
	must(t, pauseFor(t.Context(), window))
	busy := before.since(t, "while most have a task", usage(t, b.client))

	victim, others := all[0], all[1:]
	lost := map[int]bool{}
	for _, e := range c.history.find(startedOn(victim)) {
		lost[e.Number] = true
	}
	killed := time.Now()
	before = usage(t, b.client)
	victim.kill()
	again := c.history.await(t, tasks, "the tasks of the killed workers start again", startedOn(others...))
	last := slices.MaxFunc(again, func(a, b event) int { return a.At.Compare(b.At) }).At
	t.Logf("kill -9 of %d workers with %d tasks: all run again after %v", each, len(lost), last.Sub(killed))
	must(t, pauseFor(t.Context(), window))
	after := before.since(t, "after that", usage(t, b.client))
	if after > 3*busy+1000 {
		t.Errorf("a storm: %.0f commands a second after the crash, %.0f before", after, busy)
	}
	starts := map[int]int{}
	for _, e := range c.history.find(startedOn(all...)) {
		starts[e.Number]++
		if e.Attempt != 1 {
			t.Errorf("task %d: attempt %d, want 1", e.Number, e.Attempt)
		}
	}
	for n, times := range starts {
		want := 1
		if lost[n] {
			want = 2
		}
		if times != want {
			t.Errorf("task %d started %d times, want %d", n, times, want)
		}
	}
	for _, p := range others {
		p.open()
	}
	redistest.Eventually(t, 2*patience, func() bool { return b.count(t, "done") == tasks }, "all tasks are done")
	began = time.Now()
	for _, p := range others {
		p.signal(syscall.SIGTERM)
	}
	for _, p := range others {
		must(t, p.terminate())
	}
	t.Logf("all stopped after %v", time.Since(began))
}

// TestManyDueFigures makes very many tasks due within one second, with two workers; a task of another queue must not wait for them.
func TestManyDueFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	b := startLocal(t)
	client := openClient(t, b.store, stream.ClientConfig{})
	tasks := size(5000, 100000)
	first := time.Now().Add(time.Duration(size(2, 10)) * time.Second).Truncate(time.Millisecond)
	each := time.Second / time.Duration(tasks)
	due := func(n int) time.Time { return first.Add(time.Duration(n) * each).Truncate(time.Millisecond) }
	lists := map[time.Time][]int{}
	for n := range tasks {
		lists[due(n)] = append(lists[due(n)], n)
	}
	for at, list := range lists {
		_, err := square.EnqueueAll(t.Context(), client, slices.Values(list), stream.At(at))
		must(t, err)
	}
	t.Logf("%d tasks due in a second are stored %v before", tasks, time.Until(first))
	other := stream.Func[int, int]{Name: "other", Queue: "other"}
	starts, beside := make(chan started, tasks), make(chan started, 1)
	for range 2 {
		store := openStore(t, redis.NewClient(&redis.Options{Network: b.Network, Addr: b.Addr}), "")
		worker, err := group.NewWorker(store, group.Config{Queues: []group.Queue{{Name: queue}, {Name: other.Queue}}, Concurrency: 16})
		must(t, err)
		handler(square, func(_ context.Context, n int) (int, error) {
			starts <- started{n, time.Now()}
			return n, nil
		})(worker)
		handler(other, func(_ context.Context, n int) (int, error) {
			beside <- started{n, time.Now()}
			return n, nil
		})(worker)
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- worker.Run(ctx) }()
		t.Cleanup(func() {
			stop()
			must(t, <-done)
		})
	}
	must(t, pauseFor(t.Context(), time.Until(first)))
	var took []time.Duration
	for n := 0; time.Since(first) < time.Second; n++ {
		began := time.Now()
		_, err := other.Enqueue(t.Context(), client, n)
		must(t, err)
		took = append(took, (<-beside).at.Sub(began))
	}
	report(t, "meanwhile, from Enqueue to the start of the handler", took)
	late := make([]time.Duration, 0, tasks)
	for range tasks {
		s := <-starts
		late = append(late, s.at.Sub(due(s.task)))
	}
	report(t, fmt.Sprintf("lateness of %d tasks that are due in the same second", tasks), late)
	if slices.Min(late) < 0 {
		t.Error("early")
	}
}

// workers is how many there are, by their leases.
func (b *backend) workers(t *testing.T) int {
	t.Helper()
	found := 0
	for iter := b.client.Scan(t.Context(), 0, b.store.Keys(queue).Lease("*"), 1000).Iterator(); iter.Next(t.Context()); {
		found++
	}
	return found
}
