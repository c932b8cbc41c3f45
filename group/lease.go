package group

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
)

// beatsPerLease is how often a lease is renewed while it lasts.
const beatsPerLease = 3

// keepLease renews the worker's lease on the queue, on connections of its own. When it was not confirmed for a whole lease, the
// fence falls: others may take the tasks, so the handlers are told to stop. It goes on trying, and so does the worker.
func (f *feed) keepLease(ctx context.Context) error {
	lease := f.worker.cfg.Lease
	for !f.settled.Load() { // the first lease says whether presence is there
		select {
		case <-ctx.Done():
			return nil
		case <-f.beatNow:
		}
	}
	fence := time.AfterFunc(lease, f.fall)
	defer fence.Stop()
	for {
		wait := lease/beatsPerLease - rand.N(lease/beatsPerLease/10)
		sent := time.Since(f.worker.began)
		if err := f.beat(ctx, sent); err != nil {
			f.log.Warn("cannot renew the lease", zap.Error(err), zap.Duration("age", f.leaseAge()))
			wait = jitter(lease / 20)
		} else {
			fence.Reset(lease - (time.Since(f.worker.began) - sent))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-f.beatNow:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// beat is one heartbeat. The lease counts from when it was SENT: Redis cannot have begun to count earlier.
func (f *feed) beat(ctx context.Context, sent time.Duration) error {
	w := f.worker
	fence, renewed, err := w.pulse.Heartbeat(ctx, f.keys, w.name, w.cfg.Lease, leaseValue(w.began, w.present.Load()))
	if err != nil {
		return err
	}
	f.fence.Store(&fence)
	if !renewed && f.ready.Load() {
		f.log.Warn("the lease was lost, asking which tasks are left")
		f.tellLeaseLost()
		f.unsure = true
	}
	if f.unsure {
		if err := f.reconcile(ctx); err != nil {
			return err // and the lease counts as not confirmed: the next beat asks again
		}
		f.unsure = false
		f.wantAudit()
	}
	f.confirmed.Store(int64(sent))
	if f.ready.Load() {
		return nil
	}
	if !f.readSwitch(ctx) { // BEFORE the first fetch: a paused queue is not read
		return fmt.Errorf("group: it is not known whether %s is paused", f.queue.Name)
	}
	if err := w.store.Register(ctx, f.queue.Name); err != nil {
		f.log.Warn("cannot register the queue", zap.Error(err))
	}
	f.ready.Store(true)
	kick(f.lookNow)
	w.stir()
	return nil
}

// fall cancels all handlers of the queue: the lease is over as far as this worker can tell.
func (f *feed) fall() {
	if !f.ready.Load() || f.leaseAge() < f.worker.cfg.Lease {
		return // there was none, or it was confirmed at the last moment
	}
	f.log.Error("the lease is over, handlers are cancelled: other workers may have their tasks", zap.Duration("age", f.leaseAge()))
	f.tellLeaseLost()
	f.giveUp(f.flights.list())
	f.wantAudit() // once there is a lease again
}

func (f *feed) tellLeaseLost() {
	if hook := f.worker.cfg.Hooks.LeaseLost; hook != nil {
		hook(f.queue.Name)
	}
}
