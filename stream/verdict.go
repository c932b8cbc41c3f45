package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
)

const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = time.Second
)

// verdict is what an error says of the call that met it.
type verdict int

const (
	unsent  verdict = iota // it has not run; it may when tried again
	unsure                 // it may have run
	refused                // it has not run, and will not when tried again
	full                   // it has not run: the server is out of memory or disk
)

// transient are refusals that pass by themselves: start-up, failover, slot migration, a busy script.
var transient = []string{
	"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "MOVED", "ASK", "NOSCRIPT", "max number of clients",
}

// judge sorts an error. On a cluster the library may have sent a call more than once, so that only a refusal is sure.
func judge(err error, cluster bool) verdict {
	if conn.IsFull(err) {
		return full
	}
	for _, prefix := range transient {
		if redis.HasErrorPrefix(err, prefix) {
			return unsent
		}
	}
	if _, ok := errors.AsType[redis.Error](err); ok || errors.Is(err, redis.ErrClosed) || conn.IsAuth(err) {
		return refused
	}
	if conn.NotSent(err) && !cluster {
		return unsent
	}
	return unsure
}

// backoff is a random time below a bound that doubles with each attempt: full jitter keeps clients apart.
func backoff(attempt int) time.Duration {
	bound := min(minBackoff<<min(attempt, 10), maxBackoff)
	return minBackoff/4 + rand.N(bound)
}

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
