package group

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/reclaim"
)

const (
	lookIdle   = time.Second            // how often the pending list is looked at while nobody else has entries
	lookBusy   = 200 * time.Millisecond // while others have
	lookSoon   = 100 * time.Millisecond // while one of them looks dead
	auditEvery = 5 * time.Second        // how often a page of the stream is searched for ghosts
	staleAfter = 250 * time.Millisecond // tasks that wait for a slot for longer are handed to other workers
	auditMost  = 100                    // ghosts taken at a time
)

// rescuer is the state of one feed's rescue loop.
type rescuer struct {
	feed      *feed
	nextAudit time.Time
	astray    int // looks in a row that found more pending than in hand
}

// rescue looks after what went astray: work of dead workers, work that leavers released, deliveries whose reply was lost, ghosts,
// and tasks that wait here although others could run them.
func (f *feed) rescue(ctx context.Context) error {
	r := rescuer{feed: f, nextAudit: time.Now().Add(jitter(auditEvery))}
	for ctx.Err() == nil {
		timer := time.NewTimer(r.once(ctx))
		select {
		case <-ctx.Done():
		case <-f.lookNow:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// once looks once, takes what can be taken, and tells when to look again.
func (r *rescuer) once(ctx context.Context) time.Duration {
	f := r.feed
	if !f.ready.Load() {
		return lookBusy
	}
	if !f.switched.Load() {
		f.readSwitch(ctx)
	}
	f.handBackStale()
	inHand, added := f.flights.census()
	found, err := f.reclaimer.Look(ctx)
	if err != nil {
		if !conn.IsNoGroup(err) {
			f.log.Warn("cannot look after other workers", zap.Error(err))
		}
		return jitter(lookIdle)
	}
	_, addedNow := f.flights.census()
	r.compare(found.OwnPending, inHand+int(addedNow-added))
	left := r.takeOver(ctx, found)
	r.audit(ctx)
	switch {
	case found.Suspects > 0:
		return lookSoon
	case left || found.OthersPending > 0:
		return jitter(lookBusy)
	default:
		return jitter(lookIdle)/4 + lookIdle*3/4
	}
}

// compare notices deliveries that never arrived here: the fetcher then reads the whole history. Some replies are always just
// under way, so it takes two looks.
func (r *rescuer) compare(pending, inHand int) {
	if pending <= inHand {
		r.astray = 0
		return
	}
	if r.astray++; r.astray >= 2 {
		r.astray = 0
		r.feed.wantAudit()
	}
}

// takeOver claims what is there to claim, as far as there are slots; it tells whether something may be left.
func (r *rescuer) takeOver(ctx context.Context, found reclaim.Found) (left bool) {
	if found.Released == 0 && len(found.Dead) == 0 {
		return false
	}
	r.claim(ctx, "take over entries", r.feed.reclaimer.Take)
	return true
}

// audit searches the next page of the stream for ghosts, now and then.
func (r *rescuer) audit(ctx context.Context) {
	if time.Now().Before(r.nextAudit) {
		return
	}
	r.nextAudit = time.Now().Add(jitter(auditEvery))
	r.claim(ctx, "audit the stream", r.feed.reclaimer.Audit)
}

func (r *rescuer) claim(ctx context.Context, what string, by func(ctx context.Context, want int) ([]script.Entry, error)) {
	f := r.feed
	want := min(f.worker.pool.free(), auditMost)
	if want == 0 || !f.open() {
		return
	}
	f.claiming.Lock()
	defer f.claiming.Unlock()
	entries, err := by(ctx, want)
	if err != nil {
		f.log.Warn("cannot "+what, zap.Error(err))
		if !conn.NotSent(err) {
			f.wantAudit() // claimed entries may be old: only the whole history tells
		}
	}
	if len(entries) == 0 {
		return
	}
	f.log.Info("took over entries", zap.Int("entries", len(entries)))
	f.worker.hookReclaimed(f, f.admitEntries(ctx, entries))
	f.worker.stir() // a read that waits now counted on these slots
}

// handBackStale gives tasks to other workers that wait here for a slot: the handlers are slower than they were.
func (f *feed) handBackStale() {
	now := time.Now()
	stale := f.worker.pool.take(func(one *flight) bool { return one.feed == f && now.Sub(one.arrived) > staleAfter })
	if len(stale) == 0 {
		return
	}
	f.worker.pool.slow(staleAfter)
	f.log.Debug("handing back tasks that wait for a slot", zap.Int("tasks", len(stale)))
	f.release(stale...)
}
