package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/stream"
)

// accumulate makes the accumulator of a Reduce known to its checkpoint.
func accumulate[Acc any](acc *Acc) *accumulator {
	return &accumulator{
		encode: func(codec stream.Codec) ([]byte, error) { return codec.Encode(*acc) },
		decode: func(codec stream.Codec, data []byte) error {
			var fresh Acc
			err := codec.Decode(data, &fresh)
			if err == nil {
				*acc = fresh
			}
			return err
		},
	}
}

// resume claims the checkpoint, and sets the batch to where it is.
func (b *Batch[In, Out]) resume(ctx context.Context, cancel context.CancelCauseFunc, acc *accumulator) error {
	d := b.durable
	d.ctx, d.acc = ctx, acc
	d.stop = func(err error) {
		cancel(err) // BEFORE fail, after which the loop would be given what has come in
		b.flow.fail(err)
	}
	if err := d.claim(ctx, b.ID()); err != nil {
		return d.wrap("claim", err)
	}
	b.flow.resume(d.now.delivered, d.now.failed)
	return nil
}

// claim makes this process the owner of the checkpoint, and takes in what it holds. Like the making of a session, it goes on for a
// while when Redis does not answer.
func (d *durable) claim(ctx context.Context, session string) error {
	kind := kindLoop
	if d.acc != nil {
		kind = kindFold
	}
	call := script.Claim{Name: d.name, Owner: stream.NewID(), Session: session, Function: d.function, Kind: kind, TTL: d.ttl}
	if d.acc != nil { // a codec that does not suit it is to be known before anything is sent
		if _, err := d.acc.encode(d.codec); err != nil {
			return fmt.Errorf("encode the accumulator: %w", err)
		}
	}
	claimed, err := d.insist(ctx, func(ctx context.Context) (script.Claimed, error) {
		return d.client.Store().Scripts().Claim(ctx, d.keys, call)
	})
	switch {
	case err != nil:
		return err
	case claimed.Taken:
		return ErrTakenOver
	case claimed.Other:
		f := claimed.Fields
		return fmt.Errorf("%w: of %s by a %s, version %s, and this is %s by a %s, version %s: use another name, or Discard it",
			ErrOtherBatch, f["function"], f["kind"], f["v"], d.function, kind, script.CheckpointVersion)
	}
	s, err := parseSaved(claimed.Fields)
	if err != nil {
		return err
	}
	if s.folded {
		if err = d.acc.decode(d.codec, []byte(s.acc)); err != nil {
			return fmt.Errorf("decode the accumulator: %w", err)
		}
	}
	s.acc = ""
	d.now, d.changed, d.heard, d.claimed = *s, s.at == 0, time.Now(), claimed.Now
	d.inputs, d.sum = s.inputs, s.sum
	return nil
}

// insist calls Redis until it answers.
func (d *durable) insist(ctx context.Context, call func(context.Context) (script.Claimed, error)) (script.Claimed, error) {
	began := time.Now()
	for {
		claimed, err := within(ctx, call)
		switch {
		case err == nil || ctx.Err() != nil || isFinal(err):
			return claimed, err
		case time.Since(began) >= d.client.RetryFor():
			return claimed, fmt.Errorf("%w: %w", stream.ErrUnavailable, err)
		}
		idle(ctx, savePause)
	}
}

