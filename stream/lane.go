package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
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

	batch []*ticket   // who flushes has this and the next three
	call  script.Lane // what is to be sent, or was
	line  *line       // of the call, nil where it goes through the pool
	blind bool        // it may not watch

	state sync.Mutex // guards what follows; only who flushes writes it, but for stale
	id    string
	next  int64     // number of the next task
	value string    // what the lane's key holds; "" when it is not known
	used  time.Time // last answer
	kept  time.Time // when the key's time to live was renewed
	stale bool      // start anew before the next call
	known bool      // the queue is registered
	gone  []string  // the last lanes that Redis has lost
}

// keepGone is how many lost lanes are remembered: no answer is on its way for longer than a few of them live.
const keepGone = 8

// ticket is some tasks that are stored together, and what became of them. They fit one script call.
type ticket struct {
	tasks    []script.LaneTask
	one      [1]script.LaneTask // room for tasks that are one
	size     int
	replicas int
	again    bool // they were admitted once: no limit of the queue applies
	forget   bool // nobody asks for them later: their entries need not be known

	ctx    context.Context //nolint:containedctx // who flushes takes the values of one of the callers along
	waits  bool            // its caller does not make the call itself
	left   bool            // its caller does not wait any more, and it may be on its way
	done   chan struct{}   // told once, where somebody waits
	stored script.Stored   // of the whole call
	first  int             // place of its first task there
	lane   string          // where they are stored
	err    error
}

// wait has its caller told by whoever flushes.
func (t *ticket) wait(ctx context.Context) {
	t.ctx = context.WithoutCancel(ctx)
	if t.waits = true; t.done == nil {
		t.done = make(chan struct{}, 1)
	}
}

