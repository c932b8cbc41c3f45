// Package nemesis makes faults on a stage, in an order that a seed decides: which fault, on whom, for how long. When exactly each of them
// meets what the processes do, nobody decides, so a seed makes a failure likely to come again, not certain.
package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/athoune/worker-machine/integration/internal/role"
	"github.com/athoune/worker-machine/integration/internal/stage"
)

// Config says how the nemesis behaves.
type Config struct {
	Seed    uint64
	Workers int           // processes; default 3
	Clients int           // processes; default 2
	Gap     time.Duration // the longest pause between the beginnings of two faults; default 250ms
	Width   int           // how many faults at a time; default 3
	Loses   bool          // also faults after which acknowledged data may be gone
	Only    []string      // kinds; default all
}

// Nemesis is one run of it.
type Nemesis struct {
	Config
	stage  *stage.Stage
	t      testing.TB
	random *rand.Rand // of the one goroutine that draws

	mu      sync.Mutex
	workers []*actor
	clients []*actor
	server  bool // a fault of the server is under way
	kinds   map[string]int
	under   sync.WaitGroup
}

// actor is a process, and whether a fault is on it.
type actor struct {
	*stage.Process
	busy bool
}

// Start starts the processes of the stage.
func Start(t testing.TB, s *stage.Stage, c Config) *Nemesis {
	t.Helper()
	if c.Workers == 0 {
		c.Workers = 3
	}
	if c.Clients == 0 {
		c.Clients = 2
	}
	if c.Gap == 0 {
		c.Gap = 250 * time.Millisecond
	}
	if c.Width == 0 {
		c.Width = 3
	}
	n := &Nemesis{
		Config: c, stage: s, t: t, kinds: map[string]int{},
		random: rand.New(rand.NewPCG(c.Seed, 3)), //nolint:gosec // a test that can be run again
	}
	for range c.Workers {
		n.workers = append(n.workers, &actor{Process: s.Worker()})
	}
	for range c.Clients {
		n.clients = append(n.clients, &actor{Process: s.Client()})
	}
	return n
}

// Blow makes faults until ctx is done or it has made so many, and heals them all.
func (n *Nemesis) Blow(ctx context.Context, most int) {
	kinds := n.choose()
	slots := make(chan struct{}, n.Width)
	for made := 0; made < most && ctx.Err() == nil; {
		f := kinds[n.random.IntN(len(kinds))]
		dice := [3]int{n.random.IntN(1000), n.random.IntN(1000), n.random.IntN(1000)}
		gap := time.Duration(n.random.Int64N(int64(n.Gap)))
		slots <- struct{}{}
		if on, free := n.seize(f, dice[0]); free {
			made++
			n.under.Go(func() {
				n.inflict(f, on, dice)
				<-slots
			})
		} else {
			<-slots
		}
		_ = Pause(ctx, gap)
	}
	n.under.Wait()
}

// Kinds is how often each kind of fault was made.
func (n *Nemesis) Kinds() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kinds
}

// choose lists the kinds of this nemesis, each as often as its weight.
func (n *Nemesis) choose() []fault {
	var chosen []fault
	for _, f := range faults {
		if f.loses && !n.Loses || len(n.Only) > 0 && !slices.Contains(n.Only, f.kind) {
			continue
		}
		for range f.weight {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		n.t.Fatalf("nemesis: no fault is of the kinds %q", n.Only)
	}
	return chosen
}

// seize picks what a fault hits, if that has no other one just now.
func (n *Nemesis) seize(f fault, dice int) (on *actor, free bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch f.target {
	case theServer:
		free = !n.server
		n.server = true
		return nil, free
	case aWorker:
		on = n.workers[dice%len(n.workers)]
	case aClient:
		on = n.clients[dice%len(n.clients)]
	default:
		both := slices.Concat(n.workers, n.clients)
		on = both[dice%len(both)]
	}
	free = !on.busy
	on.busy = on.busy || free
	return on, free
}

// inflict makes one fault, from its beginning to its end.
func (n *Nemesis) inflict(f fault, on *actor, dice [3]int) {
	hit := hit{Nemesis: n, actor: on, dice: dice}
	text := "the server"
	if on != nil {
		text = on.Name
	}
	over := n.stage.Fault(f.kind, fmt.Sprintf("%s %v", text, dice[1:]), f.loses, f.within)
	f.do(hit)
	over()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kinds[f.kind]++
	if on == nil {
		n.server = false
	} else {
		on.busy = false
	}
}

// hit is one fault under way.
type hit struct {
	*Nemesis
	actor *actor
	dice  [3]int
}

// between is a length of the fault, by its dice.
func (h hit) between(least, most time.Duration) time.Duration {
	return least + (most-least)*time.Duration(h.dice[1])/1000
}

// last lets the fault last.
func (h hit) last(least, most time.Duration) { _ = Pause(h.t.Context(), h.between(least, most)) }

// replace starts another process in the place of the one that was hit.
func (h hit) replace() {
	var p *stage.Process
	if h.actor.Role == role.Worker {
		p = h.stage.Worker()
	} else {
		p = h.stage.Client()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.actor.Process = p
}

// command asks the server for something; what it refuses in the state it is in is no fault then.
func (h hit) command(args ...any) { _ = h.stage.Direct.Do(h.t.Context(), args...).Err() }

// Pause lasts so long, or until ctx is done.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