// idle waits, or until ctx is done.
func idle(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// resume says what was delivered before.
func (f *flow[In, Out]) resume(delivered spans, failed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resumed = delivered.count()
	f.done, f.failed = f.resumed-failed, failed
	f.ready.before = append(spans(nil), delivered...)
	if f.limits.failures > 0 && failed >= f.limits.failures {
		f.stop(&FailuresError{Limit: f.limits.failures})
	}
}

// skip goes on to the input with an index: those before it were delivered.
func (f *flow[In, Out]) skip(to int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if to == f.taken {
		return
	}
	f.seal() // indexes in a parcel have no gap
	f.skipped += to - f.taken
	f.taken = to
}

// fed is an input that is to be sent again.
type fed[In any] struct {
	index   int
	input   In
	payload []byte
	err     error
}

// feedAgain takes in the inputs of a durable batch. Those that were taken before it was resumed are compared first: whatever of them
// was not delivered, no more than a window of them, waits until it is known that they are the same.
func (b *Batch[In, Out]) feedAgain(ctx context.Context) {
	d := b.durable
	upto, want := d.inputs, d.sum
	delivered := append(spans(nil), d.now.delivered...)
	var sum uint32
	var held []fed[In]
	index := 0
	for input := range b.inputs {
		payload, err := b.fn.Payload(b.client, input)
		sum = mix(sum, payload, err)
		one := fed[In]{index, input, payload, err}
		index++
		switch {
		case ctx.Err() != nil:
			return
		case index > upto:
			d.took(index, sum)
			if !b.take(ctx, one) {
				return
			}
			continue
		case delivered.after(one.index) == one.index:
			held = append(held, one)
		}
		if index == upto && !b.feedHeld(ctx, held, sum == want) {
			return
		}
	}
	switch {
	case ctx.Err() != nil || b.ctx.Err() != nil: // why they ended: the batch is not complete
		return
	case index < upto:
		b.flow.fail(d.wrap("resume", fmt.Errorf("%w: they end after %d, and %d were taken before", ErrOtherInputs, index, upto)))
	default:
		b.flow.finish()
	}
}

// feedHeld takes in what was not delivered of the inputs that were taken before.
func (b *Batch[In, Out]) feedHeld(ctx context.Context, held []fed[In], same bool) bool {
	d := b.durable
	if !same {
		b.flow.fail(d.wrap("resume", fmt.Errorf("%w: the first %d differ from those taken before, in themselves or in their order", ErrOtherInputs, d.inputs)))
		return false
	}
	for _, one := range held {
		b.flow.skip(one.index)
		if !b.take(ctx, one) {
			return false
		}
	}
	b.flow.skip(d.inputs)
	return true
}

// take takes one input in; it returns false when the batch is over.
func (b *Batch[In, Out]) take(ctx context.Context, one fed[In]) bool {
	if one.err != nil {
		return b.flow.refuse(ctx, one.input, one.err)
	}
	return b.flow.admit(ctx, one.input, one.payload)
}

// close ends the session and, with a last save, the checkpoint.
func (b *Batch[In, Out]) close(ctx context.Context, how ending) error {
	d := b.durable
	if d == nil || d.lost.Load() {
		return b.session.close(ctx)
	}
	var err, left error
	if stopped, complete := b.flow.end(); complete && stopped == nil && how == exhausted {
		// The session BEFORE the checkpoint: whoever dies in between leaves to the next owner what names the session.
		left = b.session.close(ctx)
		err = d.finish(ctx, true)
	} else {
		var saving sync.WaitGroup
		saving.Go(func() { err = d.finish(ctx, false) })
		left = b.session.close(ctx)
		saving.Wait()
	}
	if errors.Is(err, ErrTakenOver) {
		b.flow.fail(err)
		err = nil
	}
	return errors.Join(err, left)
}

// sweep cancels the tasks of owners before that have not started: nobody waits for them. What it could not do it leaves to the end of
// the batch, and to the next owner.
func (d *durable) sweep(ctx context.Context) {
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	d.mu.Lock()
	old := d.now.sessions[:len(d.now.sessions)-1]
	d.mu.Unlock()
	for _, session := range old {
		if _, err := within(ctx, func(ctx context.Context) (int, error) { return 0, d.sweepOne(ctx, session) }); err != nil {
			d.client.Store().Logger().Warn("tasks of a process that ran the batch before may be left", zap.String("batch", d.name), zap.Error(err))
			return
		}
	}
	if len(old) > 0 {
		d.swept()
	}
}

// sweepOne first notes that the session is over, so that no item of its chunks becomes a task from then on, and ends its reply stream
// last: while that is there, a process that lives hears of what is cancelled, and asks whether it was taken over.
func (d *durable) sweepOne(ctx context.Context, session string) error {
	store := d.client.Store()
	if _, err := store.Scripts().Cancel(ctx, d.keys, store.Group(), []script.TaskRef{{ID: session}}); err != nil {
		return err
	}
	for next := "-"; next != "" && ctx.Err() == nil; {
		var tasks []script.TaskRef
		var err error
		if tasks, next, err = store.Scripts().Leftover(ctx, d.keys, session, next, d.claimed); err != nil {
			return err
		}
		if _, err = store.Scripts().Cancel(ctx, d.keys, store.Group(), tasks); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return store.Client().Del(ctx, d.keys.Reply(session), d.keys.Context(session)).Err()
}
