package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	// inputGrace is how long the end of a batch waits for an input iterator that is busy.
	inputGrace = 50 * time.Millisecond
	// sendGrace is how long it waits for a send that is on its way.
	sendGrace = time.Second

	// A batch waits between these, doubling, while the queue is full.
	minPause     = 5 * time.Millisecond
	maxPause     = 500 * time.Millisecond
	maxDoublings = 10
)

// errCrashed stops a batch whose inputs or codec panicked; the panic is raised again in the loop over the results.
var errCrashed = errors.New("mapreduce: the inputs or the codec panicked")

// crew is the goroutines of one batch: feeder (pulls inputs), sender and collector.
type crew struct {
	cancel context.CancelFunc // ends all of them, but lets a send that is on its way arrive
	abort  context.CancelFunc // ends that too
	fed    chan struct{}      // closed when the feeder has returned
	loops  sync.WaitGroup     // sender and collector
	crash  atomic.Pointer[crash]
}

// crash is how a goroutine of the crew ended, if not by returning.
type crash struct{ value any } // of the panic; nil for runtime.Goexit

// hire starts the crew of a batch.
func (b *Batch[In, Out]) hire(ctx context.Context, s *stream.Session) *crew {
	ctx, cancel := context.WithCancel(ctx)
	sending, abort := context.WithCancel(context.WithoutCancel(ctx))
	c := &crew{cancel: cancel, abort: abort, fed: make(chan struct{})}
	go func() {
		defer close(c.fed)
		c.guard(b.flow.fail, func() { b.feed(ctx) })
	}()
	if b.durable != nil {
		c.loops.Go(func() { c.guard(b.flow.fail, func() { b.durable.keep(ctx) }) })
		c.loops.Go(func() { b.durable.sweep(ctx) })
	}
	c.loops.Go(func() { c.guard(b.flow.fail, func() { b.send(ctx, sending, s) }) })
	c.loops.Go(func() { c.guard(b.flow.fail, func() { b.collect(ctx, s) }) })
	return c
}

// guard runs loop and keeps its panic for raise.
func (c *crew) guard(fail func(error), loop func()) {
	returned := false
	defer func() {
		if !returned {
			c.crash.CompareAndSwap(nil, &crash{value: recover()})
			fail(errCrashed)
		}
	}()
	loop()
	returned = true
}

// dismiss ends the loops, then, by end, the session: what has not started is cancelled. A send that is on its way arrives first,
// because nobody could cancel tasks that are stored later. It waits only a moment for the feeder, which may be held by an input
// iterator that blocks.
func (c *crew) dismiss(end func() error, logger *zap.Logger) error {
	c.cancel()
	late := time.AfterFunc(sendGrace, c.abort)
	c.loops.Wait()
	late.Stop()
	c.abort()
	err := end()
	grace := time.NewTimer(inputGrace)
	defer grace.Stop()
	select {
	case <-c.fed:
	case <-grace.C:
		logger.Warn("inputs have not returned although their batch is over")
	}
	return err
}

// raise repeats the panic of a goroutine of the crew in this one.
func (c *crew) raise() {
	switch crash := c.crash.Load(); {
	case crash == nil:
	case crash.value == nil:
		runtime.Goexit()
	default:
		panic(crash.value)
	}
}

// feed takes in the inputs.
func (b *Batch[In, Out]) feed(ctx context.Context) {
	if b.durable != nil {
		b.feedAgain(ctx)
		return
	}
	for input := range b.inputs {
		payload, err := b.fn.Payload(b.client, input)
		if err == nil && !b.flow.admit(ctx, input, payload) || err != nil && !b.flow.refuse(ctx, input, err) {
			return
		}
	}
	if ctx.Err() == nil && b.ctx.Err() == nil { // otherwise that is why they ended, and more were to come
		b.flow.finish()
	}
}

// send sends the tasks: the first at once, and then each time those that came while the last send was on its way.
func (b *Batch[In, Out]) send(ctx, sending context.Context, s *stream.Session) {
	for {
		parcels := b.flow.next(ctx)
		if len(parcels) == 0 {
			return
		}
		tasks := make([]stream.Task, len(parcels))
		for i, p := range parcels {
			tasks[i] = p.task(b.template)
			p.pack = nil // the session keeps a copy
		}
		if err := store(ctx, sending, s, tasks); err != nil {
			if ctx.Err() == nil {
				b.flow.fail(fmt.Errorf("mapreduce: send tasks of %s in batch %s: %w", b.fn.Name, b.ID(), err))
			}
			return
		}
	}
}

