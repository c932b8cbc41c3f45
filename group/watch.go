package group

import (
	"time"
)

const (
	watchEvery = 2 * time.Millisecond   // chunks in hand are looked at
	stallAfter = 20 * time.Millisecond  // no item ended for so long
	slowAfter  = 30 * time.Millisecond  // a chunk that runs for longer may be shared
	longAfter  = 100 * time.Millisecond // and is, when what waits would take longer
	tellEvery  = 50 * time.Millisecond  // outcomes of a chunk that runs do not wait for longer
)

// watch is what the watcher remembers of a chunk.
type watch struct {
	undecided int32
	moved     time.Time // when an item ended last
	told      time.Time // when outcomes were last recorded
}

// watchChunks looks after chunks while there are any: one whose items are slow gets more slots of this worker, then gives what waits
// to all workers, and does not keep the outcomes of the others back.
func (f *feed) watchChunks() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-f.worker.life.Done():
			return
		case now := <-ticker.C:
			for _, c := range f.chunks.list() {
				c.look(now)
			}
		}
		f.chunks.mu.Lock()
		if len(f.chunks.all) == 0 {
			f.chunks.watching = false
			f.chunks.mu.Unlock()
			return
		}
		f.chunks.mu.Unlock()
	}
}

// watchOver adds chunks, and starts the watcher if it does not run.
func (f *feed) watchOver(c *chunk) {
	f.chunks.mu.Lock()
	defer f.chunks.mu.Unlock()
	f.chunks.all = append(f.chunks.all, c)
	if !f.chunks.watching {
		f.chunks.watching = true
		go f.watchChunks()
	}
}

// look is one look at a chunk. Only the watcher calls it.
func (c *chunk) look(now time.Time) {
	began, undecided := c.began.Load(), c.undecided.Load()
	if began == 0 || undecided == 0 {
		return
	}
	if c.watch.told.IsZero() {
		c.watch = watch{undecided: undecided, moved: now, told: now}
	}
	if undecided != c.watch.undecided {
		c.watch.undecided, c.watch.moved = undecided, now
	}
	age := now.Sub(c.feed.worker.began) - time.Duration(began)
	stalled := now.Sub(c.watch.moved) >= stallAfter
	if waiting := len(c.state) - int(c.next.Load()); waiting > 0 && age >= watchEvery {
		c.spread(waiting)
		rest := age / time.Duration(max(1, len(c.state)-int(undecided))) * time.Duration(waiting)
		if age >= slowAfter && (stalled || rest > longAfter) {
			c.handOverAll()
			c.watch.told = now
		}
	}
	c.tell(now, stalled)
}

// tell has the outcomes so far told, if they have waited for long.
func (c *chunk) tell(now time.Time, stalled bool) {
	untold := now.Sub(c.watch.told)
	if untold >= tellEvery || stalled && untold >= stallAfter {
		c.watch.told = now
		c.record()
	}
}

// spread asks for more slots, as many as there are items that wait.
func (c *chunk) spread(waiting int) {
	pool := c.feed.worker.pool
	for n := min(waiting, pool.limit-int(c.tickets.Load()), pool.free()); n > 0; n-- {
		c.ticket()
	}
}
