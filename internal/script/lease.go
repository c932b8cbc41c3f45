package script

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// leaveLimit bounds how many entries one call of leave hands over.
const leaveLimit = 256

// Heartbeat renews a worker's lease on a queue, or makes it. The fence is new each time the lease is made: renewed is false then,
// and what the worker had may be with others.
func (r *Runner) Heartbeat(ctx context.Context, keys wire.Keys, worker string, ttl time.Duration, value string) (fence string, renewed bool, err error) {
	answer, err := r.run(ctx, heartbeatScript, []string{keys.Lease(worker)}, []any{ttl.Milliseconds(), value})
	if err != nil {
		return "", false, err
	}
	values, err := list(heartbeatScript, answer, 2)
	if err != nil {
		return "", false, err
	}
	fence, _ = wire.ParseLease(text(values[1]))
	return fence, number(values[0]) == 1, nil
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
