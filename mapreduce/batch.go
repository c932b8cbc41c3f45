package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/stream"
)

// Batch is one call of [Map]: many tasks of one function whose outcomes come back to the caller.
//
// Its results are ranged over once, by one goroutine. Every other method is safe to call from any goroutine at any time.
type Batch[In, Out any] struct {
	// A batch is one call whose body is the loop over its results, so it keeps the context of that call.
	ctx      context.Context
	client   *stream.Client
	fn       stream.Func[In, Out]
	inputs   iter.Seq[In]
	template stream.Task // of each input, but for the ID and the payload
	flow     *flow[In, Out]
	session  *session
	durable  *durable // nil without Durable

	begun atomic.Bool // a loop over the results has begun
	again atomic.Bool // and another one

	mu  sync.Mutex
	err error
}

// Map calls fn for each of inputs, on the workers of fn's queue. It returns at once and touches nothing before the loop over
// [Batch.Results] begins (or [Batch.Set] or [Batch.Get] is called); mistakes in the options are reported by [Batch.Err].
//
// inputs may be endless: it is pulled from a goroutine of its own, never further than the [Window] allows, and each input is sent
// as soon as it is there, together with those that came while the last send was on its way. inputs should return when ctx is
// done: the batch ends without it, but its goroutine only ends with it. A panic of inputs is raised again in the loop over the
// results.
//
// Each input has exactly one result, whatever happens to workers, connections and Redis: a task whose worker dies runs again
// elsewhere, and tasks that Redis lost (after FLUSHALL, a restart without data, a failover to a stale replica) are sent again,
// so that a function may run more than once for one input. When ctx is done, the loop over the results ends at once.
func Map[In, Out any](
	ctx context.Context, client *stream.Client, fn stream.Func[In, Out], inputs iter.Seq[In], opts ...Option,
) *Batch[In, Out] {
	o, err := newOptions(opts)
	template, bad := newTemplate(client, fn, o.task)
	err = errors.Join(err, bad)
	return &Batch[In, Out]{
		ctx:      ctx,
		client:   client,
		fn:       fn,
		inputs:   inputs,
		template: template,
		flow:     newFlow[In, Out](o.limits, time.Now),
		session:  newSession(ctx, client, fn.Queue),
		durable:  newDurable(o.durable, client, fn.Name, fn.Queue),
		err:      err,
	}
}

// newTemplate applies the options of the tasks, and reports what is wrong with them, once and not for each input.
func newTemplate[In, Out any](client *stream.Client, fn stream.Func[In, Out], opts []stream.Option) (stream.Task, error) {
	if client == nil {
		return stream.Task{}, fmt.Errorf("mapreduce: map %s: client is nil: make it with stream.NewClient", fn.Name)
	}
	raw := stream.Func[[]byte, []byte]{Name: fn.Name, Codec: stream.Raw, MaxAttempts: fn.MaxAttempts, Timeout: fn.Timeout}
	task, err := raw.Task(client, nil, opts...)
	if err != nil {
		return stream.Task{}, fmt.Errorf("mapreduce: map: %w", err)
	}
	return task, nil
}

// ID is the ID of the batch, a ULID: that of its reply stream and of its shared context. It is empty until the batch has begun:
// with the loop over the results, or with [Batch.Set] or [Batch.Get].
func (b *Batch[In, Out]) ID() string { return b.session.id() }

// Results runs the batch: ranging over it takes the inputs, sends the tasks and yields one [Result] for each input, as they come
// in or, with [InOrder], in the order of the inputs. The loop ends when every input has had its result, or early: then
// [Batch.Err] says why, and what was yielded until then is valid.
//
// Breaking out of the loop cancels the tasks that have not started; so do ctx and every other early end. Tasks that are running
// run on, and nobody hears of them. When the loop is over, the batch has left nothing behind: no goroutine (but for an input
// iterator that does not return), no reply stream, no shared context. If Redis does not answer then, the end takes some 3 seconds
// and no longer: what could not be removed expires, and connections that hang are given up by their timeouts.
//
// It can be ranged over once. A second loop yields nothing, and [Batch.Err] is then [ErrResultsTaken].
func (b *Batch[In, Out]) Results() iter.Seq[Result[In, Out]] {
	return func(yield func(Result[In, Out]) bool) { b.run(b.ctx, nil, delivering(b.durable, yield)) }
}

// Err is, after the loop over the results, why the batch ended before every input had its result: nil when none is missing or the
// loop was broken out of, the context's error, a [*FailuresError] of [FailFast] and [FailAfter], or what stopped it, such as
// [stream.ErrUnavailable] when Redis was away for longer than the client's RetryFor. An input that failed is not an error of the
// batch. Before the end of the loop it is nil, but for mistakes in the options.
func (b *Batch[In, Out]) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.again.Load() {
		return errors.Join(b.err, ErrResultsTaken)
	}
	return b.err
}

// Progress is how far the batch is. It is safe to call from any goroutine, before, during and after the loop.
func (b *Batch[In, Out]) Progress() Progress { return b.flow.progress() }

