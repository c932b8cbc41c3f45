package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestStorm maps numbers, packed or (every second seed) one by one, while faults of many kinds hit workers, connections, groups and the server in an
// order that depends on a seed alone: each input has its one right result, Redis recorded each task once, and nothing is left.
// None of the faults loses data, so the counts of Redis must be exact.
func TestStorm(t *testing.T) {
	t.Parallel()
	for seed := range uint64(size(2, 30)) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			beside(t)
			s := startStorm(t, seed)
			s.run(s.begin(int(seed % 2)))
		})
	}
}

// storm is one run: workers behind a proxy, one map, and the faults.
type storm struct {
	t      *testing.T
	server *redistest.Server
	proxy  *redistest.Proxy
	b      *backend // straight to the server
	crew   *crew
	random *rand.Rand
	alive  []*process
	story  []string // the faults, for the failing case
}

const stormWorkers = 3

func startStorm(t *testing.T, seed uint64) *storm {
	t.Helper()
	server := redistest.StartTCP(t)
	s := &storm{
		t: t, server: server, proxy: redistest.NewProxy(t, server), b: newBackend(t, "tcp", server.Addr),
		random: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // a test that can be run again
	}
	s.crew = newCrew(t, s.b)
	s.crew.spec.Network, s.crew.spec.Addr = "tcp", s.proxy.Addr
	s.crew.spec.Lease, s.crew.spec.Drain, s.crew.spec.Concurrency = time.Second, 2*time.Second, 20
	s.alive = s.crew.workers(stormWorkers)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the faults, in order: %q", s.story)
		}
	})
	return s
}

// faults are what may happen; each leaves the data of Redis as they are. The pauses are how long they last, no test of anything.
var faults = map[string]func(*storm){
	"kill a worker": func(s *storm) { s.replace(func(p *process) { p.kill() }) },
	"terminate a worker": func(s *storm) {
		s.replace(func(p *process) {
			p.signal(syscall.SIGTERM)
			s.wait(300)
		})
	},
	"freeze a worker": func(s *storm) {
		p := s.alive[s.random.IntN(len(s.alive))]
		p.signal(syscall.SIGSTOP)
		s.wait(2500) // the lease is one second
		p.signal(syscall.SIGCONT)
	},
	"freeze the server": func(s *storm) {
		s.server.Stop()
		s.wait(1500)
		s.server.Cont()
	},
	"black hole": func(s *storm) {
		s.proxy.Blackhole(true)
		s.wait(1200)
		s.proxy.Blackhole(false)
	},
	"refuse connections": func(s *storm) {
		s.proxy.Refuse(true)
		s.proxy.ResetAll()
		s.wait(500)
		s.proxy.Refuse(false)
	},
	"reset connections": func(s *storm) { s.proxy.ResetAll() },
	"lose replies":      func(s *storm) { s.proxy.DropReplies(1 + s.random.IntN(20)) },
	"end subscriptions": func(s *storm) { s.command("client", "kill", "type", "pubsub") },
	"end connections":   func(s *storm) { s.command("client", "kill", "type", "normal") },
	"forget scripts":    func(s *storm) { s.command("script", "flush") },
	"destroy the group": func(s *storm) { s.command("xgroup", "destroy", s.tasks(), s.b.store.Group()) },
	"set the group back": func(s *storm) {
		s.command("xgroup", "setid", s.tasks(), s.b.store.Group(), "0")
	},
	"delete a consumer": func(s *storm) {
		consumers := s.b.client.XInfoConsumers(s.t.Context(), s.tasks(), s.b.store.Group()).Val()
		if len(consumers) > 0 {
			s.command("xgroup", "delconsumer", s.tasks(), s.b.store.Group(), consumers[s.random.IntN(len(consumers))].Name)
		}
	},
}

func (s *storm) tasks() string { return s.b.store.Keys(queue).Tasks() }

// command asks the server for something; what it refuses in the state it is in is no fault then.
func (s *storm) command(args ...any) { _ = s.b.client.Do(s.t.Context(), args...).Err() }

// replace has something end one worker, and starts another one.
func (s *storm) replace(end func(*process)) {
	i := s.random.IntN(len(s.alive))
	end(s.alive[i])
	s.alive[i] = s.crew.worker()
}

