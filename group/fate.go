package group

import (
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// fate is what becomes of an item of a chunk that has no result.
type fate struct {
	kind    wire.Kind // a failure, or moved
	failure []byte
	step    *script.ScatterStep
	total   string
	tell    func() // once it is recorded; nil for an item that is handed over
}

// handedOver is the total of tasks that were given back.
const handedOver = "handed over"

// own tells whether it is only to be recorded while the entry is with this worker: a cancelled item has a failure, but nobody else is
// to run it.
func (f *fate) own() bool { return f.step != nil }

func (c *chunk) decide(i int, becomes *fate) {
	c.mu.Lock()
	if c.fates == nil {
		c.fates = make(map[int]*fate)
	}
	c.fates[i] = becomes
	c.mu.Unlock()
	c.decided(i, itemFate)
}

// retry puts an item off, as a task of its own.
func (c *chunk) retry(f *flight, next wire.Task, off putOff) {
	meta := f.metadata()
	step := script.DueStep(next, off.wait)
	c.decide(f.item, &fate{kind: wire.KindMoved, step: &step, total: off.counter, tell: func() {
		if off.err != nil {
			c.feed.deeds.failed(f, false)
		}
		if hook := c.feed.worker.cfg.Hooks.Retry; hook != nil {
			hook(meta, off.wait, off.err)
		}
	}})
}

// bury makes a dead letter of an item.
func (c *chunk) bury(f *flight, reason string, failure wire.Failure, cause error) {
	meta := f.metadata()
	step := script.DeadStep(f.task.ID, append(f.task.Fields(),
		"reason", reason, "error", errorText(cause), "worker", c.feed.worker.name, "entry", f.entry))
	c.decide(f.item, &fate{kind: wire.KindFailure, failure: failure.Encode(), step: &step, total: "dead", tell: func() {
		c.feed.deeds.failed(f, true)
		c.feed.tellDead(meta, reason, cause)
		if hook := c.feed.worker.cfg.Hooks.Dead; hook != nil {
			hook(meta, reason, cause)
		}
	}})
}

// handOver makes a task of its own of an item that was claimed, for any worker to run.
func (c *chunk) handOver(i int) {
	step := script.TaskStep(c.task(i))
	c.decide(i, &fate{kind: wire.KindMoved, step: &step, total: handedOver})
}

// handOverAll hands over all items that wait.
func (c *chunk) handOverAll() {
	for _, i := range c.claimAll() {
		c.handOver(i)
	}
	c.record()
}

// release hands over an item that was claimed, or, for the chunk or a ticket, all that wait. It is always true.
func (c *chunk) release(f *flight) bool {
	if f.item == noItem {
		c.handOverAll()
	} else {
		c.handOver(f.item)
	}
	return true
}

// giveUp is for a lease that was lost: what waits is for others, and what runs is to stop.
func (c *chunk) giveUp() {
	c.handOverAll()
	c.interrupt(ErrLeaseLost)
}

// cancel ends an item that was claimed, or, for noItem, all that wait.
func (c *chunk) cancel(item int, when string) {
	if item == noItem {
		for _, i := range c.claimAll() {
			c.cancel(i, when)
		}
		return
	}
	failure := cancelled(&c.single, when)
	c.decide(item, &fate{kind: wire.KindFailure, failure: failure.Encode(), total: "cancelled", tell: func() {
		if hook := c.feed.worker.cfg.Hooks.Cancelled; hook != nil {
			hook(c.metadata(item))
		}
	}})
}

// unknownItems puts off the items of a chunk that no handler of this worker is for.
func (w *Worker) unknownItems(c *chunk) {
	for i := c.claim(); i >= 0; i = c.claim() {
		w.unknown(&flight{feed: c.feed, entry: c.flight.entry, task: c.task(i), chunk: c, item: i})
	}
}
