package main

import (
	"context"
	"time"
)

// boundRows show what holds memory when tasks come ten times faster than they run.
func boundRows() []row {
	flood := func(name, what string, size int, pace float64) row {
		return row{name: name, only: []string{floorName, oursName}, rounds: 3, metrics: []metric{
			{"client", what + ": client, MiB at most", true},
			{"heap", what + ": heap of the client, MiB at most", true},
			{"worker", what + ": worker, MiB at most", true},
			{"redis", what + ": Redis, MiB at most", true},
			{"per", what + ": Redis bytes per waiting task", true},
		}, run: func(ctx context.Context, b *bench) error { return b.flood(ctx, size, pace) }}
	}
	return []row{
		flood("flood", "producer 10 times faster, 100 B", smallTask, 2000),
		flood("flood-1m", "producer 10 times faster, 1 MiB", mebibyte, 12),
	}
}

// flood stores tasks for some seconds, ten times as many as the worker's handlers can run.
func (b *bench) flood(ctx context.Context, size int, pace float64) error {
	const faster = 10
	w, err := b.worker(ctx, job{
		Memory: true, Pace: pace, Work: workOptions{Concurrency: concurrency, Few: true}, Sent: int(2 * faster * pace * b.floodTime().Seconds()),
	})
	if err != nil {
		return err
	}
	r, err := b.produce(ctx, job{Action: "rate", Memory: true, Pace: faster * pace, Callers: fillers, Size: size, Time: b.floodTime()})
	if err != nil {
		return err
	}
	if rate := float64(r.Count) / r.Seconds; rate < 0.9*faster*pace {
		b.complain("stored %s tasks/s, wanted %s: the machine is too slow", short(rate), short(faster*pace))
	}
	info, err := b.server.info(ctx, "memory")
	if err != nil {
		return err
	}
	if err := w.say("stop"); err != nil {
		return err
	}
	last, err := w.await(ctx, "bye")
	if err != nil {
		return err
	}
	left, err := b.left(ctx, workOptions{})
	b.check(r.Count, last.Count+left, last.Twice)
	b.values["client"], b.values["heap"], b.values["worker"] = r.RSS, r.Heap, last.RSS
	b.values["redis"], b.values["per"] = number(info, "used_memory_peak")/mebibyte, number(info, "used_memory")/max(1, float64(left))
	return err
}

func (b *bench) floodTime() time.Duration { return 4 * b.window }

// left is how many tasks the system says are there.
func (b *bench) left(ctx context.Context, w workOptions) (int64, error) {
	r, err := b.produce(ctx, job{Action: "count", Work: w})
	return r.Left, err
}
