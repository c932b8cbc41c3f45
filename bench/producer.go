package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// fillers are the callers of a system without batches when a queue is filled.
const fillers = 50

// produce is the producer process.
func produce(ctx context.Context, j job, v *voice, words <-chan string) error {
	s, err := systemNamed(j.System)
	if err != nil {
		return err
	}
	q, err := s.open(ctx, j.Address)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	p := &producer{job: j, queue: q, voice: v}
	actions := map[string]func(context.Context) error{
		"fill": p.fill, "rate": p.rate, "batches": p.batches, "delayed": p.delayed,
		"step": func(ctx context.Context) error { return p.step(ctx, words) },
	}
	action := actions[j.Action]
	if action == nil {
		return errors.New("unknown action " + j.Action)
	}
	return action(ctx)
}

// producer enqueues tasks, numbered from 0.
type producer struct {
	job   job
	queue queue
	voice *voice
	next  atomic.Uint64
}

func (p *producer) payload() []byte { return newPayload(p.job.Size, p.next.Add(1)-1, time.Now()) }

// done reports how many tasks were stored in which time.
func (p *producer) done(ctx context.Context, stored int64, took time.Duration, cpu float64) error {
	left, err := p.queue.Left(ctx)
	if err != nil {
		return err
	}
	p.voice.say(report{Event: "done", Count: stored, Left: left, Seconds: took.Seconds(), CPU: cpu})
	return nil
}

// fill stores a number of tasks the fastest way there is.
func (p *producer) fill(ctx context.Context) error {
	began, cpu := time.Now(), ownCPU()
	batches, ok := p.queue.(batcher)
	if !ok {
		group, ctx := errgroup.WithContext(ctx)
		for range fillers {
			group.Go(func() error {
				for {
					index := p.next.Add(1) - 1
					if index >= uint64(p.job.Tasks) {
						return nil
					}
					if err := p.queue.Enqueue(ctx, newPayload(p.job.Size, index, time.Now())); err != nil {
						return err
					}
				}
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return p.done(ctx, int64(p.job.Tasks), time.Since(began), ownCPU()-cpu)
	}
	batch := min(p.job.Batch, max(1, (1<<20)/p.job.Size))
	for stored := 0; stored < p.job.Tasks; {
		n := min(batch, p.job.Tasks-stored)
		if err := batches.EnqueueBatch(ctx, p.some(n)); err != nil {
			return err
		}
		stored += n
	}
	return p.done(ctx, int64(p.job.Tasks), time.Since(began), ownCPU()-cpu)
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
	began, cpu := time.Now(), ownCPU()
	group, groupCtx := errgroup.WithContext(ctx)
	var stored atomic.Int64
	for range p.job.Callers {
		group.Go(func() error {
			for !p.over(began, stored.Load()) {
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
	took := time.Since(began)
	return p.done(ctx, stored.Load()+1, took, ownCPU()-cpu)
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
	began, cpu, stored := time.Now(), ownCPU(), int64(1)
	for !p.over(began, stored-1) {
		if err := batches.EnqueueBatch(ctx, p.some(p.job.Batch)); err != nil {
			return err
		}
		stored += int64(p.job.Batch)
	}
	return p.done(ctx, stored, time.Since(began), ownCPU()-cpu)
}

// step enqueues a task for each word on standard input.
func (p *producer) step(ctx context.Context, words <-chan string) error {
	p.voice.say(report{Event: "ready"})
	for range words {
		if err := p.queue.Enqueue(ctx, p.payload()); err != nil {
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
	began, cpu := time.Now(), ownCPU()
	for i := range p.job.Tasks {
		now := time.Now()
		after := began.Add(p.job.Time + time.Duration(i)*7*time.Millisecond).Sub(now).Truncate(time.Millisecond)
		if err := delays.EnqueueAfter(ctx, newPayload(p.job.Size, uint64(i), now.Add(after)), after); err != nil {
			return err
		}
	}
	return p.done(ctx, int64(p.job.Tasks), time.Since(began), ownCPU()-cpu)
}