// store stores tasks. A full queue is no error of a batch: what does not fit waits until it does, or until ctx is done.
func store(ctx, sending context.Context, s *stream.Session, tasks []stream.Task) error {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		n, err := s.Send(sending, tasks...)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, stream.ErrUnknownOutcome): // of the last tasks; for the batch it is the same: Redis is away
			return fmt.Errorf("%w: %w", stream.ErrUnavailable, err)
		case !errors.Is(err, stream.ErrQueueFull):
			return err
		}
		if tasks = tasks[n:]; n > 0 {
			attempt = 0
		}
		pause := time.NewTimer(minPause + rand.N(min(minPause<<min(attempt, maxDoublings), maxPause)))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	return nil
}

// collect takes outcomes to their inputs.
func (b *Batch[In, Out]) collect(ctx context.Context, s *stream.Session) {
	for {
		outcomes, err := s.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				b.flow.fail(fmt.Errorf("mapreduce: read results of %s in batch %s: %w", b.fn.Name, b.ID(), err))
			}
			return
		}
		for i := range outcomes {
			o := &outcomes[i]
			p, item := b.flow.find(o.TaskID)
			switch {
			case p == nil:
			case o.Kind == wire.KindPack:
				b.unpack(p, o)
			case p.take(item):
				s := &segment[In, Out]{parcel: p, at: item, values: make([]Out, 1), bytes: int64(len(o.Payload))}
				b.fill(s, 0, o)
				b.flow.unmeasured()
				b.flow.resolve(p, s)
			}
		}
	}
}

// unpack takes the outcomes of a chunk to their inputs.
func (b *Batch[In, Out]) unpack(p *parcel[In], o *stream.Outcome) {
	if o.Pack.Items != len(p.inputs) {
		return
	}
	b.flow.measured(o.Pack.Each, o.Pack.Items, o.Pack.Size())
	if !o.Pack.Mixed() && p.untouched() {
		b.flow.resolve(p, b.unpackResults(p, *o.Pack))
		return
	}
	var segments []*segment[In, Out]
	var s *segment[In, Out]
	pack := *o.Pack
	one := stream.Outcome{}
	for i := range p.inputs {
		kind, data, _ := pack.Next()
		if kind == wire.KindNone || !p.take(i) {
			s = nil
			continue
		}
		if s == nil {
			s = &segment[In, Out]{parcel: p, at: i, values: make([]Out, 0, len(p.inputs)-i)}
			segments = append(segments, s)
		}
		var zero Out
		s.values = append(s.values, zero)
		s.bytes += int64(len(data))
		one.Kind, one.Payload = kind, data
		b.fill(s, len(s.values)-1, &one)
	}
	b.flow.resolve(p, segments...)
}

// unpackResults is unpack for the usual chunk, whose items all have results.
func (b *Batch[In, Out]) unpackResults(p *parcel[In], pack wire.Pack) *segment[In, Out] {
	s := &segment[In, Out]{parcel: p, values: make([]Out, len(p.inputs))}
	for i := range s.values {
		_, data, _ := pack.Next()
		s.bytes += int64(len(data))
		b.fillValue(s, i, data)
	}
	return s
}

// fill makes the result of one input from the outcome of its task.
func (b *Batch[In, Out]) fill(s *segment[In, Out], i int, o *stream.Outcome) {
	if o.Kind == wire.KindResult {
		b.fillValue(s, i, o.Payload)
		return
	}
	failed := *o
	failed.TaskID = s.parcel.idOf(s.at + i)
	if len(o.Payload) > 0 { // of a pack
		failure, err := wire.DecodeFailure(o.Payload)
		if err != nil {
			failure.Message = err.Error()
		}
		failed.Failure = failure
	}
	if b.durable != nil && failed.Failure.Reason == wire.ReasonCancelled {
		b.durable.confirm(b.durable.ctx, b.session.hasLost)
	}
	s.fail(i, stream.NewTaskError(failed), failed.Failure.Attempt)
}

// fillValue makes the result of one input from that of its task.
func (b *Batch[In, Out]) fillValue(s *segment[In, Out], i int, data []byte) {
	value, err := b.fn.DecodeOut(data)
	if err != nil {
		s.fail(i, fmt.Errorf("mapreduce: result of task %s of %s: %w", s.parcel.idOf(s.at+i), b.fn.Name, err), 0)
		return
	}
	s.values[i] = value
}
