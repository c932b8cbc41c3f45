package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/wire"
)

// cancelWithin bounds what a caller that leaves early still does.
const cancelWithin = 2 * time.Second

// caller is the one session of a client on a queue that all its calls share.
type caller struct {
	session *Session
	stop    context.CancelFunc
	ended   chan struct{}

	mu      sync.Mutex
	waiting map[string]chan Outcome
}

// Call runs a task on some worker and waits for its result. A failure comes back as a [*TaskError]. When ctx ends first, the task is
// cancelled if it has not started, and the error is that of ctx. With [Unique], a duplicate is an error that is [ErrDuplicate].
func (f Func[In, Out]) Call(ctx context.Context, c *Client, in In, options ...Option) (out Out, err error) {
	o, err := f.order(c, in, options)
	if err == nil && o.keep > 0 {
		err = errors.New("option Keep does not fit a call: enqueue the task and Await it instead")
	}
	if err != nil {
		return out, f.wrap("call", err)
	}
	caller, err := c.caller(ctx, f.queue())
	if err != nil {
		return out, f.wrap("call", err)
	}
	done := f.sending(ctx, c, "call", o)
	outcome, err := caller.call(ctx, o)
	if err == nil && outcome.Kind != wire.KindResult {
		err = NewTaskError(outcome)
	}
	if err == nil {
		out, err = f.DecodeOut(outcome.Payload)
	}
	done(err)
	return out, f.wrap("call", err)
}

// caller returns the client's session for calls on a queue, and opens it at the first.
func (c *Client) caller(ctx context.Context, queue string) (*caller, error) {
	c.mu.Lock()
	found, closed := c.callers[queue], c.closed
	c.mu.Unlock()
	if found != nil || closed {
		return found, closedError(closed)
	}
	session, err := c.OpenSession(ctx, queue)
	if err != nil {
		return nil, err
	}
	if found = c.share(ctx, queue, session); found == nil {
		c.discard(context.WithoutCancel(ctx), session)
		return nil, ErrClosed
	}
	return found, nil
}

// share has all calls of a queue use a session, or the one there is already; nil when the client is closed.
func (c *Client) share(ctx context.Context, queue string, session *Session) *caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.callers[queue]
	switch {
	case c.closed:
	case found != nil: // somebody was faster
		c.discards.Go(func() { c.discard(context.WithoutCancel(ctx), session) })
	default:
		found = newCaller(ctx, session)
		c.callers[queue] = found
	}
	return found
}

func closedError(closed bool) error {
	if closed {
		return ErrClosed
	}
	return nil
}

func (c *Client) discard(ctx context.Context, s *Session) {
	if err := s.Close(ctx); err != nil {
		c.store.logger.Debug("close a session that is not needed", zap.Error(err))
	}
}

func newCaller(ctx context.Context, session *Session) *caller {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &caller{session: session, stop: stop, ended: make(chan struct{}), waiting: make(map[string]chan Outcome)}
	go c.dispatch(ctx)
	return c
}

// dispatch hands each outcome to the call that waits for it.
func (c *caller) dispatch(ctx context.Context) {
	defer close(c.ended)
	for {
		outcomes, err := c.session.Next(ctx)
		if errors.Is(err, ErrUnavailable) {
			continue // a call waits as long as its context says
		}
		if err != nil {
			break
		}
		c.mu.Lock()
		for _, o := range outcomes {
			if wait := c.waiting[o.TaskID]; wait != nil {
				delete(c.waiting, o.TaskID)
				wait <- o
			}
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, wait := range c.waiting {
		close(wait)
	}
	c.waiting = nil
}

// call sends one task and waits for its outcome. It waits BEFORE it sends: the outcome may be in before the answer is.
func (c *caller) call(ctx context.Context, o *order) (Outcome, error) {
	wait := make(chan Outcome, 1)
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return Outcome{}, ErrClosed
	}
	c.waiting[o.task.ID] = wait
	c.mu.Unlock()
	if _, err := c.session.send(ctx, []*order{o}); err != nil && !errors.Is(err, ErrNotReplicated) {
		c.leave(ctx, o.task.ID)
		return Outcome{}, err
	}
	select {
	case outcome, ok := <-wait:
		if !ok {
			return Outcome{}, ErrClosed
		}
		return outcome, nil
	case <-ctx.Done():
		c.leave(ctx, o.task.ID)
		return Outcome{}, fmt.Errorf("gave up waiting for task %s: %w", o.task.ID, context.Cause(ctx))
	}
}

// leave forgets a call, and cancels its task if it has not started.
func (c *caller) leave(ctx context.Context, id string) {
	c.mu.Lock()
	delete(c.waiting, id)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
	defer cancel()
	if err := c.session.cancel(ctx, id); err != nil {
		c.session.client.store.logger.Debug("cancel a task that nobody waits for", zap.String("task", id), zap.Error(err))
	}
}

func (c *caller) close(ctx context.Context) error {
	c.stop()
	<-c.ended
	return c.session.Close(ctx)
}