// place is what became of one task.
func (t *ticket) place(i int) script.Place { return t.stored.Place(t.first + i) }

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
	l.mu.Lock()
	l.waiting = append(l.waiting, t)
	first := !l.busy
	l.busy = true
	if !first {
		t.wait(ctx)
	}
	l.mu.Unlock()
	if first && l.lead(ctx, t) {
		return t.err
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
		t.left = true
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

// lead makes the next call in the goroutine of a caller: a lone one has nobody to share it with, and to wake another goroutine takes longer
// than Redis does. It tries once: what that leaves open, also when the caller leaves meanwhile, another goroutine goes on with:
// then it reports false, and the caller's ticket tells when it is done.
func (l *lane) lead(ctx context.Context, t *ticket) bool {
	if ctx.Done() != nil && !l.isKnown() { // nothing could be given up
		t.wait(ctx)
		go l.run()
		return false
	}
	l.prepare(l.take())
	if ctx.Done() != nil && l.line == nil { // the same
		t.wait(ctx)
		go func() {
			l.flush()
			l.run()
		}()
		return false
	}
	try := attempts{began: time.Now()}
	if ctx.Done() != nil {
		l.line.Guard(ctx)
	}
	stored, err := l.try(ctx)
	if ctx.Done() != nil {
		l.line.Release()
	}
	if err != nil || stored.Gap {
		t.wait(ctx)
		go func() {
			l.finish(l.settle(context.WithoutCancel(ctx), &try, stored, err))
			l.run()
		}()
		return false
	}
	l.stored(ctx, &stored)
	l.finish(stored, nil)
	l.pass()
	return true
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
		l.prepare(batch)
		l.flush()
		if len(batch) > 1 {
			runtime.Gosched() // who was just told comes with the next one: half of them would miss each
		}
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
	l.batch = append(l.batch[:0], l.waiting[:n]...)
	l.waiting = slices.Delete(l.waiting, 0, n)
	l.busy = n > 0
	return l.batch
}

// flush makes the call that is prepared, and tells each ticket of the batch what became of it.
func (l *lane) flush() {
	ctx := l.batch[0].ctx
	try := attempts{began: time.Now()}
	stored, err := l.try(ctx)
	l.finish(l.settle(ctx, &try, stored, err))
}

// prepare makes the call of a batch.
func (l *lane) prepare(batch []*ticket) {
	l.line = l.client.lines.take(l)
	call := &l.call
	clear(call.Tasks)
	call.Tasks, call.Replicas, call.Limit = call.Tasks[:0], 0, l.client.cfg.MaxQueue
	for _, t := range batch {
		call.Tasks = append(call.Tasks, t.tasks...)
		call.Replicas = max(call.Replicas, t.replicas)
		if t.again {
			call.Limit = 0
		}
	}
}

// finish tells the tickets of the batch what became of them.
func (l *lane) finish(stored script.Stored, err error) {
	l.client.lines.put(l.line)
	l.line = nil
	if hook := l.client.store.hooks.Stored; hook != nil && err == nil {
		hook(l.queue, len(l.call.Tasks))
	}
	at := 0
	for i, t := range l.batch {
		t.stored, t.first, t.lane, t.err = stored, at, l.call.ID, err
		at += len(t.tasks)
		l.batch[i] = nil
		if t.waits { // the last that is done with it: then it may be another's
			t.done <- struct{}{}
		}
	}
}

// attempts is what is known of a call that may be sent more than once.
type attempts struct {
	began time.Time
	n     int
	maybe bool // it may have run
}

// try makes the call once.
func (l *lane) try(ctx context.Context) (script.Stored, error) {
	call, scripts := &l.call, l.client.store.scripts
	l.number(call)
	if l.line == nil {
		return scripts.Enqueue(ctx, call)
	}
	call.Watch = l.isPlain()
	stored, err := l.append(ctx)
	if errors.Is(err, script.ErrNotWatched) {
		stored, err = scripts.EnqueueOn(ctx, l.line, call)
	}
	switch {
	case err == nil && stored.Watched:
		l.line.watched = call.ID
	case err == nil && call.Watch && !stored.Gap:
		l.blind = true
	case err != nil && stored.Last > 0: // refused, and numbered all the same
		l.stored(ctx, &stored)
	}
	return stored, err
}

// isPlain tells whether the call has only plain tasks of those who need not know their entries: a retry could not tell them.
func (l *lane) isPlain() bool {
	call := &l.call
	if l.blind || call.Limit > 0 || call.Replicas > 0 {
		return false
	}
	for _, t := range l.batch {
		if !t.forget {
			return false
		}
	}
	for i := range call.Tasks {
		if call.Tasks[i].HasOptions() {
			return false
		}
	}
	return true
}

// append makes the call without a script, where the call before has prepared it.
func (l *lane) append(ctx context.Context) (script.Stored, error) {
	ready := l.call.Watch && l.line.watched == l.call.ID && l.call.TTL == 0
	l.line.watched = ""
	if !ready {
		return script.Stored{}, script.ErrNotWatched
	}
	return l.client.store.scripts.Append(ctx, l.line, &l.call)
}

// settle makes the call again until it is known what became of it, or for as long as the client is configured to. It begins with the
// answer of the first try.
func (l *lane) settle(ctx context.Context, try *attempts, stored script.Stored, err error) (script.Stored, error) {
	for {
		switch {
		case err == nil && !stored.Gap:
			l.stored(ctx, &stored)
			return stored, nil
		case err == nil:
			l.lose(l.call.ID)
		default:
			v := judge(err, l.client.store.cluster())
			try.maybe = try.maybe || v == unsure
			over := errors.Is(err, redis.ErrClosed) || time.Since(try.began) >= l.client.cfg.RetryFor
			if v >= refused && (!try.maybe || over) || l.client.isLate(try.began) {
				return script.Stored{}, l.giveUp(err, v, try.maybe)
			}
			l.client.store.logger.Debug("enqueue goes on", zap.String("queue", l.queue), zap.Int("attempt", try.n+1), zap.Error(err))
			pause(ctx, backoff(try.n))
			try.n++
		}
		stored, err = l.try(ctx)
	}
}

// keepShare is how much of its time to live a lane's key may have lost before a call renews it. A lane that was idle for half of it is not
// used again.
const keepShare = 4

// number gives the call its lane and its first number. A lane that may have been forgotten is not used again.
func (l *lane) number(call *script.Lane) {
	l.state.Lock()
	defer l.state.Unlock()
	now, ttl := time.Now(), l.client.cfg.LaneTTL
	if l.stale || now.Sub(l.used) > ttl/2 {
		l.id, l.next, l.value, l.used, l.stale, l.known = NewID(), 1, "", now, false, false
	}
	call.Keys, call.ID, call.First, call.Before = l.keys, l.id, l.next, l.value
	call.Wait, call.TTL = l.client.store.replicaWait(), 0
	if l.next == 1 || call.Replicas > 0 || now.Sub(l.kept) > ttl/keepShare { // WAIT needs a write, whatever the script finds
		call.TTL = ttl
	}
}

func (l *lane) stored(ctx context.Context, stored *script.Stored) {
	now := time.Now()
	l.client.hearAt(now)
	l.state.Lock()
	l.next, l.value, l.used = stored.Last+1, stored.Value, now
	if l.call.TTL > 0 {
		l.kept = l.used
	}
	known := l.known
	l.known = true
	l.state.Unlock()
	if stored.Lost {
		l.lose(l.call.ID)
	}
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

// isKnown tells whether a call of the lane went well, so that the next one has nothing to make ready.
func (l *lane) isKnown() bool {
	l.state.Lock()
	defer l.state.Unlock()
	return l.known && !l.stale
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

// watch lets a session hear of losses, until it leaves.
func (l *lane) watch(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[s] = struct{}{}
}

func (l *lane) leave(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.watchers, s)
}
