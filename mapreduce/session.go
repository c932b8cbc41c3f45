package mapreduce

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/athoune/worker-machine/stream"
)

// closeTimeout bounds how long the end of a batch waits for the rest to be cancelled and its keys to be removed.
const closeTimeout = 2 * time.Second

// session opens the session of a batch when it is first needed, and closes it once.
type session struct {
	ctx    context.Context // of the batch: when it is done, a session that no loop uses is closed
	client *stream.Client
	queue  string
	turn   chan struct{} // holds one token; whoever opens or closes has taken it

	mu      sync.Mutex
	current *stream.Session
	over    bool
	unwatch func() bool // stops closing at the end of ctx
}

func newSession(ctx context.Context, client *stream.Client, queue string) *session {
	return &session{ctx: ctx, client: client, queue: queue, turn: make(chan struct{}, 1)}
}

// id is the session's ID, or "" before it is open.
func (h *session) id() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		return ""
	}
	return h.current.ID()
}

// hasLost tells whether Redis had lost replies of the session.
func (h *session) hasLost() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current != nil && h.current.Losses() > 0
}

// open returns the session and opens it first if need be. Until own is called, the end of the batch's context closes it.
func (h *session) open(ctx context.Context) (*stream.Session, error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if current, over := h.state(); over {
		return nil, ErrOver
	} else if current != nil {
		return current, nil
	}
	s, err := h.client.OpenSession(ctx, h.queue)
	if err != nil {
		return nil, err
	}
	own := context.WithoutCancel(ctx)
	h.mu.Lock()
	h.current = s
	// Nobody is there to be told of an error; what is left then expires.
	h.unwatch = context.AfterFunc(h.ctx, func() { _ = h.close(own) }) //nolint:contextcheck // ctx is that of one Set, not of the batch
	h.mu.Unlock()
	return s, nil
}

// own leaves it to the caller to close the session.
func (h *session) own() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unwatch()
}

// close cancels what has not started and removes the session's keys. It has a time of its own, since ctx may be done, and waits no
// longer than that; later calls do nothing.
func (h *session) close(ctx context.Context) error {
	h.turn <- struct{}{} // held for no longer than an open or a close takes
	defer func() { <-h.turn }()
	s, over := h.state()
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	if s == nil || over {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	closed := make(chan error, 1)
	go func() {
		defer cancel()
		closed <- s.Close(ctx)
	}()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done(): // a connection that does not answer is given up by its own timeout, seconds later
	}
	select {
	case err := <-closed:
		return err
	default:
		return fmt.Errorf("%w: what could not be removed expires", stream.ErrUnavailable)
	}
}

func (h *session) state() (current *stream.Session, over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current, h.over
}
