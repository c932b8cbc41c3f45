package reclaim

import "time"

const (
	// absentFor is how far apart the two looks are that find a worker absent.
	absentFor = 100 * time.Millisecond

	// settledFor is how long this worker's own channel must have been seen: right after a start or a reconnect of Redis the
	// others may be on their way back too.
	settledFor = 500 * time.Millisecond

	// heldFor is how long verdicts are held once this worker's own channel was lost: what cut it probably cut others.
	heldFor = 3 * time.Second
)

// presence turns looks at subscriptions into verdicts. It trusts a look only if this worker itself was seen, steadily: whoever
// cannot see himself in the mirror must not declare others dead.
type presence struct {
	ownSince  time.Time // since when this worker's own channel was seen in every look; zero when it was not
	lastLook  time.Time
	heldUntil time.Time
	absent    map[string]time.Time // since when a worker is missing, by valid looks
}

func newPresence() presence { return presence{absent: map[string]time.Time{}} }

// look begins a look; own tells whether this worker's own channel was seen subscribed. It returns whether the look is valid.
func (p *presence) look(now time.Time, own bool) bool {
	if !own {
		p.disturb(now)
		return false
	}
	if now.Sub(p.lastLook) > heldFor { // nobody looked in between: what was seen then says nothing about now
		p.ownSince = time.Time{}
		clear(p.absent)
	}
	p.lastLook = now
	if p.ownSince.IsZero() {
		p.ownSince = now
	}
	return now.Sub(p.ownSince) >= settledFor && !now.Before(p.heldUntil)
}

// disturb takes back what was seen, and holds verdicts if anything was.
func (p *presence) disturb(now time.Time) {
	if !p.ownSince.IsZero() {
		p.heldUntil = now.Add(heldFor)
	}
	p.ownSince = time.Time{}
	clear(p.absent)
}

// missing notes that a valid look did not see the worker, and tells whether that makes it dead.
func (p *presence) missing(worker string, now time.Time) bool {
	since, ok := p.absent[worker]
	if !ok {
		p.absent[worker] = now
		return false
	}
	return now.Sub(since) >= absentFor
}

// forget drops what is known of a worker that was seen, or is gone.
func (p *presence) forget(worker string) { delete(p.absent, worker) }
