package simulation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

const (
	longestBlackHole = 20 * time.Second // how long Redis believes in a connection that is over and did not say so
	longestOutage    = 2 * time.Second
)

// fate is what becomes of one request.
type fate int

const (
	arrives     fate = iota
	cutBefore        // the connection breaks before Redis has it
	cutAfter         // and after
	cutMiddle        // and after some of its commands
	lateRequest      // it comes later, also when nobody waits for it any more
	lateAnswer       // its answer does
	swallowed        // it is lost, and the connection does not say so
	muted            // its answer is lost, and the connection does not say so
	refused          // Redis says that it cannot now
	fateCount
)

var fateNames = [fateCount]string{"arrives", "cut before", "cut after", "cut in the middle", "late request", "late answer", "swallowed", "muted", "refused"}

var fateWeights = []struct {
	fate   fate
	weight int
}{{cutBefore, 3}, {cutAfter, 6}, {cutMiddle, 2}, {lateRequest, 4}, {lateAnswer, 3}, {swallowed, 1}, {muted, 2}, {refused, 2}}

// decide draws the fate of a request. l.mu is held.
func (w *world) decide(l *link, r *request) {
	if l.owner.exempt || w.calm.Load() || l.rng.Float64() >= w.plan.rate {
		return
	}
	sum := 0
	for _, f := range fateWeights {
		sum += f.weight
	}
	n := l.rng.IntN(sum)
	for _, f := range fateWeights {
		if n -= f.weight; n < 0 {
			r.fate = f.fate
			break
		}
	}
	if r.fate == cutMiddle {
		r.reach = l.rng.IntN(len(r.commands) + 1)
	}
	if r.fate == lateRequest || r.fate == lateAnswer {
		r.delay = spread(l.rng, time.Millisecond, 3*w.plan.lease)
	}
	w.counts[r.fate].Add(1)
	w.tell("%s, link %d: %s %s%s", l.owner.name, l.id, brief(r.commands), fateNames[r.fate], after(r.delay))
}

func after(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return " by " + d.Round(time.Microsecond).String()
}

// brief names the commands of a request.
func brief(commands [][]string) string {
	text := commands[0][0]
	if len(commands) > 1 {
		text += fmt.Sprintf(" and %d more", len(commands)-1)
	}
	return text
}

// spread is a time between two, short ones as likely as long ones.
func spread(rng *rand.Rand, least, most time.Duration) time.Duration {
	return time.Duration(float64(least) * math.Pow(float64(most)/float64(least), rng.Float64()))
}

// happen lets an event happen.
func (w *world) happen(e event) {
	workers, all := w.workers(), w.everybody()
	if len(workers) == 0 {
		return
	}
	victim, other := workers[e.of%len(workers)], all[e.of%len(all)]
	w.tell("event: %s of %s or %s%s", e.kind, victim.name, other.name, after(e.takes))
	w.mu.Lock()
	w.events[e.kind]++
	w.mu.Unlock()
	switch e.kind {
	case "kill":
		victim.kill()
		w.replace(e.takes)
	case "ghosts": // what is pending with it is pending with nobody
		w.operate("delconsumer", victim)
		victim.kill()
		w.replace(e.takes)
	case "drain":
		victim.stop()
		w.replace(e.takes)
	case "stall":
		other.stall(e.takes)
	case "reset":
		other.reset()
	case "black hole":
		other.blackHole()
	case "outage":
		w.outage(min(e.takes, longestOutage))
	default:
		w.operate(e.kind, victim)
	}
}

// operate is what somebody does to Redis by hand.
func (w *world) operate(kind string, victim *process) {
	switch kind {
	case "script flush":
		w.redis.byHand("script", "flush")
	case "delconsumer":
		w.redis.byHand("xgroup", "delconsumer", w.keys.Tasks(), victim.store.Group(), victim.member.Name())
	case "destroy":
		w.redis.byHand("xgroup", "destroy", w.keys.Tasks(), victim.store.Group())
	case "flushall":
		w.redis.flush()
	}
}
