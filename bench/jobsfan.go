package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/athoune/worker-machine/mapreduce"
)

// stragglers measures a run of 200 tasks of which one is slow where it runs first.
func (s *jobsSettings) stragglers(ctx context.Context) (string, error) {
	const workers, handlers, tasks = 4, 4, 200
	var b strings.Builder
	fmt.Fprintf(&b, "%d tasks of %v on %d workers with %d handlers each, so %v without the straggler; one takes %v where it runs first.\n\n",
		tasks, napTime, workers, handlers, tasks*napTime/(workers*handlers), s.straggler)
	b.WriteString("| | time of the run | tasks started a second time |\n| --- | --- | --- |\n")
	for _, c := range []struct {
		name    string
		options []mapreduce.RunOption
	}{{"with speculation", nil}, {"without", []mapreduce.RunOption{mapreduce.NoSpeculation()}}} {
		bed, err := s.newBed(ctx, workers, job{Sleep: s.straggler, Work: workOptions{Concurrency: handlers}})
		if err != nil {
			return "", err
		}
		took, copies, err := s.straggle(ctx, bed, tasks, c.options)
		bed.end()
		if err != nil {
			return "", err
		}
		s.tell("straggler: %s: %v", c.name, took)
		fmt.Fprintf(&b, "| %s | **%s** | %d |\n", c.name, inSeconds(took), copies)
	}
	return b.String(), nil
}

func (s *jobsSettings) straggle(ctx context.Context, b *bed, tasks int, options []mapreduce.RunOption) (time.Duration, int, error) {
	began := time.Now()
	run, err := sleepsJob(nil, 0).Submit(ctx, b.client, count(tasks), options...)
	if err != nil {
		return 0, 0, err
	}
	if err = run.Wait(ctx); err != nil {
		return 0, 0, err
	}
	took := time.Since(began)
	p, err := run.Progress(ctx)
	if err != nil {
		return 0, 0, err
	}
	values := 0
	for pair, err := range run.Results(ctx) {
		if err != nil {
			return 0, 0, err
		}
		values += pair.Value
	}
	if values != tasks {
		return 0, 0, fmt.Errorf("%d values of %d were reduced", values, tasks)
	}
	return took, p.Copies, (&wordCount{}).emptied(ctx, b, run.ID, 0)
}

func count(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// fanOut measures maps over tasks that do nothing beside tasks whose outcomes nobody wants.
func (s *jobsSettings) fanOut(ctx context.Context) (string, error) {
	ways := []struct {
		name string
		run  func(context.Context, *bed, int) error
	}{
		{"`EnqueueAll`, until all have run", enqueueAndDrain},
		{"`Map`, `Chunk(1)`", mapOver(mapreduce.Chunk(1))},
		{"`Map`", mapOver()},
	}
	rates := make([][]float64, len(ways))
	shares := make([][]float64, len(ways))
	for round := range s.rounds {
		for i, way := range ways {
			b, err := s.newBed(ctx, 1, job{Work: workOptions{Concurrency: 100}})
			if err != nil {
				return "", err
			}
			err = way.run(ctx, b, 100) // connections and scripts are there then
			began := time.Now()
			if err == nil {
				err = way.run(ctx, b, s.tasks)
			}
			rates[i] = append(rates[i], float64(s.tasks)/time.Since(began).Seconds())
			shares[i] = append(shares[i], rates[i][round]/rates[0][round])
			b.end()
			if err != nil {
				return "", fmt.Errorf("%s: %w", way.name, err)
			}
			s.tell("fan-out: round %d: %s: %.0f/s", round, way.name, rates[i][round])
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d tasks that do nothing, payloads of 10 bytes, one worker process; medians of %d interleaved rounds.\n\n", s.tasks, s.rounds)
	b.WriteString("| | tasks/s | least | most | beside `EnqueueAll` |\n| --- | --- | --- | --- | --- |\n")
	for i, way := range ways {
		fmt.Fprintf(&b, "| %s | **%.0f** | %.0f | %.0f | x%.2f |\n", way.name, median(rates[i]), quantile(rates[i], 0), quantile(rates[i], 1), median(shares[i]))
	}
	return b.String(), nil
}

func payloads(n int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range n {
			if !yield(fmt.Appendf(nil, "%010d", i)) {
				return
			}
		}
	}
}

// enqueueAndDrain stores tasks and waits until the queue is empty.
func enqueueAndDrain(ctx context.Context, b *bed, n int) error {
	if _, err := echo.EnqueueAll(ctx, b.client, payloads(n)); err != nil {
		return err
	}
	for {
		left, err := b.redis.XLen(ctx, b.store.Keys(queueName).Tasks()).Result()
		if err != nil || left == 0 {
			return err
		}
		if err = pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func mapOver(options ...mapreduce.Option) func(context.Context, *bed, int) error {
	return func(ctx context.Context, b *bed, n int) error {
		batch, got := mapreduce.Map(ctx, b.client, echo, payloads(n), options...), 0
		for r := range batch.Results() {
			if r.Err != nil {
				return r.Err
			}
			got++
		}
		if got != n {
			return errors.Join(fmt.Errorf("%d results of %d", got, n), batch.Err())
		}
		return batch.Err()
	}
}
