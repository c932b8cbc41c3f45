package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// metric is a line of the table.
type metric struct {
	key   string
	title string
	less  bool // less is better
}

// row is a measurement that gives one or more metrics.
type row struct {
	name    string
	metrics []metric
	varies  []string // keys of metrics that say nothing of a regression
	only    []string // systems it makes sense for; nil for all
	rounds  int      // at most so many; 0 for all
	others  int      // at most so many for others than the floor and ours; 0 for all
	serves  bool     // it starts its servers itself
	aof     bool     // Redis keeps an append-only file
	run     func(ctx context.Context, b *bench) error
}

const (
	concurrency = 100
	fillBatch   = 1000
	smallTask   = 100 // bytes
	killRow     = "kill"
	aofPrefix   = "aof-"
)

func rows() []row {
	return slices.Concat(rateRows("", ""), []row{
		runRow("run1k", "1 KiB", 1<<10, 60_000),
		runRow("run64k", "64 KiB", 64<<10, 3_000),
		{name: "latency", run: latency, metrics: []metric{
			{"p50", "idle queue, enqueue to handler start, p50 ms", true}, {"p99", "idle queue, enqueue to handler start, p99 ms", true},
		}},
		{name: "delayed", run: delayed, metrics: []metric{
			{"p50", "delayed task, late by, p50 ms", true}, {"p99", "delayed task, late by, p99 ms", true},
		}},
		{name: killRow, run: kill, metrics: []metric{{"s", "kill -9 of a worker to running again, s", true}}},
		{name: "spread", run: spread, others: 1, serves: true, metrics: []metric{
			{"1", "10 tasks of 1 s on 1 worker, s", true},
			{"4", "10 tasks of 1 s on 4 workers, s", true},
			{"10", "10 tasks of 1 s on 10 workers, s", true},
		}},
		{name: "idle", run: idle, others: 2, metrics: []metric{
			{"cpu", "idle worker, % of a CPU", true}, {"commands", "idle worker, Redis commands/s", true},
		}},
	}, waitingRows(), aofRows(), boundRows(), []row{instructionsRow()})
}

// rateRows are those of throughput, under names and titles that begin alike.
func rateRows(name, title string) []row {
	run := runRow(name+"run100", "100 B", smallTask, 200_000)
	run.metrics = append(run.metrics, metric{"waiting", "Redis bytes per waiting task of 100 B", true}, metric{"left", "Redis KiB left when done", true})
	all := []row{
		run,
		rateRow(name+"lone", "enqueue, lone caller, tasks/s", job{Action: "rate", Callers: 1}),
		rateRow(name+"callers", "enqueue, 50 callers, tasks/s", job{Action: "rate", Callers: 50}),
		rateRow(name+"batches", "enqueue, batches of 1,000, tasks/s", job{Action: "batches"}),
	}
	for i := range all {
		for j := range all[i].metrics {
			all[i].metrics[j].title = title + all[i].metrics[j].title
		}
	}
	return all
}

// aofRows are those of throughput with a Redis that writes to its disk.
func aofRows() []row {
	all := rateRows(aofPrefix, "AOF everysec: ")
	for i := range all {
		all[i].aof, all[i].only = true, []string{floorName, oursName, "asynq"}
	}
	return all
}

// runRow measures how fast no-op tasks run that wait when the worker starts.
func runRow(name, size string, bytes, tasks int) row {
	r := row{name: name, metrics: []metric{
		{"rate", "run no-op tasks of " + size + ", tasks/s", false},
		{"worker", "worker CPU s per 100,000 tasks of " + size, true},
		{"server", "server CPU s per 100,000 tasks of " + size, true},
	}}
	r.run = func(ctx context.Context, b *bench) error { return b.runTasks(ctx, bytes, b.tasks(tasks)) }
	return r
}

