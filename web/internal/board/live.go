package board

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/web/internal/guard"
)

// Bounds of live updates.
const (
	liveEvery    = 2 * time.Second  // how often what people look at is read again, at best
	liveShare    = 50               // and at most this part of the time is spent reading
	liveBrowsers = 64               // at the same time
	liveTopics   = 16               // different pages at the same time
	liveLength   = 10 * time.Minute // of one connection; then the browser comes again, and its rights are looked at again
	livePing     = 15 * time.Second // so that a middlebox does not take it for dead
	liveWrite    = 5 * time.Second  // how long a browser may take to read an update
	liveAhead    = 4                // updates that may wait for a browser; it is dropped when there are more
)

// frame is a fragment of a page as it is now.
type frame struct {
	ID   string `json:"id"`
	HTML string `json:"html"`
}

// hub reads what browsers look at, once for all that look at the same, and only while somebody does.
type hub struct {
	read  func(ctx context.Context, topic string, a args) (frames []frame, over bool, err error)
	every time.Duration

	mu     sync.Mutex
	topics map[string]*topic
	n      int // browsers
}

// topic is a page with its arguments, and who looks at it.
type topic struct {
	page   string
	args   args
	cancel context.CancelFunc
	feeds  map[*feed]bool
	last   map[string]string // the fragments that were sent last, by ID
	order  []string
}

// feed is one browser.
type feed struct {
	updates chan []byte // closed when it is dropped, or when nothing will change any more
	over    bool        // the latter; read after updates is closed
}

func newHub(read func(context.Context, string, args) ([]frame, bool, error)) *hub {
	return &hub{read: read, every: liveEvery, topics: map[string]*topic{}}
}

var errBusy = errors.New("board: too many browsers look")

// join adds a browser to a topic; leave removes it. The last one to leave ends the reading.
func (h *hub) join(ctx context.Context, page string, a args) (f *feed, leave func(), err error) {
	key := page + "?" + a.Encode()
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[key]
	if h.n >= liveBrowsers || t == nil && len(h.topics) >= liveTopics {
		return nil, nil, errBusy
	}
	f = &feed{updates: make(chan []byte, liveAhead)}
	if t == nil {
		// It outlives the browser that came first.
		reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
		t = &topic{page: page, args: args{Values: a.Values, role: guard.Nobody}, cancel: cancel, feeds: map[*feed]bool{}, last: map[string]string{}}
		h.topics[key] = t
		go h.poll(reading, key, t)
	}
	if len(t.order) > 0 {
		f.updates <- t.encode(t.order)
	}
	t.feeds[f] = true
	h.n++
	return f, func() { h.leave(key, t, f) }, nil
}

func (h *hub) leave(key string, t *topic, f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n--
	if t.feeds[f] {
		delete(t.feeds, f)
	}
	if len(t.feeds) == 0 {
		h.drop(key, t)
	}
}

// drop ends a topic. The hub is locked.
func (h *hub) drop(key string, t *topic) {
	t.cancel()
	if h.topics[key] == t {
		delete(h.topics, key)
	}
}

// poll reads a topic until nobody looks at it or nothing can change any more.
func (h *hub) poll(ctx context.Context, key string, t *topic) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, loadTimeout)
		frames, over, err := h.read(limited, t.page, t.args)
		cancel()
		h.publish(key, t, frames, err == nil && over)
		wait.Reset(max(h.every, liveShare*time.Since(began)))
	}
}

// publish sends what has changed to all who look. Who cannot follow is dropped: their browser comes again when it can.
func (h *hub) publish(key string, t *topic, frames []frame, over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var changed []string
	for _, f := range frames {
		old, known := t.last[f.ID]
		if !known {
			t.order = append(t.order, f.ID)
		}
		if !known || old != f.HTML {
			t.last[f.ID] = f.HTML
			changed = append(changed, f.ID)
		}
	}
	update := t.encode(changed)
	for f := range t.feeds {
		if len(changed) > 0 {
			select {
			case f.updates <- update:
			default:
				close(f.updates)
				delete(t.feeds, f)
				continue
			}
		}
		if over {
			f.over = true
			close(f.updates)
			delete(t.feeds, f)
		}
	}
	if len(t.feeds) == 0 {
		h.drop(key, t)
	}
}

// encode is an update of some fragments, as it is sent.
func (t *topic) encode(ids []string) []byte {
	frames := make([]frame, 0, len(ids))
	for _, id := range ids {
		frames = append(frames, frame{ID: id, HTML: t.last[id]})
	}
	text, _ := json.Marshal(frames) // strings always can be
	return fmt.Appendf(nil, "event: fragments\ndata: %s\n\n", text)
}

// refresh renders the fragments of a page, for everybody: it is given no role.
func (b *board) refresh(ctx context.Context, page string, a args) (frames []frame, over bool, err error) {
	c, err := b.pages[page].load(ctx, a)
	if err != nil {
		b.logger.Debug("a live update could not be read", zap.String("page", page), zap.Error(err))
		return nil, false, err
	}
	for _, name := range b.templates[page].fragments {
		var text bytes.Buffer
		if err := b.templates[page].set.ExecuteTemplate(&text, name, c.Body); err != nil {
			b.logger.Error("the dashboard could not render a fragment", zap.String("fragment", name), zap.Error(err))
			return nil, false, err
		}
		frames = append(frames, frame{ID: name, HTML: string(visible(text.Bytes()))})
	}
	return frames, !c.Live, nil
}

// serveLive sends updates to one browser.
func (b *board) serveLive(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("page")
	p, ok := b.pages[name]
	if !ok || !p.live {
		http.NotFound(w, r)
		return
	}
	if guard.Of(r.Context()) < p.role {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	a, err := newArgs(r, guard.Nobody)
	if err != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	f, leave, err := b.live.join(r.Context(), name, a)
	if err != nil {
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many browsers look at live updates", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	b.pump(w, r, f)
}

// pump writes updates until the browser is gone, too slow, or has had its time.
func (b *board) pump(w http.ResponseWriter, r *http.Request, f *feed) {
	send := sender(w)
	end := time.NewTimer(liveLength)
	defer end.Stop()
	ping := time.NewTicker(livePing)
	defer ping.Stop()
	text, open := []byte("retry: 3000\n\n"), true
	for open && send(text) {
		select {
		case <-r.Context().Done():
			return
		case <-b.cfg.Ending:
			return
		case <-end.C:
			return
		case <-ping.C:
			text = []byte(": still here\n\n")
		case text, open = <-f.updates:
		}
	}
	if !open && f.over {
		send([]byte("event: over\ndata: {}\n\n"))
	}
}

// sender writes to a browser, which has a time to take it, and tells whether it did.
func sender(w http.ResponseWriter) func(text []byte) bool {
	control := http.NewResponseController(w)
	return func(text []byte) bool {
		// The server's own limit is for answers that end. Where there is none to set, the browser's leaving still ends this.
		_ = control.SetWriteDeadline(time.Now().Add(liveWrite))
		if _, err := w.Write(text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
}
