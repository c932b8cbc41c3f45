package group

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
)

// feed is one queue as one worker sees it.
type feed struct {
	worker    *Worker
	queue     Queue
	keys      wire.Keys
	log       *zap.Logger
	reader    *conn.Reader
	reclaimer *reclaim.Reclaimer
	flights   flights
	commits   committer
	settles   settler
	hints     hints

	// claiming is held while entries of others, or the own history, are taken in: both find what the other one is just taking.
	claiming sync.Mutex

	// The lease. Times are since Worker.began, by the monotonic clock.
	confirmed atomic.Int64           // when the last confirmed heartbeat was SENT
	fence     atomic.Pointer[string] // of the lease
	beatNow   chan struct{}          // beat at once
	unsure    bool                   // the lease was lost, and it is not known which entries are left

	// What the fetcher must know. The first four are its own.
	highest  entryID // highest ID ever fetched as new
	doubtful bool    // a reply may be lost: read history above highest first
	homeless bool    // the group is gone: make it first
	reads    uint64  // how many reads of new entries have delivered some
	audit    atomic.Bool
	paused   atomic.Bool
	ready    atomic.Bool // there was a lease

	settled  atomic.Bool   // it is known whether presence is there
	dueNow   chan struct{} // look for due tasks at once
	lookNow  chan struct{} // look for released entries at once
	switched atomic.Bool   // the pause switch was read once
}

func newFeed(w *Worker, queue Queue) *feed {
	f := &feed{
		worker: w, queue: queue, keys: w.store.Keys(queue.Name), log: w.log.With(zap.String("queue", queue.Name)),
		flights: newFlights(), homeless: true,
		beatNow: make(chan struct{}, 1), dueNow: make(chan struct{}, 1), lookNow: make(chan struct{}, 1),
	}
	f.commits.feed, f.settles.feed = f, f
	f.fence.Store(new(string))
	return f
}

func (f *feed) openReclaimer() (err error) {
	f.reclaimer, err = reclaim.New(f.worker.store, f.queue.Name, f.worker.name, reclaim.Config{Lease: f.worker.cfg.Lease})
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

// kick wakes whoever waits on a channel of capacity 1.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
