package group

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	redisBackoffMin = 5 * time.Millisecond
	redisBackoffMax = 5 * time.Second
)

// wait is how long a task waits after its failed attempt: full jitter, so that tasks that failed together do not come back
// together.
func (b Backoff) wait(attempt int) time.Duration {
	ceiling := b.Min
	for i := 1; i < attempt && ceiling < b.Max; i++ {
		if ceiling > b.Max/2 { // and doubling it could overflow
			ceiling = b.Max
			break
		}
		ceiling *= 2
	}
	return 1 + rand.N(min(ceiling, b.Max))
}

// jitter is a random time between half of d and one and a half.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// patience is the backoff of calls to Redis that are repeated until they work.
type patience struct{ ceiling time.Duration }

// pause waits, longer each time; it reports false when ctx ended.
func (p *patience) pause(ctx context.Context) bool {
	p.ceiling = min(max(2*p.ceiling, redisBackoffMin), redisBackoffMax)
	return sleep(ctx, rand.N(p.ceiling)+1)
}

func (p *patience) reset() { p.ceiling = 0 }

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func hasPrefix(err error, prefix string) bool { return redis.HasErrorPrefix(err, prefix) }
