package group

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/wire"
)

// stop ends a task that was cancelled: one that waits is dropped, the handler of one that runs is told. The ID may be that of a chunk, or
// of an item.
func (f *feed) stop(id string) {
	f.cancelWaiting(id)
	for _, one := range f.flights.named(id) {
		switch {
		case one.chunk != nil:
			one.chunk.interrupt(ErrCancelled)
		case one.move(flightWaiting, flightEnded): // a suspect, or just on its way to the pool
			f.cancel(one, cancelledWaiting)
		default:
			one.context.end(ErrCancelled)
		}
	}
	if chunk, item, ok := wire.ItemOf(id); ok {
		for _, c := range f.chunks.named(chunk) {
			c.stop(item)
		}
	}
}

// stop ends one item.
func (c *chunk) stop(item int) {
	if item >= len(c.state) {
		return
	}
	if c.state[item].CompareAndSwap(itemWaiting, itemRunning) {
		c.cancel(item, cancelledWaiting)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stops == nil {
		c.stops = map[int]bool{}
	}
	c.stops[item] = true
	c.halted.Store(true) // BEFORE it looks for its context
	for r := range c.runners {
		if x := r.current.Load(); x != nil && x.item == item {
			x.real().context.end(ErrCancelled)
		}
	}
}

// inHand is the chunk's ID and those of its items that run.
func (c *chunk) inHand() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := []string{c.flight.task.ID}
	for r := range c.runners {
		if x := r.current.Load(); x != nil {
			ids = append(ids, wire.IDAt(c.ids, x.item))
		}
	}
	return ids
}

// stopsAtOnce is how many tasks one command asks for.
const stopsAtOnce = 500

// stopUnheard makes up for words that were missed: as often as a lease is renewed, or at once after the subscription was lost, it looks
// whether tasks were cancelled that are here for as long. A worker of short tasks asks nothing, one of long tasks for one field.
func (r *rescuer) stopUnheard(ctx context.Context) {
	now := time.Now()
	for i := range r.rows {
		row := &r.rows[i]
		f := row.feed
		each := f.worker.cfg.Lease / beatsPerLease
		unheard := f.unheard.Swap(false)
		if now.Before(row.nextStops) && !unheard {
			continue
		}
		row.nextStops = now.Add(each)
		if unheard {
			each = 0
		}
		if len(f.heldFor(now.Add(-each))) > 0 {
			r.stopNoted(ctx, row)
		}
	}
}

// stopNoted stops those of all tasks in hand that were cancelled, if there is anything new in that.
func (r *rescuer) stopNoted(ctx context.Context, row *rescueRow) {
	f := row.feed
	stops, err := r.worker.own.HGet(ctx, f.keys.State(), stateStops).Result()
	if errors.Is(err, redis.Nil) || err == nil && stops == row.stops {
		return
	}
	for some := range slices.Chunk(f.heldFor(time.Now()), stopsAtOnce) { // those that came since, too: it is not asked again for them
		if err != nil {
			break
		}
		var cancelled []bool
		cancelled, err = r.worker.aside.Scripts().Cancelled(ctx, f.keys, some)
		for i := range cancelled {
			if cancelled[i] {
				f.stop(some[i])
			}
		}
	}
	if err != nil {
		f.unheard.Store(true) // look again
		if f.worker.logged.allow("stops " + f.queue.Name) {
			f.log.Warn("cannot ask which tasks were cancelled, trying again", zap.Error(err))
		}
		return
	}
	row.stops = stops
}

// heldFor are the IDs of the tasks that came before a time and are here still.
func (f *feed) heldFor(before time.Time) (ids []string) {
	f.flights.mu.Lock()
	var chunks []*chunk
	for _, one := range f.flights.byEntry {
		switch {
		case one.arrived.After(before):
		case one.chunk != nil:
			chunks = append(chunks, one.chunk)
		default:
			ids = append(ids, one.task.ID)
		}
	}
	f.flights.mu.Unlock()
	for _, c := range chunks {
		ids = append(ids, c.inHand()...)
	}
	return ids
}
