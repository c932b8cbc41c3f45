package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestRunStorm runs random jobs on worker processes that are killed and frozen, from outside and at calls of their own, with a submitter that is
// killed and continued: the answer is that of RunLocal, and no key of the run is left. A failure names the seed;
// WM_SEEDS=n runs n of them, WM_SEED=n that one.
func TestRunStorm(t *testing.T) {
	t.Parallel()
	seeds := make([]uint64, size(8, 200))
	if n, err := strconv.Atoi(os.Getenv("WM_SEEDS")); err == nil {
		seeds = make([]uint64, n)
	}
	for i := range seeds {
		seeds[i] = uint64(i) //nolint:gosec // not negative
	}
	if n, err := strconv.ParseUint(os.Getenv("WM_SEED"), 10, 64); err == nil {
		seeds = []uint64{n}
	}
	var tally tally
	began := time.Now()
	t.Cleanup(func() { t.Logf("%v: %s", time.Since(began).Round(time.Second), &tally) })
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			beside(t)
			startRunStorm(t, seed, &tally).run()
		})
	}
}

// tally counts what happened in all storms.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[what]++
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts := []string{}
	for _, what := range slices.Sorted(maps.Keys(c.counts)) {
		parts = append(parts, fmt.Sprintf("%s: %d", what, c.counts[what]))
	}
	return strings.Join(parts, ", ")
}

// The most that happens to one run, so that it ends.
const (
	mostFaults  = 10
	openInputs  = 100 // of which a share was submitted
	runPatience = 4 * patience
)

// runStorm is one job, and what happens to it.
type runStorm struct {
	t      *testing.T
	random *rand.Rand
	b      *backend
	crew   *crew
	client *stream.Client
	spec   runSpec
	job    runnable
	tally  *tally

	workers   []*process // alive, or believed to be
	frozen    []frozen
	submitter *process
	submitted []*process // all submitters
	blows     []blow
	faults    int
	story     []string
	seen      int // events of processes that were looked at
}

// frozen is a process that was stopped.
type frozen struct {
	*process
	until time.Time // zero: until the results were read
}

// blow comes from outside, once the run is there.
type blow struct {
	state mapreduce.RunState
	share float64 // of the tasks of that phase
	does  string
}

func startRunStorm(t *testing.T, seed uint64, tally *tally) *runStorm {
	t.Helper()
	server := redistest.Start(t)
	s := &runStorm{
		t: t, tally: tally, b: newBackend(t, server.Network, server.Addr),
		random: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // a test that can be run again
		spec:   runSpec{Seed: seed, ID: stream.NewID()},
	}
	s.job = s.spec.job(false)
	s.crew = newCrew(t, s.b)
	s.crew.spec.Lease, s.crew.spec.Drain, s.crew.spec.Concurrency = 700*time.Millisecond, 2*time.Second, 2+s.random.IntN(3)
	s.client = openClient(t, s.b.store, stream.ClientConfig{})
	for range 2 + s.random.IntN(3) {
		s.hire()
	}
	for _, state := range []mapreduce.RunState{mapreduce.RunOpen, mapreduce.RunMapping, mapreduce.RunReducing} {
		for range s.random.IntN(3) {
			does := []string{"kill", "kill", "kill", "freeze", "kill submitter"}[s.random.IntN(5)]
			s.blows = append(s.blows, blow{state, s.random.Float64(), does})
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, %T, what happened: %q", seed, s.job, s.story)
		}
	})
	return s
}

// sometimes is true in so many of a hundred cases.
func (s *runStorm) sometimes(percent int) bool { return s.random.IntN(100) < percent }

// hire starts a worker, which may have a fault to come.
func (s *runStorm) hire() {
	r := s.spec
	if s.faults < mostFaults && s.sometimes(75) {
		r.Faults = []fault{s.fault([]string{
			"run_begin", "run_spill", "run_put", "run_put", "run_put", "run_finish", "run_finish", "run_finish", "run_finish", "run_finish", "run_finish", "run_advance",
			"commit", "commit", "hmget shuffle", "unlink shuffle", "hdel shuffle", "run_slow", "run_copy", "hmget maps", "unlink out", "run_remove", "run_fail",
		})}
	}
	s.workers = append(s.workers, s.crew.start("run worker", []func(*spec){func(s *spec) { s.Run = &r }}))
}

// submit starts a submitter, which may have a fault to come.
func (s *runStorm) submit() {
	r := s.spec
	r.Slow = time.Duration(s.random.IntN(5)) * time.Millisecond
	if s.faults < mostFaults && s.sometimes(60) {
		r.Faults = []fault{s.fault([]string{"run_open", "run_keep", "run_feed", "run_feed", "run_feed"})}
	}
	s.submitter = s.crew.start("run submitter", []func(*spec){func(s *spec) { s.Run = &r }})
	s.submitted = append(s.submitted, s.submitter)
}

