package reclaim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/turn"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	defaultLease = 10 * time.Second
	minimumLease = 100 * time.Millisecond

	// claimLimit bounds one script, so that Redis is never busy for long with one dead worker.
	claimLimit = 128

	// auditPage bounds how many delivered entries one audit looks at.
	auditPage = 256

	// emptyFor is how long a consumer without lease and without entries lies idle before it is removed: long enough for a
	// worker that made its consumer and has not written its first heartbeat, and for a person trying things out by hand.
	emptyFor = time.Minute
)

// fromStart is the cursor of a new audit.
const fromStart = "-"

// Config tunes a [Reclaimer]. The zero value is ready to use.
type Config struct {
	// Lease is the length of the leases of the group's workers; default 10s. A consumer whose lease was never seen counts as
	// dead only after it was idle for longer than this, so that a consumer made by hand is not robbed at once.
	Lease time.Duration
}

// Reclaimer watches the other workers of one queue for one worker. It is safe for concurrent use; calls wait for each other.
type Reclaimer struct {
	store  *stream.Store
	queue  string
	worker string
	keys   wire.Keys
	lease  time.Duration
	empty  time.Duration // how long a consumer of no use stays
	log    *zap.Logger

	mu          turn.Lock
	presence    presence
	lastLook    time.Time
	leaseHeld   time.Time       // no verdict by lease before
	leased      map[string]bool // consumers whose lease was seen once
	dead        []corpse        // what the last look found
	crowded     bool            // the last look was at a part of the others
	released    int             // entries the last look saw handed back
	told        map[string]bool // dead workers that were logged
	auditCursor string
}

// corpse is a dead consumer that still has entries.
type corpse struct {
	name    string
	mode    script.ReclaimMode
	pending int
}