// wait lasts up to some milliseconds.
func (s *storm) wait(ms int) {
	_ = pauseFor(s.t.Context(), time.Duration(1+s.random.IntN(ms))*time.Millisecond)
}

// blow makes faults until ctx is done.
func (s *storm) blow(ctx context.Context) {
	names := make([]string, 0, len(faults))
	for name := range faults {
		names = append(names, name)
	}
	slices.Sort(names)
	for ctx.Err() == nil {
		name := names[s.random.IntN(len(names))]
		s.story = append(s.story, name)
		faults[name](s)
		s.wait(250)
	}
}

// begin begins to map numbers to what [mixed] makes of them, until it is enough; chunk is as for [mapreduce.Chunk], 0 for the default.
func (s *storm) begin(chunk int) (batch *mapreduce.Batch[int, int], enough func()) {
	client := openClient(s.t, openStore(s.t, s.proxy.Client(s.t), ""), stream.ClientConfig{})
	calm := make(chan struct{})
	inputs := func(yield func(int) bool) {
		for n := 0; yield(n); n++ {
			select {
			case <-calm:
				return
			default:
			}
		}
	}
	options := []mapreduce.Option{mapreduce.Window(2000)}
	if chunk > 0 {
		options = append(options, mapreduce.Chunk(chunk))
	}
	return mapreduce.Map(s.t.Context(), client, mixed, inputs, options...), func() { close(calm) }
}

// run takes the results while the storm blows, and checks them.
func (s *storm) run(batch *mapreduce.Batch[int, int], enough func()) {
	ctx, calm := context.WithCancel(s.t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.blow(ctx)
		enough()
	}()
	seconds := time.AfterFunc(time.Duration(size(8, 20))*time.Second, calm)
	defer seconds.Stop()
	var got []bool
	done, failed := 0, 0
	for r := range batch.Results() {
		for len(got) <= r.Index {
			got = append(got, false)
		}
		if got[r.Index] {
			s.t.Errorf("input %d has a second result", r.Index)
		}
		got[r.Index] = true
		if err := rightlyMixed(r); err != nil {
			s.t.Errorf("input %d: %v", r.Index, err)
		}
		if r.Err != nil {
			failed++
		} else {
			done++
		}
	}
	calm()
	<-over
	must(s.t, batch.Err())
	if i := slices.Index(got, false); i >= 0 {
		s.t.Errorf("input %d of %d has no result", i, len(got))
	}
	s.t.Logf("%d results, %d failures, %d faults", done, failed, len(s.story))
	s.settle(done, failed)
}

// settle ends the workers and checks what Redis recorded and holds.
func (s *storm) settle(done, failed int) {
	for _, p := range s.alive {
		if err := p.terminate(); err != nil {
			s.t.Errorf("a worker ended with %v", err)
		}
	}
	if n := s.b.count(s.t, "done"); n != done {
		s.t.Errorf("Redis recorded %d results, want %d", n, done)
	}
	if n := s.b.count(s.t, "dead"); n != failed {
		s.t.Errorf("Redis recorded %d dead letters, want %d", n, failed)
	}
	ctx, keys := s.t.Context(), s.b.store.Keys(queue)
	if n := s.b.client.XLen(ctx, keys.Tasks()).Val(); n != 0 {
		s.t.Errorf("%d entries are left", n)
	}
	for _, key := range []string{keys.Due(), keys.Body(), keys.Crashes(), keys.Chunks()} {
		if s.b.client.Exists(ctx, key).Val() != 0 {
			s.t.Errorf("%s is left", key)
		}
	}
}

// rightlyMixed checks a result of [mixed].
func rightlyMixed(r mapreduce.Result[int, int]) error {
	fails := r.Index%mixedDrop == 3
	task, isTask := errors.AsType[*stream.TaskError](r.Err)
	switch {
	case fails && isTask && task.Message == errMixed.Error():
		return nil
	case fails || r.Err != nil || r.Value != r.Index*r.Index:
		return fmt.Errorf("got %d, %w", r.Value, r.Err)
	default:
		return nil
	}
}
