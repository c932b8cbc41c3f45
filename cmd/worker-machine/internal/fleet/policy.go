package fleet

import (
	"math/rand/v2"
	"time"
)

// delay is the wait before a slot's next start, after so many crashes in a row. Full jitter: processes that died together, as of
// a Redis that was away, do not come back together.
func (r Restart) delay(crashes int) time.Duration {
	if r.Policy == Always {
		return r.MinDelay
	}
	return rand.N(r.ceiling(crashes)) + 1
}

// ceiling is the longest that such a wait may be.
func (r Restart) ceiling(crashes int) time.Duration {
	ceiling := r.MinDelay
	for i := 1; i < crashes && ceiling < r.MaxDelay; i++ {
		ceiling *= 2
	}
	return min(ceiling, r.MaxDelay)
}

// gaveUp tells whether a slot with so many crashes in a row is not started again.
func (r Restart) gaveUp(crashes int) bool { return r.Policy == Backoff && crashes >= r.CrashLimit }

// allGaveUp tells it of a fleet.
func (r Restart) allGaveUp(crashes int) bool { return r.Policy == Backoff && crashes >= r.CrashLimits }

// lifetime is how old one process gets.
func (l Limits) lifetime() time.Duration {
	if l.Age < 4 {
		return l.Age
	}
	return l.Age - rand.N(l.Age/4)
}

// due says why a process is to be replaced, "" for no reason.
func (f *Fleet) due(p *process) string {
	switch l := f.cfg.Limits; {
	case p.generation < f.generation:
		return "roll"
	case l.RSS > 0 && p.rss > l.RSS:
		return "memory"
	case l.Tasks > 0 && p.tasks >= int64(l.Tasks):
		return "tasks"
	case l.Age > 0 && f.reached(p.began.Add(p.lifetime)):
		return "age"
	}
	return ""
}
