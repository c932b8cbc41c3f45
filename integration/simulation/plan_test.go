package simulation

import (
	"math/rand/v2"
	"time"
)

// plan is what a seed has in store.
type plan struct {
	lease    time.Duration
	workers  int
	clients  int
	slots    int     // of a worker
	rate     float64 // of requests that meet a fault
	lossy    bool    // data is lost: only what somebody waits for is sure to be done
	stubborn bool    // handlers go on when their context has ended
	lasts    time.Duration
	events   []event
	orders   []order
	batches  []batch
	lasting  []lasting
}

// event is a fault of a whole process or of Redis.
type event struct {
	at    time.Duration
	kind  string
	of    int // which process
	takes time.Duration
}

// Kinds of events. Those of the second list lose data.
var (
	eventKinds = []string{"kill", "kill", "kill", "stall", "stall", "reset", "black hole", "outage", "script flush", "delconsumer", "ghosts", "destroy", "drain"}
	lossyKinds = []string{"flushall", "flushall", "flushall"}
)

// way is how a task is ordered.
type way string

const (
	forget    way = "forget"
	kept      way = "kept"
	delayed   way = "delayed"
	called    way = "called"
	cancelled way = "cancelled"
	mapped    way = "mapped"
	lasts     way = "lasts"
)

// order is a task, and the input of its function.
type order struct {
	N     int           `json:"n"`
	Fails int           `json:"fails,omitempty"` // attempts
	Drops bool          `json:"drops,omitempty"`
	Takes time.Duration `json:"takes,omitempty"`

	way  way
	at   time.Duration
	wait time.Duration // until it is due, or until its caller leaves
	from int           // which client
}

// batch is a map.
type batch struct {
	at      time.Duration
	from    int
	orders  []order
	chunk   int
	window  int
	ordered bool
}

// newPlan draws a plan.
func newPlan(rng *rand.Rand) plan {
	p := plan{
		lease:    pick(rng, 500*time.Millisecond, time.Second, 2*time.Second),
		workers:  2 + rng.IntN(2),
		clients:  1 + rng.IntN(2),
		slots:    pick(rng, 1, 2, 4, 8),
		rate:     pick(rng, 0, 0.01, 0.03, 0.1, 0.2),
		lossy:    rng.IntN(5) == 0,
		stubborn: rng.IntN(3) == 0,
		lasts:    spread(rng, 300*time.Millisecond, 5*time.Second),
	}
	n := 0
	add := func(way way) order {
		n++
		return p.order(rng, n, way)
	}
	for range rng.IntN(16) {
		if p.lossy {
			p.orders = append(p.orders, add(called))
		} else {
			p.orders = append(p.orders, add(pick(rng, forget, kept, kept, delayed, called, called, cancelled)))
		}
	}
	for range rng.IntN(3) {
		b := batch{
			at: below(rng, p.lasts), from: rng.IntN(p.clients), chunk: pick(rng, 1, 3, 1000), window: pick(rng, 4, 16, 10_000),
			ordered: rng.IntN(3) == 0,
		}
		for range 1 + rng.IntN(16) {
			b.orders = append(b.orders, add(mapped))
		}
		p.batches = append(p.batches, b)
	}
	p.drawLasting(rng, add)
	p.events = p.drawEvents(rng)
	return p
}

func (p *plan) order(rng *rand.Rand, n int, w way) order {
	o := order{N: n, way: w, at: below(rng, p.lasts), from: rng.IntN(p.clients), Drops: rng.IntN(12) == 0}
	if rng.IntN(6) == 0 {
		o.Fails = 1 + rng.IntN(2)
	}
	if rng.IntN(2) == 0 {
		o.Takes = spread(rng, time.Millisecond, 2*p.lease)
	}
	if w == delayed || w == cancelled {
		o.wait = spread(rng, time.Millisecond, 3*time.Second)
	}
	return o
}

func (p *plan) drawEvents(rng *rand.Rand) []event {
	var events []event
	draw := func(kinds []string) {
		events = append(events, event{
			at: below(rng, p.lasts), kind: kinds[rng.IntN(len(kinds))], of: rng.IntN(100), takes: spread(rng, 5*time.Millisecond, 3*p.lease),
		})
	}
	for range rng.IntN(5) {
		draw(eventKinds)
	}
	if p.lossy {
		draw(lossyKinds)
	}
	return events
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

func below(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most)))
}
