package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/turn"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	renewEvery = time.Second // bounds how long a process that was taken over goes on
	savePause  = 50 * time.Millisecond

	// finishTimeout bounds the last save of a batch, or the removal of its checkpoint.
	finishTimeout = time.Second
)

// durable keeps the checkpoint of one batch. The loop over the results notes what it delivers, the keeper saves it.
type durable struct {
	durability
	function string
	client   *stream.Client
	keys     wire.Keys
	ctx      context.Context // of the loop over the results
	claimed  string          // when, by the clock of Redis, ms
	acc      *accumulator    // of Reduce; nil of a loop
	stop     func(error)     // ends the batch at once, before anything more is handed out
	lost     atomic.Bool     // it was called

	mu      sync.Mutex // fold and save take turns
	now     saved
	changed bool // since it was last saved
	torn    bool // a fold has not returned, or failed: the accumulator may be half changed

	taking sync.Mutex // of inputs
	inputs int        // taken
	sum    uint32     // over these

	sweeping turn.Lock // cancelling what owners before have left

	turn  turn.Lock // held for one call of Redis, and what leads to it
	seq   int64     // of the last save
	heard time.Time // when Redis last answered one
	over  bool      // taken over
}

// accumulator is that of Reduce.
type accumulator struct {
	encode func(stream.Codec) ([]byte, error)
	decode func(stream.Codec, []byte) error
}

func newDurable(d *durability, client *stream.Client, function, queue string) *durable {
	if d == nil || client == nil {
		return nil
	}
	return &durable{durability: *d, function: function, client: client, keys: client.Store().Keys(queueName(queue))}
}

// wrap names the option in an error.
func (d *durable) wrap(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("mapreduce: %s the checkpoint of Durable(%q) for %s: %w", verb, d.name, d.function, err)
}

// folding calls fold for the input with an index, and notes that it was delivered if fold says so. What a fold leaves that fails,
// panics or ends its goroutine is not saved.
func (d *durable) folding(index int, failed bool, fold func() bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.torn = true
	if !fold() {
		return false
	}
	d.torn = false
	d.note(index, failed)
	return true
}

// note notes that an input was delivered; mu is held.
func (d *durable) note(index int, failed bool) {
	d.now.delivered.add(index)
	if failed {
		d.now.failed++
	}
	d.changed = true
}

// delivering hands results to a loop: one counts as delivered when the loop asks for the next.
func delivering[In, Out any](d *durable, yield func(Result[In, Out]) bool) func(Result[In, Out]) bool {
	if d == nil {
		return yield
	}
	return func(r Result[In, Out]) bool {
		if !yield(r) {
			return false
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.note(r.Index, r.Err != nil)
		return true
	}
}

// castagnoli is what processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mix takes one more input into a sum over the inputs before it. Empty ones count too, and those that cannot be encoded.
func mix(sum uint32, payload []byte, err error) uint32 {
	const odd, even = 0x9E3779B1, 0x85EBCA6B
	if err != nil {
		return sum*odd + even
	}
	return crc32.Update(sum*odd+uint32(len(payload))+1, castagnoli, payload) //nolint:gosec // the lowest bits of a length will do
}

// took notes the inputs taken, BEFORE the last of them can be delivered.
func (d *durable) took(inputs int, sum uint32) {
	d.taking.Lock()
	defer d.taking.Unlock()
	d.inputs, d.sum = inputs, sum
}

// snapshot is what is to be saved, nil when nothing has changed, or when the accumulator may be half changed.
func (d *durable) snapshot() (map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.changed || d.torn {
		return nil, nil
	}
	s := d.now
	if d.acc != nil {
		acc, err := d.acc.encode(d.codec)
		if err != nil {
			return nil, fmt.Errorf("encode the accumulator: %w", err)
		}
		if len(acc) > checkpointBytes {
			return nil, fmt.Errorf("the accumulator has %d bytes, and %d are possible: keep large data elsewhere", len(acc), checkpointBytes)
		}
		s.acc, s.folded = string(acc), true
	}
	d.taking.Lock()
	s.inputs, s.sum = d.inputs, d.sum
	d.taking.Unlock()
	d.changed = false
	kind := kindLoop
	if d.acc != nil {
		kind = kindFold
	}
	return s.fields(d.function, kind), nil
}

// dirty says that what there is must be saved.
func (d *durable) dirty() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = true
}

// finalError is an error that does not pass by itself.
type finalError struct{ error }

// Unwrap returns the error itself.
func (e finalError) Unwrap() error { return e.error }

// save saves what has changed, or renews the checkpoint when nothing has or whole is false.
func (d *durable) save(ctx context.Context, whole bool) error {
	d.turn.Lock()
	defer d.turn.Unlock()
	if d.over {
		return finalError{ErrTakenOver}
	}
	var fields map[string]string
	if whole {
		var err error
		if fields, err = d.snapshot(); err != nil {
			return finalError{err}
		}
	}
	d.seq++
	call := script.Save{Name: d.name, Owner: d.now.owner, Seq: d.seq, TTL: d.ttl, Fields: fields}
	answer, err := within(ctx, func(ctx context.Context) (script.Saved, error) {
		return d.client.Store().Scripts().Save(ctx, d.keys, call)
	})
	switch {
	case err != nil:
		if fields != nil {
			d.dirty()
		}
		if isFinal(err) {
			return finalError{err}
		}
		return err
	case answer == script.SaveTaken:
		d.over = true
		return finalError{ErrTakenOver}
	case answer == script.SaveGone: // Redis has lost it
		d.dirty()
	}
	d.heard = time.Now()
	return nil
}

