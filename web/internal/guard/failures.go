package guard

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	firstDelay   = 100 * time.Millisecond
	longestDelay = 3 * time.Second
	forgiveAfter = 10 * time.Minute
	mostPlaces   = 4096 // addresses that are remembered
	mostHeld     = 128  // answers that wait at a time, of all
	mostHeldHere = 8    // and of one address
)

// failures delays the answers to wrong tokens, the longer the more of them came from an address. It only ever holds answers that
// say no: a right token is let in at once, whatever others at the same address do, so that nobody can lock somebody out. Beyond some
// answers at a time it holds none, so that they cannot be piled up; what keeps tokens from being guessed is their length.
type failures struct {
	now  func() time.Time
	wait func(ctx context.Context, d time.Duration)

	mu     sync.Mutex
	places map[netip.Prefix]*place
	held   int
}

type place struct {
	failed int
	held   int
	last   time.Time
}

func newFailures() *failures {
	return &failures{now: time.Now, wait: pause, places: map[netip.Prefix]*place{}}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Delay notes a failure and returns when it may be answered. It is false when too many wait already: then the answer is that
// there were too many.
func (f *failures) Delay(ctx context.Context, remote string) bool {
	where := placeOf(remote)
	d, ok := f.note(where)
	if !ok {
		return false
	}
	f.wait(ctx, d)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held--
	if p := f.places[where]; p != nil {
		p.held--
	}
	return true
}

func (f *failures) note(where netip.Prefix) (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	p := f.places[where]
	if p == nil {
		f.makeRoom(now)
		p = &place{}
		f.places[where] = p
	}
	if p.held == 0 && now.Sub(p.last) > forgiveAfter {
		p.failed = 0
	}
	p.last = now
	if p.held >= mostHeldHere || f.held >= mostHeld {
		return 0, false
	}
	d := min(firstDelay<<min(p.failed, 10), longestDelay)
	p.failed++
	p.held++
	f.held++
	return d, true
}

// makeRoom forgets addresses that have not failed for a while, or else one of which nothing is held: there are far more places
// than answers that are held, so that there is one.
func (f *failures) makeRoom(now time.Time) {
	if len(f.places) < mostPlaces {
		return
	}
	for where, p := range f.places {
		if p.held == 0 && now.Sub(p.last) > forgiveAfter {
			delete(f.places, where)
		}
	}
	for where, p := range f.places {
		if len(f.places) < mostPlaces {
			return
		}
		if p.held == 0 {
			delete(f.places, where)
		}
	}
}

// placeOf is the address, and of IPv6 the network of a house: whoever has one address there has 2^64.
func placeOf(remote string) netip.Prefix {
	const house = 64
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = house
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
