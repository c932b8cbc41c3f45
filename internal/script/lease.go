package script

import (
	"context"
	"slices"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// leaveLimit bounds how many entries one call of leave hands over.
const leaveLimit = 256

// Lease is a worker's lease on one queue, as a heartbeat left it.
type Lease struct {
	Fence   string    // "" when the key is no lease: somebody else's
	Renewed bool      // false when it was gone and is made again, with a new fence: what the worker had may be with others
	Clock   time.Time // of Redis
}

// Heartbeat renews a worker's leases on some queues, or makes them, [queuesAtOnce] in a call. On a cluster it takes one queue.
func (r *Runner) Heartbeat(ctx context.Context, queues []wire.Keys, worker string, ttl time.Duration, value string) ([]Lease, error) {
	leases := make([]Lease, 0, len(queues))
	for some := range slices.Chunk(queues, queuesAtOnce) {
		names := make([]string, len(some))
		for i, keys := range some {
			names[i] = keys.Lease(worker)
		}
		answer, err := r.run(ctx, heartbeatScript, names, []any{ttl.Milliseconds(), value})
		if err != nil {
			return nil, err
		}
		values, err := list(heartbeatScript, answer, 2*len(some)+1)
		if err != nil {
			return nil, err
		}
		clock := time.UnixMicro(int64(number(values[2*len(some)])))
		for i := range some {
			leases = append(leases, Lease{Fence: text(values[2*i+1]), Renewed: number(values[2*i]) == 1, Clock: clock})
		}
	}
	return leases, nil
}

// Release hands entries that have not started back to the group, at no cost of an attempt; others are told.
func (r *Runner) Release(ctx context.Context, keys wire.Keys, group, consumer string, entries []string) error {
	for start := 0; start < len(entries); start += leaveLimit {
		args := []any{group, consumer}
		for _, entry := range entries[start:min(start+leaveLimit, len(entries))] {
			args = append(args, entry)
		}
		if _, err := r.run(ctx, releaseScript, []string{keys.Tasks(), keys.Control()}, args); err != nil {
			return err
		}
	}
	return nil
}

// Leave hands over what a worker still has and, once that is nothing, removes its consumer and its lease. Call it until left is 0.
func (r *Runner) Leave(ctx context.Context, keys wire.Keys, group, consumer string) (left int, err error) {
	answer, err := r.run(ctx, leaveScript, []string{keys.Tasks(), keys.Lease(consumer), keys.Control()}, []any{group, consumer, leaveLimit})
	return number(answer), err
}
