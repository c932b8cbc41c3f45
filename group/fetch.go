package group

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/wire"
)

const (
	askMost      = 4                     // so many queues are asked one by one
	mostPerRead  = 1000                  // entries of one read
	recheckEvery = 50 * time.Millisecond // while no queue may be read
	unsettledMax = 4096                  // outcomes of a queue that wait for Redis: fetch no more before they are recorded
	onlyNew      = ">"                   // XREADGROUP: entries never delivered to anybody
)

// fetch fills free slots until ctx is done.
func (w *Worker) fetch(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { w.gate.close(w.life, func() { w.interrupt(w.life) }) })()
	var backoff patience
	for ctx.Err() == nil {
		room := w.pool.want()
		if room == 0 {
			w.awaitRoom(ctx)
			continue
		}
		err := w.round(ctx, min(room, mostPerRead))
		switch {
		case errors.Is(err, errShut):
			w.awaitOpen(ctx)
		case err != nil:
			w.log.Warn("cannot read queues", zap.Error(err))
			backoff.pause(ctx)
		default:
			backoff.reset()
		}
	}
	return nil
}

func (w *Worker) awaitRoom(ctx context.Context) {
	timer := time.NewTimer(blockFor) // in case an audit is wanted meanwhile
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.pool.freed:
	case <-timer.C:
	}
}

// awaitOpen waits until a queue may be read again.
func (w *Worker) awaitOpen(ctx context.Context) {
	timer := time.NewTimer(recheckEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.reopen:
	case <-timer.C:
	}
}

// settled lets the fetcher read a queue again whose outcomes had piled up.
func (w *Worker) settled(c *committer) {
	if c.backlog() <= unsettledMax/2 {
		kick(w.reopen)
	}
}

// round asks the queues once, in the order of the policy, and waits for the first task when all were empty.
func (w *Worker) round(ctx context.Context, room int) error {
	feeds, err := w.readable(ctx)
	if err != nil {
		return err
	}
	if len(feeds) == 0 {
		return errShut
	}
	if len(feeds) == 1 {
		_, err := w.read(ctx, feeds, room, blockFor)
		return err
	}
	ask := feeds
	if len(feeds) > askMost && w.shared != nil {
		if ask, err = w.stocked(ctx, feeds); err != nil {
			return err
		}
	}
	found := 0
	for _, f := range ask {
		if room <= found {
			break
		}
		n, err := w.read(ctx, []*feed{f}, room-found, 0)
		found += n
		if err != nil {
			return err
		}
	}
	if found > 0 {
		return nil
	}
	return w.park(ctx, feeds, max(1, room/len(feeds)))
}

// stocked returns those of many queues where entries wait, in the same order: to read each would take too long.
func (w *Worker) stocked(ctx context.Context, feeds []*feed) ([]*feed, error) {
	queues := make([]wire.Keys, len(feeds))
	for i, f := range feeds {
		queues[i] = f.keys
	}
	found, err := w.aside.Scripts().Waiting(ctx, queues, w.store.Group())
	if err != nil {
		return nil, err
	}
	some := make([]*feed, len(found))
	for i, n := range found {
		some[i] = feeds[n]
	}
	return some, nil
}

// errShut says that nothing may be read just now.
var errShut = errors.New("group: nothing may be read now")

// readable returns the queues that may be read now, in order, with their groups made and their lost deliveries found.
func (w *Worker) readable(ctx context.Context) ([]*feed, error) {
	order := w.policy.next()
	open := order[:0]
	for _, f := range order {
		if !f.open() || f.commits.backlog() > unsettledMax || f.scatters.backlog() > maxScatterChunks {
			continue
		}
		if f.homeless {
			if err := f.makeGroup(ctx); err != nil {
				return nil, err
			}
			// A new group starts at 0: what it delivers may be below all that was ever fetched.
			f.homeless, f.highest, f.doubtful = false, entryID{}, true
		}
		if f.audit.Swap(false) {
			if err := w.history(ctx, f, entryID{}); err != nil {
				f.audit.Store(true)
				return nil, err
			}
			f.doubtful = false
		}
		if f.doubtful {
			if err := w.history(ctx, f, f.highest); err != nil {
				return nil, err
			}
			f.doubtful = false
		}
		open = append(open, f)
	}
	return open, nil
}

// park waits for the first task of any of several empty queues.
func (w *Worker) park(ctx context.Context, feeds []*feed, count int) error {
	if w.shared != nil {
		_, err := w.read(ctx, feeds, count, blockFor)
		return err
	}
	// On a cluster one read cannot wait for keys of several nodes. The first answer ends the others.
	var (
		group sync.WaitGroup
		once  sync.Once
		mu    sync.Mutex
		fault error
	)
	for _, f := range feeds {
		group.Go(func() {
			_, err := w.read(ctx, []*feed{f}, count, blockFor)
			mu.Lock()
			if err != nil {
				fault = err
			}
			mu.Unlock()
			once.Do(func() {
				for _, other := range feeds {
					if other != f {
						other.reader.Interrupt(ctx)
					}
				}
			})
		})
	}
	group.Wait()
	return fault
}

// read is one XREADGROUP for new entries of feeds that share a reader. What it returns an error for may have been delivered all
// the same: the history is read first next time.
func (w *Worker) read(ctx context.Context, feeds []*feed, count int, block time.Duration) (int, error) {
	if !w.gate.enter() {
		return 0, errShut
	}
	defer w.gate.leave()
	keys, ids := make([]string, len(feeds)), make([]string, len(feeds))
	for i, f := range feeds {
		keys[i], ids[i] = f.keys.Tasks(), onlyNew
	}
	for _, f := range feeds { // whoever waits across half of the lease must not be given anything any more
		if block > 0 {
			block = max(time.Millisecond, min(block, w.cfg.Lease/2-f.leaseAge()))
		}
	}
	streams, err := feeds[0].reader.ReadGroup(ctx, conn.GroupRead{
		Group: w.store.Group(), Consumer: w.name, Count: count, Block: block, Keys: keys, IDs: ids,
	})
	if err != nil {
		return 0, w.readFailed(feeds, err)
	}
	found := 0
	for _, s := range streams {
		if f := w.byTasks[s.Key]; f != nil {
			f.noteHighest(s.Entries)
			found += f.admit(ctx, s.Entries)
		}
	}
	if found == 1 {
		runtime.Gosched() // a lone task starts BEFORE the next read is sent
	}
	return found, nil
}

// readFailed notes what the feeds must do before they are read again; it returns nil for what is no trouble.
func (w *Worker) readFailed(feeds []*feed, err error) error {
	lost := conn.IsNoGroup(err) || conn.IsUnblocked(err)
	for _, f := range feeds {
		f.homeless = f.homeless || lost
		f.doubtful = f.doubtful || !conn.NotSent(err)
	}
	if lost {
		w.log.Warn("the stream or its consumer group was removed and is made again", zap.Error(err))
		return nil
	}
	return err
}

// noteHighest takes entries in their order.
func (f *feed) noteHighest(entries []conn.Entry) {
	if len(entries) == 0 {
		return
	}
	if id := parseEntryID(entries[len(entries)-1].ID); f.highest.less(id) {
		f.highest = id
	}
}

// interrupt ends blocked reads.
func (w *Worker) interrupt(ctx context.Context) {
	if w.shared != nil {
		w.shared.Interrupt(ctx)
		return
	}
	for _, f := range w.feeds {
		f.reader.Interrupt(ctx)
	}
}

// stir makes the fetcher look around: something other than a new task wants it.
func (w *Worker) stir() {
	w.pool.wake()
	go w.interrupt(w.life)
}
