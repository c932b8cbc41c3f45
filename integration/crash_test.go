package integration

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// load is how many tasks run on the worker that gets into trouble.
const load = 100

// trouble is a worker in the middle of a hundred tasks, with two others that have nothing to do.
type trouble struct {
	t      *testing.T
	b      *backend
	crew   *crew
	victim *process
	others []*process
	done   int // results recorded before

	results chan mapreduce.Result[int, int]
	ended   chan error
}

// startTrouble brings fn to run a hundred times on one worker, and the others to have been idle beside it for a second.
func startTrouble(t *testing.T, b *backend, fn stream.Func[int, int], change ...func(*spec)) *trouble {
	t.Helper()
	tr := &trouble{t: t, b: b, crew: newCrew(t, b), done: b.count(t, "done")}
	tr.crew.spec.Concurrency = load
	for _, edit := range change {
		edit(&tr.crew.spec)
	}
	client := openClient(t, b.store, stream.ClientConfig{})
	tr.victim = tr.crew.worker()
	tr.results, tr.ended = make(chan mapreduce.Result[int, int], 2*load), make(chan error, 1)
	batch := mapreduce.Map(t.Context(), client, fn, numbers(load))
	go func() {
		for r := range batch.Results() {
			tr.results <- r
		}
		tr.ended <- batch.Err()
	}()
	tr.crew.history.await(t, load, "tasks start on the victim", startedOn(tr.victim))
	tr.others = tr.crew.workers(2)
	// Let the others work for a while, as in real life. Only they have a slot for this.
	if ok, err := nap.Call(t.Context(), client, time.Second); err != nil || !ok {
		t.Fatalf("nap: got %v, %v", ok, err)
	}
	tr.done++
	return tr
}

func numbers(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// takenOver waits until all tasks have started again on the others, and returns when the last one did.
func (tr *trouble) takenOver() time.Time {
	tr.t.Helper()
	starts := tr.crew.history.await(tr.t, load, "tasks start again elsewhere", startedOn(tr.others...))
	seen := map[int]bool{}
	for _, e := range starts {
		if e.Attempt != 1 {
			tr.t.Errorf("task %d: started again as attempt %d, want 1: it lost one", e.Number, e.Attempt)
		}
		seen[e.Number] = true
	}
	if len(seen) != load {
		tr.t.Fatalf("%d of %d tasks started again elsewhere", len(seen), load)
	}
	return slices.MaxFunc(starts, func(a, b event) int { return a.At.Compare(b.At) }).At
}

// finish lets the given workers end their tasks and checks that each task has one result.
func (tr *trouble) finish(by ...*process) {
	tr.t.Helper()
	for _, p := range by {
		p.open()
	}
	got := map[int]int{}
	late := time.After(patience)
	for over := false; !over; {
		select {
		case r := <-tr.results:
			if r.Err != nil || r.Value != r.Index {
				tr.t.Errorf("task %d: got %d, %v", r.Index, r.Value, r.Err)
			}
			got[r.Index]++
		case err := <-tr.ended:
			if err != nil {
				tr.t.Errorf("the batch ended with %v", err)
			}
			over = true
		case <-late:
			tr.t.Fatalf("got results of %d of %d tasks", len(got), load)
		}
	}
	for len(tr.results) > 0 {
		got[(<-tr.results).Index]++
	}
	for n, times := range got {
		if times != 1 {
			tr.t.Errorf("task %d has %d results", n, times)
		}
	}
	if len(got) != load {
		tr.t.Errorf("%d tasks have a result, want %d", len(got), load)
	}
}

// settle ends the given workers, in order, and checks that Redis recorded each task once and keeps nothing.
func (tr *trouble) settle(workers ...*process) {
	tr.t.Helper()
	for _, w := range workers {
		if err := w.terminate(); err != nil {
			tr.t.Errorf("a worker ended with %v", err)
		}
	}
	if got := tr.b.count(tr.t, "done") - tr.done; got != load {
		tr.t.Errorf("Redis recorded %d results, want %d", got, load)
	}
	keys := tr.b.store.Keys(queue)
	if left := tr.b.client.XLen(tr.t.Context(), keys.Tasks()).Val(); left != 0 {
		tr.t.Errorf("%d entries are left", left)
	}
	consumers, err := tr.b.client.XInfoConsumers(tr.t.Context(), keys.Tasks(), tr.b.store.Group()).Result()
	if err != nil || len(consumers) != 0 {
		tr.t.Errorf("consumers left: %v, %v", consumers, err)
	}
}

// TestKilledWorkerFigures kills a worker with a hundred running tasks, ten times: all run again elsewhere, none loses an attempt,
// each has one result.
func TestKilledWorkerFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	b := startBackend(t)
	var took []time.Duration
	for range 10 {
		tr := startTrouble(t, b, hold)
		killed := time.Now()
		tr.victim.signal(syscall.SIGKILL)
		took = append(took, tr.takenOver().Sub(killed))
		tr.finish(tr.others...)
		tr.settle(tr.others...)
	}
	slices.Sort(took)
	worst := took[len(took)-1]
	t.Logf("kill -9 of a worker with %d running tasks, %d tries: all run again elsewhere after a median of %v, worst %v",
		load, len(took), took[len(took)/2], worst)
	if worst > 5*time.Second {
		t.Errorf("the worst took %v", worst)
	}
}

