package group

import (
	"context"
	"time"
)

const (
	promoteAtOnce = 100
	dueAtMost     = 5 * time.Second // a hint may be lost: look this often
)

// promote moves tasks that are due to the stream, at the millisecond they are, by the clock of Redis. Every worker does; whoever
// comes first moves them.
func (f *feed) promote(ctx context.Context) error {
	var fails patience
	for ctx.Err() == nil {
		moved, next, err := f.worker.store.Scripts().Promote(ctx, f.keys, promoteAtOnce)
		if err != nil {
			if fails.ceiling >= redisBackoffMax {
				return err // the supervisor logs it
			}
			fails.pause(ctx)
			continue
		}
		fails.reset()
		if moved == promoteAtOnce || next == 0 {
			continue
		}
		wait := jitter(dueAtMost * 2 / 3)
		if next > 0 {
			wait = min(wait, next)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-f.dueNow: // something is due earlier
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}