// fault draws one; the first such calls are the likely ones.
func (s *runStorm) fault(calls []string) fault {
	does := []string{"die", "die", "freeze", "freeze", "lose"}[s.random.IntN(5)]
	return fault{Call: calls[s.random.IntN(len(calls))], Nth: 1 + s.random.IntN(1+s.random.IntN(6)), After: s.sometimes(50), Does: does}
}

func (s *runStorm) tell(format string, args ...any) {
	s.story = append(s.story, fmt.Sprintf(format, args...))
}

// run submits the job, has things happen until it is done, and compares.
func (s *runStorm) run() {
	began := time.Now()
	defer func() {
		if took := time.Since(began); took > patience/2 {
			s.t.Logf("seed %d took %v: %q", s.spec.Seed, took, s.story)
		}
	}()
	ctx, cancel := context.WithTimeout(s.t.Context(), runPatience)
	defer cancel()
	want, err := s.job.local(ctx)
	must(s.t, err)
	s.submit()
	for done := false; !done; {
		if err := pauseFor(ctx, 10*time.Millisecond); err != nil {
			p, err := s.job.progress(s.t.Context(), s.client, s.spec.ID)
			s.t.Fatalf("seed %d: not done after %v: %+v, %v", s.spec.Seed, runPatience, p, err)
		}
		s.listen()
		s.tend()
		done = s.look(ctx)
	}
	s.tell("done after %v", time.Since(began))
	s.awaitSubmitter()
	got, err := s.read(ctx)
	s.tell("read after %v", time.Since(began))
	switch {
	case isCrashLoop(err):
		s.tally.add("runs given up since a task killed three workers")
	case err != nil:
		s.t.Errorf("seed %d: %v", s.spec.Seed, err)
	case slices.Equal(got, want):
		s.tally.add("right answers")
	default:
		s.tally.add("wrong answers")
		s.t.Errorf("seed %d: got %d results, want %d; %s", s.spec.Seed, len(got), len(want), difference(got, want))
	}
	s.settle()
}

// read reads the results, sometimes leaving the loop once.
func (s *runStorm) read(ctx context.Context) ([]string, error) {
	if s.sometimes(30) {
		s.tally.add("reads that were left")
		got, err := s.job.results(ctx, s.client, s.spec.ID, s.random.IntN(20))
		if err != nil {
			return nil, err
		}
		if _, err = s.job.progress(ctx, s.client, s.spec.ID); errors.Is(err, mapreduce.ErrNoRun) { // there were no more
			return got, nil
		}
	}
	return s.job.results(ctx, s.client, s.spec.ID, -1)
}

// isCrashLoop tells whether a run failed since its workers were killed with the same task again and again: that is what is promised.
func isCrashLoop(err error) bool {
	failed, ok := errors.AsType[*mapreduce.RunError](err)
	return ok && !slices.ContainsFunc(failed.Failures, func(f mapreduce.TaskFailure) bool { return f.Reason != "crash loop" })
}

func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		var a, b string
		if i < len(got) {
			a = got[i]
		}
		if i < len(want) {
			b = want[i]
		}
		if a != b {
			return fmt.Sprintf("first at %d: got %.200q, want %.200q", i, a, b)
		}
	}
	return "no difference"
}

// listen takes note of what processes did to themselves.
func (s *runStorm) listen() {
	all := s.crew.history.find(func(event) bool { return true })
	for _, e := range all[s.seen:] {
		who := "worker"
		if slices.Contains(s.submitted, e.From) {
			who = "submitter"
		}
		switch e.Verb {
		case "die", "freeze", "lose":
			s.faults++
			s.tell("%s: %s %s %d", who, e.Verb, e.Task, e.Number)
			s.tally.add(who + "s: " + e.Verb + " at a call")
		}
		if e.Verb == "freeze" {
			s.freeze(e.From)
		}
	}
	s.seen = len(all)
}

// freeze notes that a process stands still. A submitter goes on before the run can be read: later it would begin another one.
func (s *runStorm) freeze(p *process) {
	f := frozen{p, time.Now().Add(time.Duration(900+s.random.IntN(1200)) * time.Millisecond)}
	if !slices.Contains(s.submitted, p) && s.sometimes(40) {
		f.until = time.Time{}
	}
	s.frozen = append(s.frozen, f)
}

// tend replaces what is dead, and thaws what was frozen for long enough.
func (s *runStorm) tend() {
	s.frozen = slices.DeleteFunc(s.frozen, func(f frozen) bool {
		due := !f.until.IsZero() && time.Now().After(f.until)
		if due {
			f.signal(syscall.SIGCONT)
		}
		return due
	})
	s.workers = slices.DeleteFunc(s.workers, (*process).ended)
	for n := len(s.workers) - len(s.frozen); n < 2; n++ {
		s.hire()
	}
	switch {
	case s.stored(s.submitted...):
	case s.submitter.ended():
		s.tally.add("submitters continued by another one")
		s.submit()
	case s.isFrozen(s.submitter) && s.sometimes(2): // taken for dead
		s.tally.add("submitters continued while frozen")
		s.tell("another submitter beside a frozen one")
		s.submit()
	}
}