// isFinal tells whether Redis will refuse a call again that it has refused so.
func isFinal(err error) bool {
	return conn.IsAuth(err) || redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "CROSSSLOT")
}

// within ends with ctx although the call goes on: a connection that does not answer is given up by its own timeout, later.
func within[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := call(ctx)
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
}

// keep saves the checkpoint now and then, and finds out whether the batch was taken over. A save that fails is made up for later.
func (d *durable) keep(ctx context.Context) {
	ticker := time.NewTicker(min(d.every, renewEvery))
	defer ticker.Stop()
	var saved, tried time.Time
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		due := now.Sub(saved) >= d.every && d.isChanged()
		if !due && now.Sub(tried) < renewEvery {
			continue
		}
		tried = now
		err := d.save(ctx, due)
		if ctx.Err() != nil || err != nil && d.giveUp(err) {
			return
		}
		if err == nil && due {
			saved = now
		}
	}
}

// giveUp ends the batch when a save has failed for good, or all of them for too long.
func (d *durable) giveUp(err error) bool {
	d.turn.Lock()
	silent := time.Since(d.heard)
	d.turn.Unlock()
	final, isFinal := errors.AsType[finalError](err)
	switch {
	case isFinal:
		d.lose(final.error)
	case silent >= d.client.RetryFor():
		d.lose(fmt.Errorf("%w: %w", stream.ErrUnavailable, err))
	default:
		d.client.Store().Logger().Debug("save a checkpoint", zap.String("batch", d.name), zap.Error(err))
		return false
	}
	return true
}

// lose ends the batch, because nothing more can be saved.
func (d *durable) lose(err error) {
	d.lost.Store(true)
	d.stop(d.wrap("save", err))
}

func (d *durable) isChanged() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// confirm returns once it is sure that the batch is still this process's, or was ended: a task that somebody has cancelled may be the
// work of whoever took the batch over. The note of that may be lost with the data of Redis, and the checkpoint. Whoever cancels the tasks of
// an owner before notes its session first, so that one may be there; but workers remember what was cancelled longer than Redis may. So after a
// loss nobody can tell, and the batch ends: a failure that is none must not be counted.
func (d *durable) confirm(ctx context.Context, hasLost func() bool) {
	for ctx.Err() == nil {
		err := d.save(ctx, false)
		swept := false
		if err == nil {
			swept, err = d.isSwept(ctx)
		}
		if swept || err == nil && hasLost() {
			d.lose(ErrTakenOver)
			return
		}
		if err == nil {
			return
		}
		if final, ok := errors.AsType[finalError](err); ok {
			d.lose(final.error)
			return
		}
		idle(ctx, savePause)
	}
}

// isSwept tells whether somebody has noted that the session of this process is over.
func (d *durable) isSwept(ctx context.Context) (bool, error) {
	d.mu.Lock()
	own := d.now.sessions[len(d.now.sessions)-1:]
	d.mu.Unlock()
	noted, err := within(ctx, func(ctx context.Context) ([]bool, error) {
		return d.client.Store().Scripts().Cancelled(ctx, d.keys, own)
	})
	return err == nil && noted[0], err
}

// finish sweeps, if that is not done, and removes the checkpoint of a batch that is complete; it saves that of another one.
func (d *durable) finish(ctx context.Context, complete bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	if complete { // otherwise the next owner sweeps
		brief, stop := context.WithTimeout(ctx, finishTimeout/2)
		d.sweep(brief)
		stop()
	}
	for {
		err := d.end(ctx, complete)
		final, isFinal := errors.AsType[finalError](err)
		switch {
		case err == nil:
			return nil
		case isFinal:
			return d.wrap("save", final.error)
		}
		if idle(ctx, savePause); ctx.Err() != nil {
			return d.wrap("save", fmt.Errorf("%w: %w", stream.ErrUnavailable, err))
		}
	}
}

func (d *durable) end(ctx context.Context, complete bool) error {
	if !complete {
		return d.save(ctx, true)
	}
	d.turn.Lock()
	defer d.turn.Unlock()
	if d.over {
		return finalError{ErrTakenOver}
	}
	removed, err := within(ctx, func(ctx context.Context) (bool, error) {
		return d.client.Store().Scripts().Discard(ctx, d.keys, d.name, d.now.owner, true)
	})
	if err == nil && !removed {
		d.over = true
		err = finalError{ErrTakenOver}
	}
	return err
}

// swept notes that the sessions of owners before have no tasks left.
func (d *durable) swept() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.sessions = slices.Clone(d.now.sessions[len(d.now.sessions)-1:])
	d.changed = true
}
