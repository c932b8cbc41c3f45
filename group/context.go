package group

import (
	"context"
	"sync"
	"time"
)

// taskContext is the context of one handler call. Most handlers of short tasks never look at theirs, so the real one, with its
// timer and its place among the children of the worker's, is made when it is first asked for.
type taskContext struct {
	parent context.Context // carries values and is not cancelled while handlers run
	flight *flight
	limit  time.Time // zero: none

	mu     sync.Mutex
	inner  context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the timer
	cause  error              // of a cancellation before inner was made
}

// Deadline is when the attempt's time is over.
func (c *taskContext) Deadline() (time.Time, bool) {
	if c.limit.IsZero() {
		return c.parent.Deadline()
	}
	return c.limit, true
}

// Done is closed when the handler is to stop.
func (c *taskContext) Done() <-chan struct{} { return c.real().Done() }

// Err tells why Done is closed.
func (c *taskContext) Err() error {
	c.mu.Lock()
	untouched := c.inner == nil && c.cause == nil && c.limit.IsZero()
	c.mu.Unlock()
	if untouched {
		return nil
	}
	return c.real().Err()
}

// Value finds the flight, and what the context given to Run holds.
func (c *taskContext) Value(key any) any {
	if key == (flightKey{}) {
		return c.flight
	}
	return c.real().Value(key) // also how the standard library finds the cause
}

func (c *taskContext) real() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner != nil {
		return c.inner
	}
	c.inner, c.cancel = context.WithCancelCause(c.parent)
	if c.cause != nil {
		c.cancel(c.cause)
	}
	if !c.limit.IsZero() {
		c.inner, c.stop = context.WithDeadlineCause(c.inner, c.limit, ErrTimeout)
	}
	return c.inner
}

// end cancels the context; the first cause stays.
func (c *taskContext) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
	}
	if c.cancel != nil {
		c.cancel(cause)
	}
	if c.stop != nil {
		c.stop()
	}
}

// endedBy is the cause given to end, nil when it was not called.
func (c *taskContext) endedBy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}
