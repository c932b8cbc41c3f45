package group

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

const (
	promoteAtOnce = 100
	beatenLeast   = time.Millisecond       // how much later a worker looks that found that others were first; doubled each time
	beatenMost    = 200 * time.Millisecond // and at most
	clockSlack    = 2 * time.Millisecond   // between the clock of Redis and this one
	dueAgain      = 200 * time.Millisecond // when Redis did not answer
)

// promote moves tasks that are due to the stream, at the microsecond they are, by the clock of Redis. Every worker does; whoever
// comes first moves them, and the others come a little later next time, so that hundreds of workers do not all ask at once. What is
// due next is known from the last promotion, from hints, and from the looks of the rescuer every few seconds.
func (b *bundle) promote(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := b.promoteDue(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-b.dueNow: // something is due earlier
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// promoteDue takes one step for each queue that has something due, and returns how long to wait then.
func (b *bundle) promoteDue(ctx context.Context) (wait time.Duration) {
	wait = time.Hour // until a hint or a look
	for _, f := range b.feeds {
		if at := time.Duration(f.dueAt.Load()); at != 0 && at <= b.worker.now() && f.dueAt.CompareAndSwap(int64(at), 0) {
			f.promote(ctx)
		}
		if at := time.Duration(f.dueAt.Load()); at != 0 {
			wait = min(wait, max(0, at-b.worker.now()))
		}
	}
	return wait
}

// promote moves some tasks.
func (f *feed) promote(ctx context.Context) {
	moved, next, err := f.worker.aside.Scripts().Promote(ctx, f.keys, promoteAtOnce)
	if err != nil {
		if !errors.Is(err, context.Canceled) && f.worker.logged.allow("promote "+f.queue.Name) {
			f.log.Warn("cannot promote what is due, trying again", zap.Error(err))
		}
		f.dueBy(jitter(dueAgain))
		return
	}
	switch {
	case moved > 0:
		f.beaten.Store(0)
	case f.expected != 0 && f.worker.now() >= f.expected && (next < 0 || next > clockSlack): // it was there, and is gone
		f.beaten.Store(int64(min(max(2*time.Duration(f.beaten.Load()), beatenLeast), beatenMost)))
	}
	f.expected = 0
	if next >= 0 {
		f.expected = f.worker.now() + next
		f.dueWithin(next)
	}
}

// dueHint tells that a task is due earlier than all others were.
func (f *feed) dueHint() { f.dueWithin(0) }

// dueWithin tells that a task is due in a while.
func (f *feed) dueWithin(wait time.Duration) { f.dueBy(wait + time.Duration(f.beaten.Load())) }

// dueBy makes the promoter look by then, or earlier if it was to do so.
func (f *feed) dueBy(wait time.Duration) {
	at := int64(f.worker.now() + max(wait, 1))
	for {
		old := f.dueAt.Load()
		if old != 0 && old <= at {
			return
		}
		if f.dueAt.CompareAndSwap(old, at) {
			kick(f.bundle.dueNow)
			return
		}
	}
}
