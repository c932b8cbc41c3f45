package stream

import (
	"context"
	"fmt"
	"time"
)

// Again makes a call that may be repeated, until Redis answers it, ctx is done or the time is over: then the error is [ErrUnavailable], and
// the call may have arrived. It is [ErrQueueFull] where Redis refuses to store more. It is for the packages of this module.
func (s *Store) Again(ctx context.Context, within time.Duration, call func() error) error {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		err := call()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		switch v := judge(err, s.cluster()); {
		case v == full:
			return fmt.Errorf("%w: redis refuses to store more: %w", ErrQueueFull, err)
		case v == refused:
			return err
		case time.Since(began) >= within:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		pause(ctx, backoff(attempt))
	}
}
