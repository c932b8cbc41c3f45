package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/wire"
)

const (
	mostAwaited = 10_000      // of ClientConfig.MaxAwait: a read names the stream of each
	awaitIdle   = time.Minute // how long the connection of waiters outlives the last of them
	lookAtOnce  = 200
)

// Outcome tells what a task that was enqueued with [Keep] ended with; false when it has not ended. The error is [ErrNotKept] where no
// outcome is kept. A task that became a dead letter has a failure for outcome, until it is replayed and ends again.
func (c *Client) Outcome(ctx context.Context, queue, id string) (outcome Outcome, done bool, err error) {
	queue = orDefault(queue, DefaultQueue)
	if err = checkKept(queue, id); err == nil {
		var seen glance
		seen, err = c.look(ctx, c.store.Keys(queue), id)
		outcome, done = seen.outcome, seen.done
	}
	if err != nil {
		return Outcome{}, false, fmt.Errorf("stream: look for the outcome of task %s of queue %s: %w", id, queue, err)
	}
	return outcome, done, nil
}

// Await waits until a task that was enqueued with [Keep] has an outcome, and returns it; any process may wait, and any number of them. It
// goes on while Redis does not answer, until ctx ends. The error is [ErrNotKept] where no outcome is kept, also when that becomes so
// meanwhile. All waits of a client on a queue share one connection; above ClientConfig.MaxAwait of them the error is [ErrTooManyWaiters].
func (c *Client) Await(ctx context.Context, queue, id string) (Outcome, error) {
	queue = orDefault(queue, DefaultQueue)
	err := checkKept(queue, id)
	var outcome Outcome
	if err == nil {
		outcome, err = c.await(ctx, queue, id)
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("stream: await task %s of queue %s: %w", id, queue, err)
	}
	return outcome, nil
}

// Await is [Client.Await] for a task of this function: it returns the result, and a failure as a [*TaskError].
func (f Func[In, Out]) Await(ctx context.Context, c *Client, id string) (out Out, err error) {
	outcome, err := c.Await(ctx, f.queue(), id)
	if err != nil {
		return out, f.wrap("await", err)
	}
	if outcome.Kind != wire.KindResult {
		return out, f.wrap("await", NewTaskError(outcome))
	}
	out, err = f.DecodeOut(outcome.Payload)
	return out, f.wrap("await", err)
}

func checkKept(queue, id string) error {
	return errors.Join(wire.CheckName("queue", queue), wire.CheckID("task", id))
}

func (c *Client) await(ctx context.Context, queue, id string) (Outcome, error) {
	if err := c.countWaiter(); err != nil {
		return Outcome{}, err
	}
	defer c.uncountWaiter()
	seen, err := c.lookUntil(ctx, queue, id)
	if err != nil || seen.done {
		return seen.outcome, err
	}
	for {
		a, err := c.awaiter(ctx, queue)
		if err != nil {
			return Outcome{}, err
		}
		if w := a.add(ctx, id, seen.cursor); w != nil {
			defer a.leave(id, w)
			return w.wait(ctx)
		}
	}
}

func (c *Client) countWaiter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return ErrClosed
	case c.waiters >= c.cfg.MaxAwait:
		return fmt.Errorf("%w: %d, see ClientConfig.MaxAwait", ErrTooManyWaiters, c.waiters)
	}
	c.waiters++
	return nil
}

func (c *Client) uncountWaiter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiters--
}

// glance is what the last entry of the reply stream of one task says.
type glance struct {
	cursor  string // that entry
	outcome Outcome
	done    bool
}

func (c *Client) look(ctx context.Context, keys wire.Keys, id string) (glance, error) {
	last, err := c.store.client.XRevRangeN(ctx, keys.Reply(id), "+", "-", 1).Result()
	if err != nil {
		return glance{}, err
	}
	return glanceAt(id, last)
}