func (b *bench) runTasks(ctx context.Context, size, tasks int) error {
	memory := b.server.redis != nil
	_, err := b.produce(ctx, job{Action: "fill", Size: size, Tasks: tasks, Batch: fillBatch})
	if err != nil {
		return err
	}
	if memory {
		bytes, err := b.server.memory(ctx)
		if err != nil {
			return err
		}
		b.values["waiting"] = float64(bytes) / float64(tasks)
	}
	before, err := b.server.cpu(ctx)
	if err != nil {
		return err
	}
	p, err := b.worker(ctx, job{Tasks: tasks, Work: workOptions{Concurrency: concurrency}})
	if err != nil {
		return err
	}
	r, err := p.await(ctx, "done")
	if err != nil {
		b.explain(ctx, p, int64(tasks))
		return err
	}
	after, err := b.server.cpu(ctx)
	if err != nil {
		return err
	}
	per := 100_000 / float64(tasks)
	b.values["rate"], b.values["worker"], b.values["server"] = float64(tasks)/r.Seconds, r.CPU*per, (after-before)*per
	if memory {
		bytes, err := b.server.memory(ctx)
		if err != nil {
			return err
		}
		b.values["left"] = float64(bytes) / 1024
	}
	if err := p.say("stop"); err != nil {
		return err
	}
	last, err := p.await(ctx, "bye") // what ran a second time after the end counts too
	b.check(int64(tasks), last.Count, last.Twice)
	return err
}

// explain says how many tasks ran when not all did in time.
func (b *bench) explain(ctx context.Context, p *process, sent int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	_ = b.checkAtEnd(ctx, p, sent) // a worker that says nothing any more has nothing to tell
}

// rateRow measures how fast tasks are stored.
func rateRow(name, title string, j job) row {
	return row{name: name, metrics: []metric{{"rate", title, false}}, run: func(ctx context.Context, b *bench) error {
		j.Size, j.Time, j.Batch = smallTask, b.window, fillBatch
		r, err := b.produce(ctx, j)
		if err != nil {
			return err
		}
		if r.Left != r.Count {
			b.complain("%d tasks stored, %d there", r.Count, r.Left)
		}
		b.values["rate"] = float64(r.Count-1) / r.Seconds
		return nil
	}}
}

// latency enqueues one task at a time on an idle queue.
func latency(ctx context.Context, b *bench) error {
	const samples = 300
	w, err := b.worker(ctx, job{Tell: true, Work: workOptions{Concurrency: concurrency}})
	if err != nil {
		return err
	}
	times, err := b.latencies(ctx, w, samples, workOptions{})
	if err != nil {
		return err
	}
	b.values["p50"], b.values["p99"] = quantile(times, 0.5), quantile(times, 0.99)
	return b.checkAtEnd(ctx, w, int64(len(times)+1))
}

// latencies enqueues tasks, each when the one before has started, and tells how long each took to start, in ms. There is one task more than
// times: the first one connects.
func (b *bench) latencies(ctx context.Context, w *process, samples int, o workOptions) (times []float64, err error) {
	const least = 5
	p, err := b.spawn(ctx, job{Role: "produce", Action: "step", Size: smallTask, Work: o})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if _, err = p.await(ctx, "ready"); err != nil {
		return nil, err
	}
	for began, first := time.Now(), true; len(times) < samples && (len(times) < least || time.Since(began) < 4*b.window); first = false {
		if err = pause(ctx, time.Duration(3+rand.IntN(5))*time.Millisecond); err != nil {
			return nil, err
		}
		if err = p.say("go"); err != nil {
			return nil, err
		}
		r, err := w.await(ctx, "start")
		if err != nil {
			return nil, err
		}
		if !first {
			times = append(times, float64(r.Since)/1e6)
		}
	}
	return times, nil
}

// checkAtEnd stops a worker and checks what it ran.
func (b *bench) checkAtEnd(ctx context.Context, w *process, sent int64) error {
	if err := w.say("stop"); err != nil {
		return err
	}
	last, err := w.await(ctx, "bye")
	b.check(sent, last.Count, last.Twice)
	return err
}

