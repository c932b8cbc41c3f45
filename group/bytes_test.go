package group_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
)

// TestLargePayloadsAreNotPiledUp runs tasks of a megabyte each that take no time: by time alone a thousand of them would be taken in hand.
func TestLargePayloadsAreNotPiledUp(t *testing.T) {
	t.Parallel()
	const tasks, concurrency, most = 80, 2, 16 // in one read, of a MiB each
	r := newRig(t)
	payload := strings.Repeat("x", 1<<20)
	for range tasks {
		r.add(task(payload))
	}
	var held, done atomic.Int64
	all := make(chan struct{})
	cfg := group.Config{Concurrency: concurrency, Hooks: group.Hooks{
		Fetched: func(_ string, n int) {
			if in := held.Add(int64(n)); n > most || in > most+concurrency {
				t.Errorf("a read brought %d, then %d were in hand; want at most %d, and %d", n, in, most, most+concurrency)
			}
		},
		Done: func(group.Metadata, time.Duration) {
			if done.Add(1) == tasks {
				close(all)
			}
		},
	}}
	start(t, r.store, cfg, handle(func(context.Context, group.Task) ([]byte, error) {
		held.Add(-1)
		return nil, nil
	}))
	<-all
}