// lookUntil looks until Redis answers, or as long as a call of this client goes on.
func (c *Client) lookUntil(ctx context.Context, queue, id string) (seen glance, err error) {
	var none error // that nothing is kept will not change
	err = c.store.Again(ctx, c.cfg.RetryFor, func() error {
		found, err := c.look(ctx, c.store.Keys(queue), id)
		if errors.Is(err, ErrNotKept) {
			none, err = err, nil
		}
		seen = found
		return err
	})
	return seen, errors.Join(none, err)
}

func glanceAt(id string, last []redis.XMessage) (glance, error) {
	if len(last) == 0 {
		return glance{}, ErrNotKept
	}
	seen := glance{cursor: last[0].ID}
	text, told := last[0].Values[id].(string)
	if !told {
		return seen, nil
	}
	outcome, err := wire.DecodeOutcome(id, text)
	if err != nil {
		return glance{}, err
	}
	if outcome.Kind != wire.KindMoved {
		seen.outcome, seen.done = outcome, true
	}
	return seen, nil
}

// awaiter reads the reply streams of all tasks of one queue that are awaited, in one blocking read. A task that is added or an
// outcome that comes ends the read, and the next one names what is awaited then.
type awaiter struct {
	client *Client
	queue  string
	keys   wire.Keys
	reader *conn.Reader
	stop   context.CancelFunc
	wake   chan struct{} // a task was added while there was none
	ended  chan struct{}

	mu     sync.Mutex
	waits  map[string]*wait
	listed bool // no task was added since the read that is under way was made
	closed bool
}

// wait is one task that is awaited, by one call or more.
type wait struct {
	cursor  string // what was seen of its reply stream; guarded by awaiter.mu
	calls   int    // the same
	done    chan struct{}
	outcome Outcome // once done
	err     error
}

func (w *wait) wait(ctx context.Context) (Outcome, error) {
	select {
	case <-w.done:
		return w.outcome, w.err
	case <-ctx.Done():
		return Outcome{}, context.Cause(ctx)
	}
}

// awaiter returns that of a queue, and starts it at the first call.
func (c *Client) awaiter(ctx context.Context, queue string) (*awaiter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if a := c.awaits[queue]; a != nil {
		return a, nil
	}
	reader, err := conn.NewReader(c.store.client, readBlock)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	a := &awaiter{
		client: c, queue: queue, keys: c.store.Keys(queue), reader: reader, stop: stop,
		wake: make(chan struct{}, 1), ended: make(chan struct{}), waits: make(map[string]*wait),
	}
	c.awaits[queue] = a
	go a.run(ctx)
	return a, nil
}

// add waits for one more task; nil when this awaiter has ended.
func (a *awaiter) add(ctx context.Context, id, cursor string) *wait {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	w := a.waits[id]
	if w == nil {
		w = &wait{cursor: cursor, done: make(chan struct{})}
		a.waits[id] = w
	}
	w.calls++
	interrupt := a.listed && w.calls == 1
	a.listed = a.listed && !interrupt // whoever comes until the next read need not interrupt as well
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
	if interrupt {
		a.reader.Interrupt(ctx)
	}
	return w
}

func (a *awaiter) leave(id string, w *wait) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.calls--; w.calls == 0 && a.waits[id] == w {
		delete(a.waits, id)
	}
}

// close ends all waits. It takes five seconds at most.
func (a *awaiter) close() error {
	a.stop()
	a.end()
	late := time.NewTimer(closeWithin)
	defer late.Stop()
	select {
	case <-a.ended:
	case <-late.C:
	}
	return a.reader.Close()
}

func (a *awaiter) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for id := range a.waits {
		a.finish(id, Outcome{}, ErrClosed)
	}
}

// finish tells what became of a task. mu is held.
func (a *awaiter) finish(id string, outcome Outcome, err error) {
	if w := a.waits[id]; w != nil {
		delete(a.waits, id)
		w.outcome, w.err = outcome, err
		close(w.done)
	}
}

