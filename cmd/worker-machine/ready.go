package main

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/stream"
)

// awaitLease returns when the worker has a lease on every queue it reads, which is when it may be given tasks.
func awaitLease(ctx context.Context, store *stream.Store, queues []group.Queue, worker string) error {
	const pollEvery = 10 * time.Millisecond
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for _, queue := range queues {
		key := store.Keys(queue.Name).Lease(worker)
		for {
			n, err := store.Client().Exists(ctx, key).Result()
			if n == 1 && err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-poll.C:
			}
		}
	}
	return nil
}