// ended tells whether a process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (s *runStorm) isFrozen(p *process) bool {
	return slices.ContainsFunc(s.frozen, func(f frozen) bool { return f.process == p })
}

// stored tells whether one of some submitters has stored all inputs.
func (s *runStorm) stored(by ...*process) bool {
	return len(s.crew.history.find(func(e event) bool { return e.Verb == "stored" && slices.Contains(by, e.From) })) > 0
}

// look has happen what is due, and tells whether the run is done.
func (s *runStorm) look(ctx context.Context) (done bool) {
	p, err := s.job.progress(ctx, s.client, s.spec.ID)
	if err != nil {
		return false // not there yet
	}
	if p.State == mapreduce.RunFailed {
		return true
	}
	share := float64(p.Inputs) / openInputs
	switch p.State {
	case mapreduce.RunMapping:
		share = float64(p.MapsDone) / float64(max(p.Maps, 1))
	case mapreduce.RunReducing:
		share = float64(p.ReducesDone) / float64(p.Reduces)
	default:
	}
	s.blows = slices.DeleteFunc(s.blows, func(b blow) bool {
		due := b.state == p.State && share >= b.share
		if due {
			s.blow(b)
		}
		return due
	})
	return p.State == mapreduce.RunDone && s.stored(s.submitted...)
}

func (s *runStorm) blow(b blow) {
	target := s.workers[s.random.IntN(len(s.workers))]
	s.tell("%s at %.2f of %s", b.does, b.share, b.state)
	switch {
	case b.does == "kill submitter":
		s.tally.add("submitters: kill -9 while " + string(b.state))
		s.submitter.kill()
	case s.isFrozen(target):
	case b.does == "freeze":
		s.tally.add("workers: SIGSTOP while " + string(b.state))
		target.signal(syscall.SIGSTOP)
		s.freeze(target)
	default:
		s.tally.add("workers: kill -9 while " + string(b.state))
		target.kill()
	}
}

// awaitSubmitter lets all submitters go on and end.
func (s *runStorm) awaitSubmitter() {
	s.frozen = slices.DeleteFunc(s.frozen, func(f frozen) bool {
		submits := slices.Contains(s.submitted, f.process)
		if submits {
			f.signal(syscall.SIGCONT)
			redistest.Eventually(s.t, patience, func() bool { return f.ended() || s.stored(f.process) }, "a submitter that was frozen ends")
		}
		return submits
	})
}

// settle thaws and ends all workers; nothing of the run is left then.
func (s *runStorm) settle() {
	for _, f := range s.frozen {
		f.signal(syscall.SIGCONT)
	}
	wantNothingOf(s.t, s.b, s.spec.ID)
	for _, p := range s.workers {
		p.signal(syscall.SIGTERM)
	}
	redistest.Eventually(s.t, patience, func() bool {
		return !slices.ContainsFunc(s.workers, func(p *process) bool {
			p.signal(syscall.SIGCONT) // a fault may freeze it even now
			return !p.ended()
		})
	}, "all workers end")
	if left := keysOf(s.t, s.b, s.spec.ID); len(left) > 0 {
		s.t.Errorf("seed %d: left in Redis once all workers have ended: %q", s.spec.Seed, left)
	}
}

// wantNothingOf waits until the queue has no task, and Redis no key of the run.
func wantNothingOf(t *testing.T, b *backend, id string) {
	t.Helper()
	keys := b.store.Keys(queue)
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		left := keysOf(t, b, id)
		tasks := b.client.XLen(t.Context(), keys.Tasks()).Val() + b.client.ZCard(t.Context(), keys.Due()).Val()
		if len(left) == 0 && tasks == 0 {
			return
		}
		select {
		case <-late.C:
			t.Fatalf("left in Redis %v after the results were read: %d tasks and %q", patience, tasks, left)
		default:
			must(t, pauseFor(t.Context(), 5*time.Millisecond))
		}
	}
}

// keysOf lists the keys of a run, and that of the list of runs.
func keysOf(t *testing.T, b *backend, id string) []string {
	t.Helper()
	var found []string
	for cursor := uint64(0); ; {
		names, next, err := b.client.Scan(t.Context(), cursor, "*", 1000).Result()
		must(t, err)
		for _, name := range names {
			if strings.Contains(name, id) || strings.HasSuffix(name, ":runs") {
				found = append(found, name)
			}
		}
		if cursor = next; cursor == 0 {
			return found
		}
	}
}
