package group

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/turn"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
)

// feed is one queue as one worker sees it.
type feed struct {
	worker    *Worker
	bundle    *bundle
	queue     Queue
	keys      wire.Keys
	log       *zap.Logger
	reader    *conn.Reader
	reclaimer *reclaim.Reclaimer
	flights   flights
	commits   committer
	settles   settler
	chunks    chunks
	scatters  scatterer
	hints     hints
	deeds     deeds

	// claiming is held while entries of others, or the own history, are taken in: both find what the other one is just taking.
	claiming turn.Lock

	// The lease. Times are since Worker.began, by the monotonic clock.
	confirmed atomic.Int64           // when the last confirmed heartbeat was SENT
	fence     atomic.Pointer[string] // of the lease
	falls     *time.Timer            // calls fall when the lease is over
	unsure    bool                   // the lease was lost, and it is not known which entries are left

	// What the fetcher must know. The first five are its own.
	highest  entryID // highest ID ever fetched as new
	doubtful bool    // a reply may be lost: read history above highest first
	homeless bool    // the group is gone: make it first
	reads    uint64  // how many reads of new entries have delivered some
	turn     float64 // in the order of the pass
	audit    atomic.Bool
	paused   atomic.Bool
	ready    atomic.Bool // there was a lease

	dueAt    atomic.Int64  // when to look for due tasks, since Worker.began; never while it is 0
	beaten   atomic.Int64  // how much later than others this worker looks, since they were first
	expected time.Duration // when the promoter found that a task would be due, 0 for none
	wanted   atomic.Bool   // look after what went astray at once
	switched atomic.Bool   // the pause switch was read once
	ahead    atomic.Int64  // by how many nanoseconds the clock of Redis is ahead
	holds    atomic.Bool   // the last look found something in the queue
	reported atomic.Int64  // when what was done was told last, since Worker.began
	unheard  atomic.Bool   // words on the control channel may have been missed
}

func newFeed(w *Worker, queue Queue) *feed {
	f := &feed{
		worker: w, queue: queue, keys: w.store.Keys(queue.Name), log: w.log.With(zap.String("queue", queue.Name)),
		flights: newFlights(), homeless: true,
	}
	f.commits.feed, f.settles.feed, f.scatters.feed = f, f, f
	f.fence.Store(new(string))
	return f
}

func (f *feed) openReclaimer() (err error) {
	f.reclaimer, err = reclaim.New(f.worker.aside, f.queue.Name, f.worker.name, reclaim.Config{Lease: f.worker.cfg.Lease})
	return err
}

// makeGroup makes stream and consumer group; an existing group is fine. It starts at 0: since what is done is deleted, the
// stream holds exactly what is not done.
func (f *feed) makeGroup(ctx context.Context) error {
	if _, err := f.worker.store.Scripts().MakeGroup(ctx, f.keys, f.worker.store.Group()); err != nil {
		return fmt.Errorf("group: make the consumer group of %s: %w", f.queue.Name, err)
	}
	return nil
}

// leaseAge is how long ago the last confirmed heartbeat was sent.
func (f *feed) leaseAge() time.Duration {
	return time.Since(f.worker.began) - time.Duration(f.confirmed.Load())
}

// open tells whether new tasks may be taken in: the lease is young, and nobody paused the queue.
func (f *feed) open() bool {
	return !f.paused.Load() && f.ready.Load() && f.leaseAge() <= f.worker.cfg.Lease/2
}

// wantAudit asks the fetcher to read the worker's whole pending list, and to take what it does not know.
func (f *feed) wantAudit() {
	f.audit.Store(true)
	f.worker.stir()
}

// wantLook asks for a look after what went astray, at once.
func (f *feed) wantLook() {
	f.wanted.Store(true)
	kick(f.bundle.lookNow)
}

// kick wakes whoever waits on a channel of capacity 1.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
