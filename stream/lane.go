package stream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// replicaWait is how long WAIT waits at most; it is less where the client's read timeout is short.
const replicaWait = 2 * time.Second

// lane stores the tasks of one client in one queue, in order and each once: every task has a number, a script call carries the next
// ones, and the server skips what it has. One call is on its way at a time; whoever comes meanwhile goes with the next.
type lane struct {
	client *Client
	queue  string
	keys   wire.Keys

	mu       sync.Mutex
	waiting  []*ticket
	busy     bool // somebody flushes, and will look at waiting when done
	watchers map[*Session]struct{}

	state sync.Mutex // guards what follows; only who flushes writes it, but for stale
	id    string
	next  int64     // number of the next task
	used  time.Time // last answer
	stale bool      // start anew before the next call
	known bool      // the queue is registered
	gone  []string  // the last lanes that Redis has lost
}

// keepGone is how many lost lanes are remembered: no answer is on its way for longer than a few of them live.
const keepGone = 8

// ticket is some tasks that are stored together, and what became of them. They fit one script call.
type ticket struct {
	tasks    []script.LaneTask
	size     int
	replicas int
	again    bool // they were admitted once: no limit of the queue applies

	ctx    context.Context //nolint:containedctx // who flushes takes the values of one of the callers along
	done   chan struct{}
	places []script.Place
	lane   string // where they are stored
	copies int    // replicas that have it
	err    error
}

func newLane(client *Client, queue string) *lane {
	return &lane{
		client: client, queue: queue, keys: client.store.Keys(queue),
		id: NewID(), next: 1, used: time.Now(), watchers: make(map[*Session]struct{}),
	}
}

// store waits until the ticket's tasks are stored or refused, or ctx is done.
func (l *lane) store(ctx context.Context, t *ticket) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.ctx, t.done = context.WithoutCancel(ctx), make(chan struct{})
	l.mu.Lock()
	l.waiting = append(l.waiting, t)
	first := !l.busy
	l.busy = true
	l.mu.Unlock()
	switch {
	case first && ctx.Done() == nil: // who cannot leave early needs no other goroutine
		l.flush(l.take())
		l.pass()
	case first:
		go l.run()
	}
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
	}
	if l.withdraw(t) {
		return context.Cause(ctx)
	}
	select {
	case <-t.done:
		return t.err
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

// withdraw takes a ticket back that is not on its way yet.
func (l *lane) withdraw(t *ticket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, t)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	return i >= 0
}

// pass leaves the flushing of what has come meanwhile to a goroutine.
func (l *lane) pass() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.busy = false
		return
	}
	go l.run()
}

// run flushes until nobody waits.
func (l *lane) run() {
	for {
		batch := l.take()
		if len(batch) == 0 {
			return
		}
		l.flush(batch)
	}
}

// take returns the tickets of the next call: all that wait, as far as they fit. When there are none, nobody is busy any more.
func (l *lane) take() []*ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	tasks, size, n := 0, 0, 0
	for _, t := range l.waiting {
		tasks, size = tasks+len(t.tasks), size+t.size
		if n > 0 && (tasks > maxBatchTasks || size > maxBatchBytes) {
			break
		}
		n++
	}
	batch := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	l.busy = n > 0
	return batch
}

// flush stores the tasks of some tickets by one script call, and tells each what became of it.
func (l *lane) flush(batch []*ticket) {
	if len(batch) == 0 {
		return
	}
	call := script.Lane{Keys: l.keys, TTL: l.client.cfg.LaneTTL, Limit: l.client.cfg.MaxQueue, Wait: l.client.store.replicaWait()}
	for _, t := range batch {
		call.Tasks = append(call.Tasks, t.tasks...)
		call.Replicas = max(call.Replicas, t.replicas)
		if t.again {
			call.Limit = 0
		}
	}
	stored, err := l.send(batch[0].ctx, &call)
	at := 0
	for _, t := range batch {
		if t.err, t.copies, t.lane = err, stored.Replicas, call.ID; err == nil {
			t.places = stored.Places[at : at+len(t.tasks)]
			at += len(t.tasks)
		}
		close(t.done)
	}
}