// delayed enqueues tasks that are due later, and looks how late they start.
func delayed(ctx context.Context, b *bench) error {
	const tasks = 150
	w, err := b.worker(ctx, job{Tell: true, Work: workOptions{Concurrency: concurrency, Delayed: true}})
	if err != nil {
		return err
	}
	if err = pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	if _, err = b.produce(ctx, job{Action: "delayed", Tasks: tasks, Size: smallTask, Time: 500 * time.Millisecond}); err != nil {
		return err
	}
	started, err := gather(ctx, []*process{w}, "start", tasks)
	if err != nil {
		return err
	}
	late := make([]float64, len(started))
	for i, r := range started {
		late[i] = float64(r.Since) / 1e6
		if r.Since < 0 {
			b.complain("a task started %.3f ms early", -late[i])
		}
	}
	b.values["p50"], b.values["p99"] = quantile(late, 0.5), quantile(late, 0.99)
	return b.checkAtEnd(ctx, w, tasks)
}

// kill kills a worker that runs a task, and waits until another worker runs it.
func kill(ctx context.Context, b *bench) error {
	stuck := job{Tell: true, Sleep: time.Hour, Work: workOptions{Concurrency: 1, Reclaim: true}}
	victim, err := b.worker(ctx, stuck)
	if err != nil {
		return err
	}
	defer victim.kill()
	if _, err = b.produce(ctx, job{Action: "fill", Tasks: 1, Size: smallTask, Batch: 1}); err != nil {
		return err
	}
	if _, err = victim.await(ctx, "start"); err != nil {
		return err
	}
	heir, err := b.worker(ctx, stuck)
	if err != nil {
		return err
	}
	defer heir.kill()
	if err = pause(ctx, time.Second); err != nil {
		return err
	}
	killed := time.Now()
	victim.kill()
	r, err := heir.await(ctx, "start")
	b.values["s"] = time.Unix(0, r.At).Sub(killed).Seconds()
	return err
}

// spread looks how tasks of a second share workers that run one at a time. They hardly need the CPU, so it looks at all numbers of workers at
// a time, each with a server of its own.
func spread(ctx context.Context, b *bench) error {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range []int{1, 4, 10} {
		group.Go(func() error {
			o, err := b.run(ctx, row{name: b.row, run: func(ctx context.Context, one *bench) error {
				took, err := one.spreadOver(ctx, n)
				one.values[fmt.Sprint(n)] = took
				return err
			}}, b.system)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(b.values, o.values)
			b.trouble = append(b.trouble, o.trouble...)
			return nil
		})
	}
	return group.Wait()
}

func (b *bench) spreadOver(ctx context.Context, n int) (float64, error) {
	const tasks = 10
	workers := make([]*process, n)
	for i := range workers {
		w, err := b.worker(ctx, job{Tell: true, Sleep: time.Second, Work: workOptions{Concurrency: 1}})
		if err != nil {
			return 0, err
		}
		workers[i] = w
		defer w.stop()
	}
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := b.produce(ctx, job{Action: "fill", Tasks: tasks, Size: smallTask, Batch: tasks}); err != nil {
		return 0, err
	}
	ends, err := gather(ctx, workers, "end", tasks)
	if err != nil {
		return 0, err
	}
	last, seen := began, map[uint64]bool{}
	for _, r := range ends {
		if at := time.Unix(0, r.At); at.After(last) {
			last = at
		}
		seen[r.Index] = true
	}
	b.check(tasks, int64(len(seen)), 0)
	return last.Sub(began).Seconds(), nil
}

// idle looks what a worker without tasks costs.
func idle(ctx context.Context, b *bench) error {
	w, err := b.worker(ctx, job{Work: workOptions{Concurrency: concurrency}})
	if err != nil {
		return err
	}
	if err = pause(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	cost, err := b.idleCost(ctx, w)
	b.values["cpu"] = cost.worker
	if b.server.redis != nil {
		b.values["commands"] = cost.commands
	}
	return err
}
