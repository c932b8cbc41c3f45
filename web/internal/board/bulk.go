package board

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/stream"
)

// Bounds of bulk operations.
const (
	maxBulks    = 4         // that run at the same time
	keptBulks   = 50        // whose end can still be looked at
	bulkTimeout = time.Hour // of one
)

// bulk is an operation on many tasks. It goes on when nobody looks, and ends with the process: what is done by then stays done, and it may be
// begun again.
type bulk struct {
	ID    string
	Queue string
	Verb  string // Replay, Purge
	Done  string // the same as what has happened
	What  string // to what
	Total int64  // about how many
	Back  string // where to go afterwards
	Began time.Time

	run    func(ctx context.Context, progress func(int)) (int, error)
	cancel context.CancelFunc

	mu      sync.Mutex
	n       int
	ended   time.Time
	stopped bool
	err     error
}

// bulks are those of this process.
type bulks struct {
	mu    sync.Mutex
	known map[string]*bulk
	order []string // IDs, oldest first
}

func newBulks() *bulks { return &bulks{known: map[string]*bulk{}} }

// add makes room for one more, or refuses.
func (s *bulks) add(one *bulk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := 0
	for _, other := range s.known {
		if other.state().Ended.IsZero() {
			running++
		}
	}
	if running >= maxBulks {
		return false
	}
	for len(s.order) >= keptBulks { // those that run are the latest
		delete(s.known, s.order[0])
		s.order = s.order[1:]
	}
	s.known[one.ID] = one
	s.order = append(s.order, one.ID)
	return true
}

func (s *bulks) get(id string) (*bulk, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.known[id]
	return one, ok
}

// begin starts a bulk operation and goes to its page.
func (b *board) begin(w http.ResponseWriter, r *http.Request, one *bulk) error {
	one.ID, one.Began = stream.NewID(), time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), bulkTimeout)
	one.cancel = cancel
	if !b.bulks.add(one) {
		cancel()
		return &failure{
			status: http.StatusTooManyRequests, title: "Too much at the same time",
			text: "Some bulk operations are under way here. Wait until one of them has ended, then press the button again.",
		}
	}
	request := requestID(ctx)
	go func() {
		defer cancel()
		n, err := one.run(ctx, one.progress)
		if err != nil && ctx.Err() == nil {
			b.logger.Warn("a bulk operation ended early", zap.String("request", request), zap.String("queue", one.Queue), zap.Error(err))
		}
		one.end(n, err)
	}()
	http.Redirect(w, r, path(b.cfg.Base, "bulk", one.ID), http.StatusSeeOther)
	return nil
}

func (o *bulk) progress(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n = n
}

func (o *bulk) end(n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n, o.err, o.ended = max(n, o.n), err, time.Now()
}

// bulkBody is how far a bulk operation is.
type bulkBody struct {
	ID, Verb, Done, What, Back, Queue string
	N, Total                          int64
	Began, Ended                      time.Time
	Stopped                           bool
	Trouble                           *failure
}

func (o *bulk) state() bulkBody {
	o.mu.Lock()
	defer o.mu.Unlock()
	body := bulkBody{
		ID: o.ID, Verb: o.Verb, Done: o.Done, What: o.What, Back: o.Back, Queue: o.Queue,
		N: int64(o.n), Total: max(o.Total, int64(o.n)), Began: o.Began, Ended: o.ended, Stopped: o.stopped,
	}
	if o.err != nil && (!o.stopped || !errors.Is(o.err, context.Canceled)) {
		body.Trouble = failureOf(o.err)
	}
	return body
}

func (b *board) bulk(_ context.Context, a args) (content, error) {
	one, ok := b.bulks.get(a.Get("id"))
	if !ok {
		return content{}, &failure{
			status: http.StatusNotFound, title: "This bulk operation is not known here",
			text: "The server was started again since, or another one runs it. What it did is done; look at the queue, and begin again if something is left.",
		}
	}
	body := one.state()
	return content{Title: body.Verb + " " + body.What, Body: body, Live: body.Ended.IsZero()}, nil
}

func (b *board) stopBulk(w http.ResponseWriter, r *http.Request, a args) error {
	one, ok := b.bulks.get(a.Get("id"))
	if !ok {
		return &failure{status: http.StatusNotFound, title: "This bulk operation is not known here", text: "It may have ended with the process that ran it."}
	}
	one.mu.Lock()
	one.stopped = one.ended.IsZero()
	one.mu.Unlock()
	one.cancel()
	b.redirect(w, r, path(b.cfg.Base, "bulk", one.ID), "stopped")
	return nil
}