// send makes the call until it is known what became of it, or for as long as the client is configured to.
func (l *lane) send(ctx context.Context, call *script.Lane) (script.Stored, error) {
	began, maybe := time.Now(), false
	for attempt := 0; ; attempt++ {
		call.ID, call.First = l.number()
		stored, err := l.client.store.scripts.Enqueue(ctx, *call)
		if err == nil && !stored.Gap {
			l.stored(ctx, stored.Last)
			return stored, nil
		}
		if err == nil {
			l.lose(call.ID)
			continue
		}
		v := judge(err, l.client.store.cluster())
		maybe = maybe || v == unsure
		if v >= refused && !maybe || time.Since(began) >= l.client.cfg.RetryFor {
			return script.Stored{}, l.giveUp(err, v, maybe)
		}
		l.client.store.logger.Debug("enqueue goes on", zap.String("queue", l.queue), zap.Int("attempt", attempt+1), zap.Error(err))
		pause(ctx, backoff(attempt))
	}
}

// number returns the lane and the number that the next task gets. A lane that may have been forgotten is not used again.
func (l *lane) number() (id string, next int64) {
	l.state.Lock()
	defer l.state.Unlock()
	if l.stale || time.Since(l.used) > l.client.cfg.LaneTTL/2 {
		l.id, l.next, l.used, l.stale, l.known = NewID(), 1, time.Now(), false, false
	}
	return l.id, l.next
}

func (l *lane) stored(ctx context.Context, last int64) {
	l.state.Lock()
	l.next, l.used = last+1, time.Now()
	known := l.known
	l.known = true
	l.state.Unlock()
	if known {
		return
	}
	if err := l.client.store.Register(ctx, l.queue); err != nil {
		l.client.store.logger.Warn("register queue", zap.String("queue", l.queue), zap.Error(err))
		l.state.Lock()
		l.known = false
		l.state.Unlock()
	}
}

// acked returns the lane and the last number that Redis has acknowledged; 0 when there is none that it must remember.
func (l *lane) acked() (id string, last int64) {
	l.state.Lock()
	defer l.state.Unlock()
	if l.stale || time.Since(l.used) > l.client.cfg.LaneTTL/2 {
		return l.id, 0
	}
	return l.id, l.next - 1
}

// isStale tells whether a lane is given up, and the next one has no task yet.
func (l *lane) isStale(id string) bool {
	l.state.Lock()
	defer l.state.Unlock()
	return l.stale && l.id == id
}

// isGone tells whether Redis has lost a lane, and what was stored on it.
func (l *lane) isGone(id string) bool {
	l.state.Lock()
	defer l.state.Unlock()
	return slices.Contains(l.gone, id)
}

// lose starts a new lane, unless that has happened already, and tells everybody whose tasks are gone with the old one.
func (l *lane) lose(id string) {
	l.state.Lock()
	again := l.stale || l.id != id
	if !again {
		l.stale = true
		l.gone = append(l.gone[max(0, len(l.gone)-keepGone+1):], id)
	}
	l.state.Unlock()
	if again {
		return
	}
	l.client.lost(l.queue)
	l.mu.Lock()
	defer l.mu.Unlock()
	for session := range l.watchers {
		session.lost()
	}
}

// giveUp turns the last error into what the callers get. A lane whose last call may still arrive is not used again.
func (l *lane) giveUp(err error, v verdict, maybe bool) error {
	switch {
	case maybe:
		l.state.Lock()
		l.stale = true
		l.state.Unlock()
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	case v == full:
		return fmt.Errorf("%w: redis refuses to store more: %w", ErrQueueFull, err)
	case v == refused:
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

func (l *lane) watch(s *Session, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if on {
		l.watchers[s] = struct{}{}
	} else {
		delete(l.watchers, s)
	}
}
