package group

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ErrNoBatch is returned by [SharedContext] when the task belongs to no batch, or to one that is over.
var ErrNoBatch = errors.New("group: the task belongs to no batch that is still waited for")

// maxShared bounds one shared value.
const maxShared = 1 << 20

// SharedContext is the small set of values that the tasks of one batch and its caller share. It is gone with the batch. It is
// safe for concurrent use; of two writers the last one wins.
type SharedContext struct{ flight *flight }

// Shared is the shared context of the batch to which the task belongs whose handler was given ctx.
func Shared(ctx context.Context) SharedContext {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return SharedContext{flight: f}
}

// Get reads a value; nil without an error when nobody has set it.
func (s SharedContext) Get(ctx context.Context, name string) ([]byte, error) {
	if s.flight == nil || s.flight.task.Reply == "" {
		return nil, ErrNoBatch
	}
	f := s.flight.feed
	value, err := f.worker.store.Client().HGet(ctx, f.keys.Context(s.flight.task.Reply), name).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("group: read shared %q: %w", name, err)
	}
	return value, nil
}

// Set writes a value of at most 1 MiB. It returns [ErrNoBatch] when nobody waits for the batch any more.
func (s SharedContext) Set(ctx context.Context, name string, value []byte) error {
	if s.flight == nil || s.flight.task.Reply == "" {
		return ErrNoBatch
	}
	if len(value) > maxShared {
		return fmt.Errorf("group: share %q: %d bytes, at most %d", name, len(value), maxShared)
	}
	f := s.flight.feed
	stored, err := f.worker.store.Scripts().Share(ctx, f.keys, s.flight.task.Reply, name, value)
	if err != nil {
		return fmt.Errorf("group: share %q: %w", name, err)
	}
	if !stored {
		return ErrNoBatch
	}
	return nil
}
