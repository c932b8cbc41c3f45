package group

import (
	"context"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// admit takes new entries in hand; it returns how many there were.
func (f *feed) admit(ctx context.Context, entries []conn.Entry) int {
	batch := make([]flight, len(entries))
	fresh := make([]*flight, 0, len(entries))
	f.reads++
	bytes := 0
	for i, e := range entries {
		for _, field := range e.Fields {
			bytes += len(field)
		}
		batch[i].read, batch[i].place = f.reads, i
		fresh = f.prepare(fresh, &batch[i], script.Entry{ID: e.ID, Fields: e.Fields}, wire.DecodeOwn)
	}
	if len(entries) > 0 {
		f.worker.pool.weigh(len(entries), bytes)
	}
	items := 0 // more than entries
	for _, one := range fresh {
		items += max(1, one.task.Items) - 1
	}
	f.enlist(ctx, fresh)
	if hook := f.worker.cfg.Hooks.Fetched; hook != nil && len(entries) > 0 {
		hook(f.queue.Name, len(entries)+items)
	}
	return len(entries)
}

// admitEntries takes in hand what was taken over from others, or was found lost; it returns how many were new.
func (f *feed) admitEntries(ctx context.Context, entries []script.Entry) int {
	batch := make([]flight, len(entries))
	fresh := make([]*flight, 0, len(entries))
	for i, e := range entries {
		fresh = f.prepare(fresh, &batch[i], e, wire.Decode)
	}
	for _, one := range fresh {
		one.claimed = true
		if one.chunk != nil {
			one.chunk.split = true
			one.chunk.single.Promoted = true // who runs an item of it asks first whether it was cancelled meanwhile
		}
	}
	return f.enlist(ctx, fresh)
}

// prepare decodes an entry into flight and adds it to fresh. What is no task is settled at once.
func (f *feed) prepare(fresh []*flight, into *flight, e script.Entry, decode func([]string) (wire.Task, error)) []*flight {
	into.feed, into.entry, into.crashes, into.fence = f, e.ID, e.Crashes, *f.fence.Load()
	into.context.parent, into.context.flight = f.worker.life, into
	if e.ID == "" {
		return fresh
	}
	if e.Fields == nil {
		f.dropDeleted(into)
		return fresh
	}
	task, err := decode(e.Fields)
	if err != nil {
		f.buryRaw(into, e.Fields, err)
		return fresh
	}
	into.task = task
	if task.Items > 0 {
		return f.prepareChunk(fresh, into)
	}
	if crashLoop(&e) {
		f.buryCrashed(into)
		return fresh
	}
	return append(fresh, into)
}

// prepareChunk is prepare for an entry of many items.
func (f *feed) prepareChunk(fresh []*flight, into *flight) []*flight {
	c, err := newChunk(into)
	if err == nil {
		into.chunk, into.item = c, noItem
		return append(fresh, into)
	}
	if f.hold(into) {
		f.bury(into, wire.ReasonMalformed, err)
	}
	return fresh
}

// enlist registers flights, sorts out cancelled ones and suspects, and hands the rest to the pool.
func (f *feed) enlist(ctx context.Context, fresh []*flight) int {
	now := time.Now()
	for _, flight := range fresh {
		flight.arrived = now // BEFORE others see it
	}
	fresh = f.flights.add(fresh)
	if len(fresh) == 0 {
		return 0
	}
	count := len(fresh)
	doubtful := false
	for _, flight := range fresh {
		doubtful = doubtful || flight.doubtful()
		if flight.chunk != nil {
			f.watchOver(flight.chunk)
		}
	}
	if doubtful {
		fresh = f.dropCancelled(ctx, fresh)
	}
	f.worker.pool.push(f.sortOut(fresh))
	if f.hints.any() { // one of them may have come meanwhile
		for _, one := range f.worker.pool.take(func(one *flight) bool { return one.feed == f && f.hints.has(one.task.ID) }) {
			f.cancel(one, cancelledWaiting)
		}
	}
	return count
}

// sortOut ends flights that were said to be cancelled, sets suspects apart, and returns the others.
func (f *feed) sortOut(fresh []*flight) []*flight {
	hinted := f.hints.any()
	ready := fresh[:0]
	for _, flight := range fresh {
		if hinted && f.hints.has(flight.task.ID) && flight.move(flightWaiting, flightEnded) {
			f.cancel(flight, cancelledWaiting)
			continue
		}
		if flight.chunk != nil && flight.chunk.split {
			flight.chunk.handOverAll()
			continue
		}
		if flight.suspect() {
			f.worker.suspects.add(flight)
			continue
		}
		ready = append(ready, flight)
	}
	return ready
}

// doubtful tells whether the task may have been cancelled without a word to this worker: while it waited to be due, or while another
// worker had it.
func (f *flight) doubtful() bool { return f.task.Promoted || f.claimed }

// dropCancelled ends flights of tasks that were cancelled while they were elsewhere, and returns the others. When Redis does
// not answer they start: cancelling is a courtesy to save work.
func (f *feed) dropCancelled(ctx context.Context, fresh []*flight) []*flight {
	asked := make([]*flight, 0, len(fresh))
	ids := make([]string, 0, len(fresh))
	for _, flight := range fresh {
		if flight.doubtful() {
			asked = append(asked, flight)
			ids = append(ids, flight.task.ID)
		}
	}
	cancelled, err := f.worker.store.Scripts().Cancelled(ctx, f.keys, ids)
	if err != nil {
		f.log.Warn("cannot ask for cancelled tasks", zap.Error(err))
		return fresh
	}
	any := false
	for i, flight := range asked {
		if cancelled[i] && flight.move(flightWaiting, flightEnded) {
			f.cancel(flight, cancelledWaiting)
			any = true
		}
	}
	if !any {
		return fresh
	}
	kept := fresh[:0]
	for _, flight := range fresh {
		if flight.state.Load() == flightWaiting {
			kept = append(kept, flight)
		}
	}
	return kept
}

// atoi reads a count as a Redis hash holds it, 0 for anything else.
func atoi(v any) int {
	s, _ := v.(string)
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
