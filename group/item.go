package group

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// itemContext is the context of one handler call for an item. Most handlers never look at theirs, so the flight behind it, which is
// larger than all else that an item costs, is made when it is first asked for. It is never used again: what the handler leaves
// behind may hold it.
type itemContext struct {
	chunk  *chunk
	flight atomic.Pointer[flight] // nil until it is made, or concluded
	item   int
}

// concluded stands for the flight of an item whose handler has returned and that nobody has asked for.
var concluded = new(flight)

// real is the flight of the item.
func (x *itemContext) real() *flight {
	for {
		had := x.flight.Load()
		if had != nil && had != concluded {
			return had
		}
		f := x.chunk.newFlight(x.item)
		if had == concluded {
			f.context.end(errConcluded)
		}
		if x.flight.CompareAndSwap(had, f) {
			return f
		}
	}
}

// conclude ends the context of a handler that has returned.
func (x *itemContext) conclude() {
	if !x.flight.CompareAndSwap(nil, concluded) {
		x.real().context.end(errConcluded)
	}
}

// Deadline is when the attempt's time is over.
func (x *itemContext) Deadline() (time.Time, bool) { return x.real().context.Deadline() }

// Done is closed when the handler is to stop.
func (x *itemContext) Done() <-chan struct{} { return x.real().context.Done() }

// Err tells why Done is closed.
func (x *itemContext) Err() error {
	if x.flight.Load() == nil { // who ends it makes it
		return nil
	}
	return x.real().context.Err()
}

// Value finds the flight, and what the context given to Run holds.
func (x *itemContext) Value(key any) any { return x.real().context.Value(key) }

var _ context.Context = (*itemContext)(nil)

// newFlight makes a flight of an item that is with its handler.
func (c *chunk) newFlight(i int) *flight {
	f := &flight{
		feed: c.feed, entry: c.flight.entry, fence: c.flight.fence, task: c.single, chunk: c, item: i,
		context: taskContext{parent: c.feed.worker.life},
	}
	f.context.flight = f
	f.task.ID, f.task.Payload = wire.IDAt(c.ids, i), c.payloads[i]
	f.state.Store(flightRunning)
	return f
}

// metadata describes an item.
func (c *chunk) metadata(i int) Metadata {
	m := c.meta
	m.ID = wire.IDAt(c.ids, i)
	return m
}