func (a *awaiter) run(ctx context.Context) {
	defer close(a.ended)
	attempt, looked := 0, time.Now()
	for ctx.Err() == nil {
		keys, cursors := a.list()
		if len(keys) == 0 {
			if !a.rest(ctx) {
				return
			}
			continue
		}
		err := a.read(ctx, keys, cursors)
		if err == nil && time.Since(looked) >= readBlock {
			err, looked = a.audit(ctx, keys), time.Now()
		}
		if err == nil {
			attempt = 0
			continue
		}
		a.client.store.logger.Debug("await goes on", zap.String("queue", a.queue), zap.Error(err))
		pause(ctx, backoff(attempt))
		attempt++
		// A promoted replica may have lower entry IDs, or nothing: what was seen before is not to be trusted.
		if err = a.lookAgain(ctx); err != nil {
			a.client.store.logger.Debug("look for outcomes", zap.String("queue", a.queue), zap.Error(err))
		}
	}
}

// rest waits until there is something to wait for. Without that for long the awaiter ends, and with it its connection.
func (a *awaiter) rest(ctx context.Context) bool {
	idle := time.NewTimer(awaitIdle)
	defer idle.Stop()
	select {
	case <-a.wake:
		return true
	case <-ctx.Done():
		return false
	case <-idle.C:
	}
	c := a.client
	c.mu.Lock()
	defer c.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waits) > 0 || c.closed {
		return true // whoever closes the client closes this too
	}
	a.closed = true
	delete(c.awaits, a.queue)
	a.stop()
	_ = a.reader.Close() // nobody is there to be told
	return false
}

// list is what the next read is about.
func (a *awaiter) list() (keys, cursors []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listed = true
	for id, w := range a.waits {
		keys, cursors = append(keys, a.keys.Reply(id)), append(cursors, w.cursor)
	}
	return keys, cursors
}

func (a *awaiter) read(ctx context.Context, keys, cursors []string) error {
	streams, err := a.reader.ReadEach(ctx, keys, cursors, 1, readBlock)
	if err != nil {
		return err
	}
	a.client.hear()
	prefix := len(a.keys.Reply(""))
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range streams {
		id := s.Key[prefix:]
		for _, entry := range s.Entries {
			a.take(id, entry)
		}
	}
	return nil
}

// take notes what an entry says of a task. mu is held.
func (a *awaiter) take(id string, entry conn.Entry) {
	w := a.waits[id]
	if w == nil {
		return
	}
	w.cursor = entry.ID
	for i := 0; i+1 < len(entry.Fields); i += 2 {
		if entry.Fields[i] != id {
			continue
		}
		outcome, err := wire.DecodeOutcome(id, entry.Fields[i+1])
		if err != nil || outcome.Kind != wire.KindMoved {
			a.finish(id, outcome, err)
			return
		}
	}
}

// audit looks whether all reply streams are still there: a read does not end when one expires, or all data is lost.
func (a *awaiter) audit(ctx context.Context, keys []string) error {
	n, err := a.reader.Client().Exists(ctx, keys...).Result()
	if err != nil || n == int64(len(keys)) {
		return err
	}
	return a.lookAgain(ctx)
}

// lookAgain reads the last entry of each reply stream.
func (a *awaiter) lookAgain(ctx context.Context) error {
	a.mu.Lock()
	ids := make([]string, 0, len(a.waits))
	for id := range a.waits {
		ids = append(ids, id)
	}
	a.mu.Unlock()
	for len(ids) > 0 {
		some := ids[:min(len(ids), lookAtOnce)]
		ids = ids[len(some):]
		answers := make([]*redis.XMessageSliceCmd, len(some))
		_, err := a.reader.Client().Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, id := range some {
				answers[i] = p.XRevRangeN(ctx, a.keys.Reply(id), "+", "-", 1)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("stream: await: %w", err)
		}
		for i, id := range some {
			a.see(id, answers[i].Val())
		}
	}
	return nil
}

func (a *awaiter) see(id string, last []redis.XMessage) {
	seen, err := glanceAt(id, last)
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waits[id]
	switch {
	case w == nil:
	case err != nil || seen.done:
		a.finish(id, seen.outcome, err)
	default:
		w.cursor = seen.cursor
	}
}