// New returns a reclaimer of the queue for a worker with the consumer name worker, which is never reclaimed itself. It does not
// talk to Redis.
func New(store *stream.Store, queue, worker string, cfg Config) (*Reclaimer, error) {
	if cfg.Lease == 0 {
		cfg.Lease = defaultLease
	}
	var errs []error
	if store == nil {
		errs = append(errs, errors.New("reclaim: a store is needed"))
	}
	for kind, name := range map[string]string{"queue": queue, "worker": worker} {
		if err := wire.CheckName(kind, name); err != nil {
			errs = append(errs, fmt.Errorf("reclaim: %w", err))
		}
	}
	if worker == wire.ReleasedConsumer {
		errs = append(errs, fmt.Errorf("reclaim: worker name %q is kept for entries that were handed back", worker))
	}
	if cfg.Lease < minimumLease {
		errs = append(errs, fmt.Errorf("reclaim: a lease of %v is below %v", cfg.Lease, minimumLease))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Reclaimer{
		store:    store,
		queue:    queue,
		worker:   worker,
		keys:     store.Keys(queue),
		lease:    cfg.Lease,
		empty:    emptyFor,
		log:      store.Logger().With(zap.String("queue", queue), zap.String("worker", worker)),
		presence: newPresence(),
		leased:   map[string]bool{},
		told:     map[string]bool{},
	}, nil
}

// Take claims up to want entries for this worker: first those handed back by leaving workers, then those of the workers the last
// [Reclaimer.Look] found dead; in a crowd, what is left of those is handed back for anybody to take. The script that claims checks the verdict again, so a worker that came back keeps its entries.
// Entries that were claimed come back even beside an error; they are pending with this worker.
func (r *Reclaimer) Take(ctx context.Context, want int) ([]script.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var taken []script.Entry
	if r.released > 0 && want > 0 {
		entries, gone, err := r.claim(ctx, corpse{name: wire.ReleasedConsumer, mode: script.ByRelease}, want)
		taken = append(taken, entries...)
		if err != nil {
			return taken, err
		}
		if gone {
			r.released = 0
		}
	}
	for len(r.dead) > 0 && len(taken) < want {
		entries, gone, err := r.claim(ctx, r.dead[0], want-len(taken))
		taken = append(taken, entries...)
		if err != nil {
			return taken, err
		}
		if !gone && r.crowded {
			err = r.handOver(ctx, r.dead[0])
			gone = err == nil
		}
		if err != nil {
			return taken, err
		}
		if gone {
			r.dead = r.dead[1:]
		}
	}
	return taken, nil
}

// handOver lets anybody take what is left of a dead worker: in a crowd others may not look at it for long.
func (r *Reclaimer) handOver(ctx context.Context, from corpse) error {
	for {
		got, err := r.reclaim(ctx, wire.ReleasedConsumer, from, claimLimit)
		if err != nil {
			return fmt.Errorf("reclaim: hand over entries of %s in %s: %w", from.name, r.queue, err)
		}
		if got.Alive || !got.More {
			r.forget(from.name)
			return nil
		}
	}
}

// claim takes up to want entries of one consumer; gone tells that nothing more is to be had from it.
func (r *Reclaimer) claim(ctx context.Context, from corpse, want int) (taken []script.Entry, gone bool, err error) {
	for len(taken) < want {
		got, err := r.reclaim(ctx, r.worker, from, min(want-len(taken), claimLimit))
		if err != nil {
			return taken, false, fmt.Errorf("reclaim: claim entries of %s in %s: %w", from.name, r.queue, err)
		}
		taken = append(taken, got.Entries...)
		r.tell(from, got)
		if got.Alive || !got.More {
			r.forget(from.name)
			return taken, true, nil
		}
	}
	return taken, false, nil
}

func (r *Reclaimer) reclaim(ctx context.Context, me string, from corpse, limit int) (script.Reclaimed, error) {
	return r.store.Scripts().Reclaim(ctx, script.ReclaimFrom{
		Keys: r.keys, Group: r.store.Group(), Me: me, Dead: from.name, Limit: limit, Mode: from.mode,
	})
}

// tell logs a dead worker once, and each loss; entries that were handed back are no news.
func (r *Reclaimer) tell(from corpse, got script.Reclaimed) {
	if got.Lost > 0 {
		r.log.Error("entries were gone from the stream while a worker had them",
			zap.String("dead", from.name), zap.Int("lost", got.Lost))
	}
	if len(got.Entries) == 0 || from.mode == script.ByRelease || r.told[from.name] {
		return
	}
	r.told[from.name] = true
	r.log.Warn("taking over the work of a dead worker",
		zap.String("dead", from.name), zap.Int("entries", from.pending), zap.String("by", string(from.mode)))
}

// forget drops what is known of a worker that is gone, or alive after all.
func (r *Reclaimer) forget(name string) {
	delete(r.told, name)
	delete(r.leased, name)
	r.presence.forget(name)
}

// Audit looks at the next page of delivered entries for ghosts: entries that were delivered and are pending with nobody, as an
// operator's XGROUP DELCONSUMER or SETID leaves them behind. It claims up to want of them for this worker. When a pass begins it also
// removes the consumers that have no lease, no entries, and were idle for a minute. Call it now and then, and soon again when it found
// something, or is in the middle of a pass: see [Reclaimer.Auditing].
func (r *Reclaimer) Audit(ctx context.Context, want int) ([]script.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.auditCursor == "" {
		if err := r.removeEmpty(ctx); err != nil {
			return nil, err
		}
		r.auditCursor = fromStart
	}
	page := script.Page{Start: r.auditCursor, Limit: auditPage, Want: max(1, want)}
	entries, next, err := r.store.Scripts().Ghosts(ctx, r.keys, r.store.Group(), r.worker, page)
	if err != nil {
		return nil, fmt.Errorf("reclaim: audit %s: %w", r.queue, err)
	}
	r.auditCursor = next
	if len(entries) > 0 {
		r.log.Warn("took entries that were delivered and pending with nobody", zap.Int("entries", len(entries)))
	}
	return entries, nil
}

// Auditing tells whether the last call of [Reclaimer.Audit] ended in the middle of a pass.
func (r *Reclaimer) Auditing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.auditCursor != ""
}

// removeEmpty removes consumers that are of no use any more. The script decides again, all at once, so a consumer that comes to
// life meanwhile stays.
func (r *Reclaimer) removeEmpty(ctx context.Context) error {
	consumers, err := r.store.Client().XInfoConsumers(ctx, r.keys.Tasks(), r.store.Group()).Result()
	if err != nil {
		return fmt.Errorf("reclaim: list consumers of %s: %w", r.queue, err)
	}
	for _, c := range consumers {
		if c.Pending > 0 || c.Idle < r.empty || c.Name == r.worker || c.Name == wire.ReleasedConsumer {
			continue
		}
		if _, err := r.reclaim(ctx, r.worker, corpse{name: c.Name, mode: script.ByLease}, 0); err != nil {
			return fmt.Errorf("reclaim: remove consumer %s of %s: %w", c.Name, r.queue, err)
		}
	}
	return nil
}

// Disturbed tells the reclaimer that this worker's own subscription was lost or made again: others may have lost theirs in the
// same moment, so for three seconds nobody is declared dead by presence. Leases still count.
func (r *Reclaimer) Disturbed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.presence.disturb(time.Now())
}

// known is what redis.Error says: Redis answered, but with an error.
func known(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer)
}
