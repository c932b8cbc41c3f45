package group

import (
	"context"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/mutant"
	"github.com/athoune/worker-machine/internal/script"
)

// historyPage is how many pending entries one read returns.
const historyPage = 256

// history reads what is pending with this worker above an ID, and takes what it does not have in hand: deliveries whose reply was
// lost. The fetcher calls it, with no read under way.
func (w *Worker) history(ctx context.Context, f *feed, after entryID) error {
	if mutant.Reconcile {
		return nil
	}
	if !w.gate.enter() {
		return errShut
	}
	defer w.gate.leave()
	f.claiming.Lock()
	defer f.claiming.Unlock()
	defer f.flights.watch()()
	found, empty := 0, 0
	for {
		streams, err := f.reader.ReadGroup(ctx, conn.GroupRead{
			Group: w.store.Group(), Consumer: w.name, Count: historyPage,
			Keys: []string{f.keys.Tasks()}, IDs: []string{after.String()},
		})
		if err != nil {
			return w.readFailed([]*feed{f}, err)
		}
		if len(streams) == 0 || len(streams[0].Entries) == 0 {
			// An interrupt that came while nobody read makes one read come back empty: ask twice.
			if empty++; empty == 2 {
				break
			}
			continue
		}
		page := streams[0].Entries
		f.noteHighest(page)
		after = parseEntryID(page[len(page)-1].ID)
		found += f.admitLost(ctx, page)
		if len(page) < historyPage {
			break
		}
	}
	if found > 0 {
		f.log.Warn("found tasks that were delivered while their reply was lost", zap.Int("tasks", found))
		f.worker.hookReclaimed(f, found)
	}
	return nil
}

// admitLost takes entries of the history that are not in hand. They may be claimed ones, so their crashes are asked for.
func (f *feed) admitLost(ctx context.Context, page []conn.Entry) int {
	unknown := make([]conn.Entry, 0, len(page))
	ids := make([]string, 0, len(page))
	f.flights.mu.Lock()
	for _, e := range page {
		if f.flights.byEntry[e.ID] == nil && !f.flights.gone[e.ID] {
			unknown = append(unknown, e)
			ids = append(ids, e.ID)
		}
	}
	f.flights.mu.Unlock()
	if len(unknown) == 0 {
		return 0
	}
	crashes, err := f.worker.store.Client().HMGet(ctx, f.keys.Crashes(), ids...).Result()
	entries := make([]script.Entry, len(unknown))
	for i, e := range unknown {
		entries[i] = script.Entry{ID: e.ID, Fields: e.Fields}
		if err == nil && i < len(crashes) {
			entries[i].Crashes = atoi(crashes[i])
		}
	}
	return f.admitEntries(ctx, entries)
}

// reconcile asks Redis what is pending with this worker and gives up what is not: the lease was lost, and others took it.
func (f *feed) reconcile(ctx context.Context) error {
	had := f.flights.list() // BEFORE asking: what comes later is pending for sure
	if len(had) == 0 {
		return nil
	}
	pending := map[string]bool{}
	for start := "-"; ; {
		rows, err := f.worker.beats.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: f.keys.Tasks(), Group: f.worker.store.Group(), Start: start, End: "+", Count: historyPage, Consumer: f.worker.name,
		}).Result()
		if conn.IsNoGroup(err) {
			return nil // a new group delivers everything again: keep what runs, the commit decides
		}
		if err != nil {
			return err
		}
		for _, row := range rows {
			pending[row.ID] = true
		}
		if len(rows) < historyPage {
			break
		}
		start = "(" + rows[len(rows)-1].ID
	}
	lost := had[:0]
	for _, flight := range had {
		if !pending[flight.entry] {
			lost = append(lost, flight)
		}
	}
	f.giveUp(lost)
	return nil
}

// giveUp cancels the handlers of flights and forgets those that have not started. An outcome that is on its way stays: if it is
// the first, it counts.
func (f *feed) giveUp(lost []*flight) {
	if len(lost) == 0 {
		return
	}
	chosen := make(map[*flight]bool, len(lost))
	for _, flight := range lost {
		chosen[flight] = flight.chunk == nil
		if flight.chunk != nil {
			flight.chunk.giveUp()
		}
	}
	f.flights.remove(f.worker.pool.take(func(flight *flight) bool { return chosen[flight] })...)
	for _, one := range lost {
		if one.chunk != nil {
			continue
		}
		if one.move(flightWaiting, flightEnded) { // a suspect, or just on its way to the pool
			f.flights.remove(one)
		}
		if one.state.Load() == flightRunning {
			one.context.end(ErrLeaseLost)
		}
	}
}
