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
	for input := range b.inputs {
		task, err := b.fn.Task(b.client, input, b.options.task...)
		if err != nil {
			b.flow.refuse(input, err)
		} else if !b.flow.admit(ctx, input, task) {
			return
		}
		if !b.flow.awaitPlace(ctx) {
			return
		}
	}
	b.flow.finish()
}

// send sends the tasks: the first at once, and then each time those that came while the last send was on its way.
func (b *Batch[In, Out]) send(ctx, sending context.Context, s *stream.Session) {
	for {
		tasks := b.flow.chunk(ctx)
		if len(tasks) == 0 {
			return
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
		arrivals := make([]arrival[In, Out], 0, len(outcomes))
		for i := range outcomes {
			o := &outcomes[i]
			if it, ok := b.flow.claim(o.TaskID, len(o.Payload)); ok {
				arrivals = append(arrivals, arrival[In, Out]{result: b.result(it, o), bytes: it.bytes})
			}
		}
		b.flow.resolve(arrivals)
	}
}

// result makes the result of one input from the outcome of its task.
func (b *Batch[In, Out]) result(it item[In, Out], o *stream.Outcome) Result[In, Out] {
	r := Result[In, Out]{Index: it.index, Input: it.input, TaskID: o.TaskID}
	if o.Kind != wire.KindResult {
		r.Err, r.Attempt = stream.NewTaskError(*o), o.Failure.Attempt
		return r
	}
	value, err := b.fn.DecodeOut(o.Payload)
	if err != nil {
		r.Err = fmt.Errorf("mapreduce: result of task %s of %s: %w", o.TaskID, b.fn.Name, err)
		return r
	}
	r.Value = value
	return r
}
