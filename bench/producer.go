package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// fillers are the callers of a system without batches when a queue is filled.
const fillers = 50

// produce is the producer process.
func produce(ctx context.Context, j job, v *voice, words <-chan string) error {
	return withQueue(ctx, j, func(q queue) error {
		p := &producer{job: j, queue: q, voice: v, pace: newPacer(j.Pace)}
		p.next.Store(j.First)
		actions := map[string]func(context.Context) error{
			"fill": p.fill, "rate": p.rate, "batches": p.batches, "delayed": p.delayed, "due": p.due, "count": p.countLeft,
			"step": func(ctx context.Context) error { return p.step(ctx, words) },
		}
		action := actions[j.Action]
		if action == nil {
			return errors.New("unknown action " + j.Action)
		}
		return action(ctx)
	})
}

// producer enqueues tasks, numbered from job.First.
type producer struct {
	job   job
	queue queue
	voice *voice
	pace  *pacer
	next  atomic.Uint64
}

func (p *producer) payload() []byte { return newPayload(p.job.Size, p.next.Add(1)-1, time.Now()) }

// stopwatch is when something began, and what CPU time had been used by then.
type stopwatch struct {
	began time.Time
	cpu   float64
}

func startWatch() stopwatch { return stopwatch{time.Now(), ownCPU()} }

// done reports how many tasks were stored since the watch was started.
func (p *producer) done(ctx context.Context, stored int64, w stopwatch) error {
	r := report{Event: "done", Count: stored, Seconds: time.Since(w.began).Seconds(), CPU: ownCPU() - w.cpu}
	var err error
	if r.Left, err = p.queue.Left(ctx); err != nil {
		return err
	}
	p.voice.say(r)
	return nil
}

// countLeft reports what the queue holds.
func (p *producer) countLeft(ctx context.Context) error { return p.done(ctx, 0, startWatch()) }

// each calls do for n tasks, from many goroutines.
func (p *producer) each(ctx context.Context, n int, do func(ctx context.Context, index uint64) error) error {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Uint64
	for range fillers {
		group.Go(func() error {
			for {
				index := next.Add(1) - 1
				if index >= uint64(n) {
					return nil
				}
				if err := do(ctx, index); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// fill stores a number of tasks the fastest way there is.
func (p *producer) fill(ctx context.Context) error {
	watch := startWatch()
	batches, ok := p.queue.(batcher)
	if !ok {
		err := p.each(ctx, p.job.Tasks, func(ctx context.Context, _ uint64) error { return p.queue.Enqueue(ctx, p.payload()) })
		if err != nil {
			return err
		}
		return p.done(ctx, int64(p.job.Tasks), watch)
	}
	batch := min(p.job.Batch, max(1, (1<<20)/p.job.Size))
	for stored := 0; stored < p.job.Tasks; {
		n := min(batch, p.job.Tasks-stored)
		if err := batches.EnqueueBatch(ctx, p.some(n)); err != nil {
			return err
		}
		stored += n
	}
	return p.done(ctx, int64(p.job.Tasks), watch)
}

func (p *producer) some(n int) [][]byte {
	payloads := make([][]byte, n)
	for i := range payloads {
		payloads[i] = p.payload()
	}
	return payloads
}

// rate enqueues from some callers for some time, or until Tasks are stored.
func (p *producer) rate(ctx context.Context) error {
	if err := p.queue.Enqueue(ctx, p.payload()); err != nil { // connects
		return err
	}
	watch := startWatch()
	group, groupCtx := errgroup.WithContext(ctx)
	var stored atomic.Int64
	for range p.job.Callers {
		group.Go(func() error {
			for !p.over(watch.began, stored.Load()) {
				p.pace.wait()
				if err := p.queue.Enqueue(groupCtx, p.payload()); err != nil {
					return err
				}
				stored.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.done(ctx, stored.Load()+1, watch)
}

// over tells whether a producer has done its work: its tasks are stored, or its time is over.
func (p *producer) over(began time.Time, stored int64) bool {
	if p.job.Tasks > 0 {
		return stored >= int64(p.job.Tasks)
	}
	return time.Since(began) >= p.job.Time
}

// batches enqueues batch after batch for some time, or until Tasks are stored.
func (p *producer) batches(ctx context.Context) error {
	batches, ok := p.queue.(batcher)
	if !ok {
		return errors.New("has no batches")
	}
	if err := batches.EnqueueBatch(ctx, p.some(1)); err != nil { // connects
		return err
	}
	watch, stored := startWatch(), int64(1)
	for !p.over(watch.began, stored-1) {
		if err := batches.EnqueueBatch(ctx, p.some(p.job.Batch)); err != nil {
			return err
		}
		stored += int64(p.job.Batch)
	}
	return p.done(ctx, stored, watch)
}

// step enqueues a task for each word on standard input. With many queues each task goes to another one than the task before.
func (p *producer) step(ctx context.Context, words <-chan string) error {
	const stride = 7919 // a prime: the queues come in no order, and each as often as the others
	p.voice.say(report{Event: "ready"})
	for range words {
		payload := p.payload()
		err := error(nil)
		if many, ok := p.queue.(spreader); ok && p.job.Work.Queues > 1 {
			err = many.EnqueueTo(ctx, int(p.next.Load()*stride%uint64(p.job.Work.Queues)), payload)
		} else {
			err = p.queue.Enqueue(ctx, payload)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// delayed enqueues tasks that are due one after the other, 7 ms apart. The time in a payload is when the task is due at the
// earliest, whatever the enqueue itself took.
func (p *producer) delayed(ctx context.Context) error {
	delays, ok := p.queue.(delayer)
	if !ok {
		return errors.New("has no delayed tasks")
	}
	watch := startWatch()
	for i := range p.job.Tasks {
		due := watch.began.Add(p.job.Time + time.Duration(i)*7*time.Millisecond)
		if err := p.at(ctx, delays, uint64(i), due); err != nil {
			return err
		}
	}
	return p.done(ctx, int64(p.job.Tasks), watch)
}

// at enqueues a task for later.
func (p *producer) at(ctx context.Context, delays delayer, index uint64, due time.Time) error {
	now := time.Now()
	after := due.Sub(now).Truncate(time.Millisecond)
	return delays.EnqueueAfter(ctx, newPayload(p.job.Size, index, now.Add(after)), after)
}

// due enqueues delayed tasks from many callers: Tasks of them for one second soon, all in it, and those up to Batch far away. The far ones have
// the higher numbers and come first.
func (p *producer) due(ctx context.Context) error {
	const slowest = 10_000 // tasks per second that a machine must be able to store
	delays, ok := p.queue.(delayer)
	if !ok {
		return errors.New("has no delayed tasks")
	}
	n, watch := p.job.Tasks, startWatch()
	err := p.each(ctx, p.job.Batch-n, func(ctx context.Context, index uint64) error {
		return p.at(ctx, delays, uint64(n)+index, watch.began.Add(p.job.Time))
	})
	if err != nil {
		return err
	}
	second := time.Now().Add(time.Second + time.Duration(n)*time.Second/slowest)
	err = p.each(ctx, n, func(ctx context.Context, index uint64) error {
		return p.at(ctx, delays, index, second.Add(time.Duration(index)*time.Second/time.Duration(n)))
	})
	if ahead := time.Until(second); err == nil && ahead < 0 {
		err = fmt.Errorf("stored the last task %v after the first was due: the machine is too slow", -ahead)
	}
	return errors.Join(err, p.done(ctx, int64(p.job.Batch), watch))
}
