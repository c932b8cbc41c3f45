package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// beatsPerLease is how often a lease is renewed while it lasts.
const beatsPerLease = 3

// keepLeases renews the worker's leases on the queues, all in one call, on connections of its own. When one was not confirmed for a
// whole lease, its fence falls: others may take the tasks, so the handlers are told to stop. It goes on trying, and so does the worker.
func (b *bundle) keepLeases(ctx context.Context) error {
	lease := b.worker.cfg.Lease
	select { // the first lease says whether presence is there
	case <-ctx.Done():
		return nil
	case <-b.settled:
	}
	for _, f := range b.feeds {
		f.falls = time.AfterFunc(lease, f.fall)
		defer f.falls.Stop()
	}
	for {
		wait := lease/beatsPerLease - rand.N(lease/beatsPerLease/10)
		if err := b.beat(ctx); err != nil {
			b.worker.log.Warn("cannot renew the lease", zap.String("of", b.name()), zap.Error(err), zap.Duration("age", b.oldest()))
			wait = jitter(lease / 20)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-b.beatNow:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// oldest is the age of the oldest lease.
func (b *bundle) oldest() (age time.Duration) {
	for _, f := range b.feeds {
		age = max(age, f.leaseAge())
	}
	return age
}

// beat is one heartbeat. The leases count from when it was SENT: Redis cannot have begun to count earlier.
func (b *bundle) beat(ctx context.Context) error {
	b.beating.Lock()
	defer b.beating.Unlock()
	w := b.worker
	keys := make([]wire.Keys, len(b.leased))
	for i, f := range b.leased {
		keys[i] = f.keys
	}
	sent := w.now()
	began := time.Now()
	leases, err := w.pulse.Heartbeat(ctx, keys, w.name, w.cfg.Lease, w.leaseText())
	took := time.Since(began)
	if err != nil {
		for _, f := range b.leased {
			f.hookRenewed(took, err)
		}
		return err
	}
	var bad error
	var fresh []*feed
	for i, f := range b.leased {
		f.learnClock(leases[i].Clock, began.Add(took/2))
		err := f.renewed(ctx, leases[i])
		f.hookRenewed(took, err)
		if err != nil {
			bad = err // and the lease counts as not confirmed: the next beat asks again
			continue
		}
		f.confirmed.Store(int64(sent))
		f.falls.Reset(w.cfg.Lease - (w.now() - sent))
		if !f.ready.Load() {
			fresh = append(fresh, f)
		}
	}
	if len(fresh) > 0 {
		bad = errors.Join(bad, b.begin(ctx, fresh))
	}
	return bad
}

// expire lets the lease of a feed run out: once the worker has left the queue, no heartbeat may make the lease again.
func (b *bundle) expire(one *feed) {
	b.beating.Lock()
	defer b.beating.Unlock()
	b.leased = slices.DeleteFunc(b.leased, func(f *feed) bool { return f == one })
}

// renewed takes in what a heartbeat said of one lease.
func (f *feed) renewed(ctx context.Context, lease script.Lease) error {
	if lease.Fence == "" {
		return fmt.Errorf("group: the key of the lease on %s holds something else", f.queue.Name)
	}
	f.fence.Store(&lease.Fence)
	if !lease.Renewed && f.ready.Load() {
		f.log.Warn("the lease was lost, asking which tasks are left")
		f.tellLeaseLost()
		f.unsure = true
	}
	if !f.unsure {
		return nil
	}
	if err := f.reconcile(ctx); err != nil {
		return err
	}
	f.unsure = false
	f.wantAudit()
	return nil
}

// begin opens queues on which there is a lease for the first time.
func (b *bundle) begin(ctx context.Context, fresh []*feed) error {
	err := b.readSwitches(ctx, fresh) // BEFORE the first fetch: a paused queue is not read
	names := make([]string, 0, len(fresh))
	for _, f := range fresh {
		if f.switched.Load() {
			names = append(names, f.queue.Name)
		}
	}
	if len(names) == 0 {
		return err
	}
	if err := b.worker.store.Register(ctx, names...); err != nil {
		b.worker.log.Warn("cannot register queues", zap.Error(err))
	}
	for _, f := range fresh {
		if f.switched.Load() {
			f.ready.Store(true)
			f.wanted.Store(true)
		}
	}
	kick(b.lookNow)
	b.worker.stir()
	return err
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

// learnClock notes by how much the clock of Redis is ahead of this one.
func (f *feed) learnClock(redis, here time.Time) { f.ahead.Store(int64(redis.Sub(here))) }

func (f *feed) hookRenewed(took time.Duration, err error) {
	if hook := f.worker.cfg.Hooks.Renewed; hook != nil {
		hook(f.queue.Name, took, err)
	}
}

func (f *feed) tellLeaseLost() {
	if hook := f.worker.cfg.Hooks.LeaseLost; hook != nil {
		hook(f.queue.Name)
	}
}
