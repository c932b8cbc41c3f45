package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/fleet"
	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// asWorker makes the test binary a worker program as users write them: it knows of its supervisor what the help of supervise says.
const asWorker = "WORKER_MACHINE_TEST_AS_WORKER=1"

// square takes a while, so that many tasks run whenever a worker is killed.
var square = stream.Func[int, int]{Name: "square"}

const squareTakes = 30 * time.Millisecond

func playWorker() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // the first context of a program
	defer stop()
	if err := squareTasks(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func squareTasks(ctx context.Context) error {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer client.Close()
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		return err
	}
	defer store.Close()
	fd, err := strconv.Atoi(os.Getenv("WM_SUPERVISOR_FD"))
	if err != nil {
		return err
	}
	supervisor := os.NewFile(uintptr(fd), "supervisor")
	var done atomic.Int64
	var mu sync.Mutex
	queues := []group.Queue{{Name: stream.DefaultQueue}}
	worker, err := group.NewWorker(store, group.Config{Queues: queues, Concurrency: 2, Hooks: group.Hooks{
		Done: func(group.Metadata, time.Duration) {
			n := done.Add(1)
			mu.Lock()
			defer mu.Unlock()
			_, _ = fmt.Fprintf(supervisor, "tasks %d\n", n)
		},
	}})
	if err != nil {
		return err
	}
	group.Handle(worker, square, func(ctx context.Context, n int) (int, error) {
		timer := time.NewTimer(squareTakes)
		defer timer.Stop()
		select {
		case <-timer.C:
			return n * n, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
	go func() {
		if awaitLease(ctx, store, queues, worker.Name()) == nil {
			mu.Lock()
			defer mu.Unlock()
			_, _ = supervisor.WriteString("ready\n")
		}
	}()
	return worker.Run(ctx)
}

// feeder feeds tasks to workers and looks at what became of each.
type feeder struct {
	t      *testing.T
	redis  *redis.Client
	store  *stream.Store
	client *stream.Client

	fed chan struct{} // closed once feeding has ended
	ids []string      // task i squares i; to be read after fed
}

func newFeeder(t *testing.T, server *redistest.Server) *feeder {
	t.Helper()
	l := &feeder{t: t, redis: server.Client(t), fed: make(chan struct{})}
	var err error
	if l.store, err = stream.NewStore(l.redis, stream.Config{}); err != nil {
		t.Fatal(err)
	}
	if l.client, err = stream.NewClient(l.store, stream.ClientConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.client.Close(context.WithoutCancel(t.Context()))
		_ = l.store.Close()
	})
	return l
}

// feed stores tasks until enough is done, at most as many in the queue as keep all workers busy.
func (l *feeder) feed(enough context.Context) {
	defer close(l.fed)
	const ahead = 200
	tasks := l.store.Keys(stream.DefaultQueue).Tasks()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for enough.Err() == nil {
		if l.redis.XLen(l.t.Context(), tasks).Val() < ahead {
			for range 20 {
				id, err := square.Enqueue(l.t.Context(), l.client, len(l.ids), stream.Keep(time.Hour))
				if err != nil {
					l.t.Errorf("task %d is not stored: %v", len(l.ids), err)
					return
				}
				l.ids = append(l.ids, id)
			}
		}
		select {
		case <-tick.C:
		case <-enough.Done():
		}
	}
}

// check waits until nothing is left to do. Then every task must have exactly one outcome in Redis, the right result, recorded once.
func (l *feeder) check() {
	l.t.Helper()
	<-l.fed
	ctx, keys := l.t.Context(), l.store.Keys(stream.DefaultQueue)
	redistest.Eventually(l.t, patience, func() bool {
		return l.redis.XLen(ctx, keys.Tasks()).Val() == 0 && l.redis.Exists(ctx, keys.Due(), keys.Body()).Val() == 0
	}, "all tasks are done")
	lost, twice, wrong := 0, 0, 0
	for i, id := range l.ids {
		outcomes := l.outcomes(id)
		switch {
		case len(outcomes) == 0:
			lost++
		case len(outcomes) > 1:
			twice++
		case string(outcomes[0].Payload) != strconv.Itoa(i*i):
			wrong++
		}
	}
	if lost+twice+wrong > 0 {
		l.t.Errorf("of %d tasks %d are lost, %d have two outcomes, %d a wrong one", len(l.ids), lost, twice, wrong)
	}
	if n := l.redis.HGet(ctx, keys.Counts(), "done").Val(); n != strconv.Itoa(len(l.ids)) {
		l.t.Errorf("Redis counted %s results, want %d", n, len(l.ids))
	}
	l.t.Logf("%d tasks: %d lost, %d with two outcomes, %d with a wrong one", len(l.ids), lost, twice, wrong)
}

// outcomes are all that Redis holds of a task, as they were written.
func (l *feeder) outcomes(id string) (list []wire.Outcome) {
	l.t.Helper()
	entries, err := l.redis.XRange(l.t.Context(), l.store.Keys(stream.DefaultQueue).Reply(id), "-", "+").Result()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, entry := range entries {
		text, told := entry.Values[id].(string)
		if !told {
			continue // the first one says that the stream is there
		}
		outcome, err := wire.DecodeOutcome(id, text)
		if err != nil {
			l.t.Error(err)
		}
		if outcome.Kind != wire.KindMoved {
			list = append(list, outcome)
		}
	}
	return list
}

// fleetProcess is supervise as a process, with its state.
type fleetProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *transcript
	stdout *transcript
	addr   string
}

// supervised starts supervise, or work --processes, with --status-addr.
func (c *console) supervised(args ...string) *fleetProcess {
	c.t.Helper()
	p := &fleetProcess{t: c.t}
	p.cmd, p.stdout, p.stderr = c.process(append([]string{args[0], "--status-addr", "127.0.0.1:0"}, args[1:]...)...)
	p.stderr.await(c.t, "the state is at http://")
	p.stderr.await(c.t, "\n")
	if _, err := fmt.Sscanf(p.stderr.String(), "supervise | the state is at http://%s\n", &p.addr); err != nil {
		c.t.Fatalf("%v: %s", err, p.stderr)
	}
	return p
}

// status asks for the state as top does.
func (p *fleetProcess) status() fleet.Status {
	p.t.Helper()
	s, err := fleet.Ask(p.t.Context(), p.addr)
	if err != nil {
		p.t.Errorf("%v\n%s", err, p.stderr)
	}
	return s
}

func (p *fleetProcess) awaitReady(n int) {
	p.t.Helper()
	redistest.Eventually(p.t, patience, func() bool { return p.status().Ready == n }, "all are ready")
}

func (p *fleetProcess) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// stop ends it and returns the exit code; no process of it may be left.
func (p *fleetProcess) stop() int {
	p.t.Helper()
	pids := p.pids()
	p.signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	for _, pid := range pids {
		if isAlive(pid) {
			p.t.Errorf("process %d is left", pid)
		}
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *fleetProcess) pids() (list []int) {
	for _, slot := range p.status().Slots {
		if slot.PID > 0 {
			list = append(list, slot.PID)
		}
	}
	return list
}

func isAlive(pid int) bool { return pid > 1 && syscall.Kill(pid, 0) == nil }

// TestKillsUnderLoad is the figure of issue 5: 25 workers, one killed per second for a minute (WM_FULL=1) or two per second for a few seconds.
func TestKillsUnderLoad(t *testing.T) {
	t.Parallel()
	const workers = 25
	kills, pause := 12, 500*time.Millisecond
	if os.Getenv("WM_FULL") != "" {
		kills, pause = 60, time.Second
	}
	server := redistest.Start(t)
	l := newFeeder(t, server)
	c := consoleAt(t, server.URL())
	c.env = append(c.env, asWorker)
	p := c.supervised("supervise", "-n", strconv.Itoa(workers), "--", "env", "-u", "WORKER_MACHINE_TEST_AS_MAIN", c.self())
	p.awaitReady(workers)
	enough, stop := context.WithCancel(t.Context())
	defer stop()
	go l.feed(enough)
	random := rand.New(rand.NewPCG(5, 7)) //nolint:gosec // a test that can be run again
	tick := time.NewTicker(pause)
	defer tick.Stop()
	killed := 0
	for range kills {
		<-tick.C
		slots := p.status().Slots
		if slot := slots[random.IntN(len(slots))]; slot.PID > 1 && syscall.Kill(slot.PID, syscall.SIGKILL) == nil {
			killed++
		}
	}
	p.awaitReady(workers)
	stop()
	l.check()
	got := p.status()
	alive := 0
	for _, pid := range p.pids() {
		if isAlive(pid) {
			alive++
		}
	}
	if alive != workers || got.Starts != workers+killed || killed < kills-2 {
		t.Errorf("%d of %d are alive; %d were started, %d killed\n%s", alive, workers, got.Starts, killed, p.stderr)
	}
	t.Logf("%d workers, %d killed, %d alive at the end, %d started", workers, killed, alive, got.Starts)
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

// TestRollUnderLoad replaces all workers twice while they work.
func TestRollUnderLoad(t *testing.T) {
	t.Parallel()
	for _, roll := range []string{"start-first", "stop-first"} {
		t.Run(roll, func(t *testing.T) {
			t.Parallel()
			const workers = 6
			server := redistest.Start(t)
			l := newFeeder(t, server)
			c := consoleAt(t, server.URL())
			c.env = append(c.env, asWorker)
			p := c.supervised("supervise", "-n", strconv.Itoa(workers), "--roll", roll, "--", "env", "-u", "WORKER_MACHINE_TEST_AS_MAIN", c.self())
			p.awaitReady(workers)
			enough, stop := context.WithCancel(t.Context())
			defer stop()
			go l.feed(enough)
			fewest := workers
			for range 2 {
				old := p.pids()
				p.signal(syscall.SIGHUP)
				redistest.Eventually(t, patience, func() bool {
					s := p.status()
					working := 0
					for _, slot := range s.Slots {
						if slot.State == "ready" || slot.State == "replaced" || slot.Next > 0 {
							working++
						}
					}
					fewest = min(fewest, working)
					for i, slot := range s.Slots {
						if slot.PID == old[i] || slot.State != "ready" {
							return false
						}
					}
					return s.State == "running"
				}, "all are replaced")
			}
			stop()
			l.check()
			if least := map[string]int{"start-first": workers, "stop-first": workers - 1}[roll]; fewest < least {
				t.Errorf("at one time %d worked, want at least %d of %d", fewest, least, workers)
			}
			if got := p.status(); got.Starts != 3*workers || got.Crashes != 0 {
				t.Errorf("%d starts and %d crashes, want %d and none\n%s", got.Starts, got.Crashes, 3*workers, p.stderr)
			}
			if code := p.stop(); code != 0 {
				t.Errorf("exit code %d\n%s", code, p.stderr)
			}
			retries := l.redis.HGetAll(t.Context(), l.store.Keys(stream.DefaultQueue).Counts()).Val()
			if retries["retried"] != "" || retries["reclaimed"] != "" {
				t.Errorf("a roll costs tasks attempts, or leaves them behind: %v", retries)
			}
		})
	}
}