// TestFrozenWorker stops a worker for longer than its lease, with its connections open, and lets it go on: it comes too late.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lease     time.Duration
		lateFirst bool // the frozen one ends its tasks before the others do
	}{
		"short lease, others end first":   {time.Second, false},
		"short lease, it ends first":      {time.Second, true},
		"default lease, others end first": {10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beside(t)
			b := startBackend(t)
			tr := startTrouble(t, b, deaf, func(s *spec) { s.Lease = c.lease })
			stopped := time.Now()
			tr.victim.signal(syscall.SIGSTOP)
			took := tr.takenOver().Sub(stopped)
			t.Logf("SIGSTOP of a worker with a lease of %v: its %d tasks run again elsewhere after %v", c.lease, load, took)
			if took > c.lease+5*time.Second {
				t.Errorf("took %v", took)
			}
			if !c.lateFirst {
				tr.finish(tr.others...)
			}
			tr.victim.signal(syscall.SIGCONT)
			tr.crew.history.await(t, 1, "the frozen worker learns that it lost its lease", func(e event) bool {
				return e.From == tr.victim && e.Verb == "leaseLost"
			})
			tr.victim.open()
			tr.crew.history.await(t, load, "handlers of the frozen worker return", func(e event) bool {
				return e.From == tr.victim && e.Verb == "end"
			})
			if c.lateFirst {
				tr.finish(tr.others...)
			}
			tr.settle(append([]*process{tr.victim}, tr.others...)...)
		})
	}
}

// TestTerminatedWorker sends SIGTERM to a worker in the middle of a hundred tasks: what does not end in time runs elsewhere.
func TestTerminatedWorker(t *testing.T) {
	t.Parallel()
	beside(t)
	b := startBackend(t)
	const drain = 300 * time.Millisecond
	tr := startTrouble(t, b, hold, func(s *spec) { s.Drain = drain })
	told := time.Now()
	tr.victim.signal(syscall.SIGTERM)
	took := tr.takenOver().Sub(told)
	t.Logf("SIGTERM of a worker with %d running tasks: all run elsewhere after %v, %v of them its time to drain", load, took, drain)
	if took > drain+5*time.Second {
		t.Errorf("took %v", took)
	}
	tr.finish(tr.others...)
	tr.settle(append([]*process{tr.victim}, tr.others...)...)
}

// TestKilledClient kills a client in the middle of its batch: its tasks are done once all the same, and its reply stream goes away.
func TestKilledClient(t *testing.T) {
	t.Parallel()
	beside(t)
	b := startBackend(t)
	c := newCrew(t, b)
	c.spec.Tasks, c.spec.ReplyTTL, c.spec.Concurrency = 300, 3*time.Second, 20
	workers := c.workers(2)
	client := c.start("client", nil)
	batch := c.history.await(t, 1, "the client has sent all", func(e event) bool { return e.From == client && e.Verb == "sent" })[0].Task
	c.history.await(t, 40, "tasks start", startedOn(workers...))
	reply := b.store.Keys(queue).Reply(batch)
	ctx := context.WithoutCancel(t.Context())
	if n := b.client.Exists(ctx, reply).Val(); n != 1 {
		t.Fatal("there is no reply stream while the client lives")
	}
	client.kill()
	killed := time.Now()
	for _, w := range workers {
		w.open()
	}
	starts := c.history.await(t, c.spec.Tasks, "all tasks start", startedOn(workers...))
	redistest.Eventually(t, patience, func() bool { return b.client.Exists(ctx, reply).Val() == 0 }, "the reply stream is gone")
	t.Logf("the reply stream was gone %v after its client, with a TTL of %v", time.Since(killed), c.spec.ReplyTTL)
	redistest.Eventually(t, patience, func() bool { return b.count(t, "done") == c.spec.Tasks }, "all tasks are done")
	if len(starts) != c.spec.Tasks {
		t.Errorf("%d executions, want %d", len(starts), c.spec.Tasks)
	}
	if left := b.client.XLen(ctx, b.store.Keys(queue).Tasks()).Val(); left != 0 {
		t.Errorf("%d entries are left", left)
	}
}
