package main

import (
	"context"
	"fmt"
)

// waitingRows are those of callers who wait for results.
func waitingRows() []row {
	both := []string{floorName, oursName}
	return []row{
		{name: "calls", run: calls, only: both, metrics: []metric{
			{"p50", "call, lone, p50 ms", true}, {"p99", "call, lone, p99 ms", true}, {"many", "call, 50 callers, calls/s", false},
		}},
		{name: "map", run: mapRow, only: both, metrics: []metric{
			{"rate", "map of 16 B inputs, from the first input to the last result, items/s", false},
			{"in", "map, inputs taken, items/s", false},
			{"out", "map, results given back, items/s", false},
		}},
		{name: "mapreduce", run: mapReduceRow, only: []string{oursName}, metrics: []metric{
			{"workers", "map/reduce, words of 4 KiB texts, through one worker, texts/s", false},
			{"local", "the same function and fold, one process, one loop, texts/s", false},
		}},
	}
}

// calls measures round trips of calls.
func calls(ctx context.Context, b *bench) error {
	if _, err := b.worker(ctx, job{Work: workOptions{Concurrency: concurrency}}); err != nil {
		return err
	}
	for _, callers := range []int{1, 50} {
		r, err := b.call(ctx, job{Action: "call", Callers: callers, Size: smallTask, Time: b.window})
		if err != nil {
			return err
		}
		if callers == 1 {
			b.values["p50"], b.values["p99"] = r.Times[0], r.Times[1]
		} else {
			b.values["many"] = float64(r.Count) / r.Seconds
		}
	}
	return nil
}

// call runs a process of one who waits for results to its end.
func (b *bench) call(ctx context.Context, j job) (report, error) {
	j.Role = "call"
	p, err := b.spawn(ctx, j)
	if err != nil {
		return report{}, err
	}
	defer p.stop()
	return p.await(ctx, "done")
}

// mapRow measures a map with all defaults: inputs out to a worker, results back.
func mapRow(ctx context.Context, b *bench) error {
	if _, err := b.worker(ctx, job{Work: workOptions{Concurrency: concurrency}}); err != nil {
		return err
	}
	r, err := b.call(ctx, job{Action: "map", Size: minPayload, Time: 2 * b.window})
	if err != nil {
		return err
	}
	if r.Left != 0 || r.Twice != 0 {
		b.complain("%d inputs without a result, %d results that nobody waits for", r.Left, r.Twice)
	}
	items := float64(r.Count)
	b.values["rate"], b.values["in"], b.values["out"] = items/r.Seconds, items/r.Times[0], items/r.Times[1]
	return nil
}

// mapReduceRow measures Map and Reduce beside a loop.
func mapReduceRow(ctx context.Context, b *bench) error {
	if _, err := b.worker(ctx, job{Work: workOptions{Concurrency: concurrency}}); err != nil {
		return err
	}
	tasks := b.tasks(3000)
	r, err := b.call(ctx, job{Action: "mapreduce", Tasks: tasks, Size: 4 << 10})
	if err != nil {
		return fmt.Errorf("map and reduce: %w", err)
	}
	b.values["workers"], b.values["local"] = float64(tasks)/r.Seconds, float64(tasks)/r.Times[0]
	return nil
}