// Set stores a small value for the tasks of the batch to read, as those of a setting they all need: handlers reach it through
// their context (group.Shared). It is gone with the batch. Set it before the loop over the results and every task finds it; that
// begins the batch, so range over the results afterwards, or end ctx. It returns [ErrOver] once the batch is over.
//
// Unlike the tasks of the batch, values that Redis lost are not sent again.
func (b *Batch[In, Out]) Set(ctx context.Context, key string, value []byte) error {
	s, err := b.session.open(ctx)
	if err == nil {
		err = s.Set(ctx, key, value)
	}
	if err != nil {
		return fmt.Errorf("mapreduce: set %q of a batch of %s: %w", key, b.fn.Name, err)
	}
	return nil
}

// Get reads a value that Set or a task of the batch has stored; it is nil when there is none. It returns [ErrOver] once the
// batch is over, so read what tasks have left before the loop over the results ends.
func (b *Batch[In, Out]) Get(ctx context.Context, key string) ([]byte, error) {
	var value []byte
	s, err := b.session.open(ctx)
	if err == nil {
		value, err = s.Get(ctx, key)
	}
	if err != nil {
		return nil, fmt.Errorf("mapreduce: get %q of a batch of %s: %w", key, b.fn.Name, err)
	}
	return value, nil
}

// run is the loop over the results; it ends with ctx too, which may be another than that of the batch. acc is that of a durable Reduce.
func (b *Batch[In, Out]) run(ctx context.Context, acc *accumulator, yield func(Result[In, Out]) bool) {
	if !b.begun.CompareAndSwap(false, true) {
		b.again.Store(true)
		return
	}
	if b.Err() != nil {
		return
	}
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if b.ctx.Err() != nil { // before anything begins
		cancel(context.Cause(b.ctx)) //nolint:contextcheck // the end of either context ends the loop
	}
	defer context.AfterFunc(b.ctx, func() { cancel(context.Cause(b.ctx)) })() //nolint:contextcheck // likewise

	headers, done := b.client.Sending(both, stream.Sending{Verb: "map", Queue: queueName(b.fn.Queue), Function: b.fn.Name})
	defer func() { done(b.Err()) }()
	b.template.Headers = withHeaders(b.template.Headers, headers)
	b.flow.start()
	s, err := b.open(both, cancel, acc)
	if err != nil {
		if both.Err() == nil {
			b.flow.fail(err)
		}
		b.settle(both, exhausted, b.session.close(both))
		return
	}
	c := b.hire(both, s)
	end := unwound
	defer func() {
		left := c.dismiss(func() error { return b.close(both, end) }, b.client.Store().Logger())
		b.settle(both, end, left)
		if end != unwound {
			c.raise()
		}
	}()
	end = b.deliver(both, yield)
}

// withHeaders adds headers to those that are there, which win.
func withHeaders(there, more map[string]string) map[string]string {
	if len(more) == 0 {
		return there
	}
	all := maps.Clone(more)
	maps.Copy(all, there)
	return all
}

// open opens the session for the loop over the results; a durable batch then goes on from its checkpoint, which may end it by cancel.
func (b *Batch[In, Out]) open(ctx context.Context, cancel context.CancelCauseFunc, acc *accumulator) (*stream.Session, error) {
	s, err := b.session.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("mapreduce: open a batch of %s: %w", b.fn.Name, err)
	}
	b.session.own()
	if b.durable != nil {
		err = b.resume(ctx, cancel, acc)
	}
	return s, err
}

// deliver hands out the results.
func (b *Batch[In, Out]) deliver(ctx context.Context, yield func(Result[In, Out]) bool) ending {
	for {
		s := b.flow.take(ctx)
		if s == nil {
			return exhausted
		}
		for i := range s.values {
			if ctx.Err() != nil {
				return exhausted
			}
			b.flow.handed(s, i)
			if !yield(s.result(i)) {
				return broken
			}
		}
	}
}

// ending is how the loop over the results ended.
type ending int

const (
	unwound   ending = iota // its body panicked, or ended its goroutine
	broken                  // its body left it
	exhausted               // there are no further results
)

// settle decides what Err returns. left is what went wrong when the rest was cancelled and the keys were removed.
func (b *Batch[In, Out]) settle(ctx context.Context, end ending, left error) {
	err, complete := b.flow.end()
	if err == nil && end == exhausted && !complete {
		err = fmt.Errorf("mapreduce: map %s: %w", b.fn.Name, contextError(ctx))
	}
	if left != nil {
		left = fmt.Errorf("mapreduce: close batch %s of %s: %w", b.ID(), b.fn.Name, left)
		if complete { // nothing is missing, and what is left in Redis expires
			b.client.Store().Logger().Warn("batch is complete but left keys behind", zap.Error(left))
		} else {
			err = errors.Join(err, left)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// contextError is why ctx ended: its cause, which always is an error of a context too.
func contextError(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}
