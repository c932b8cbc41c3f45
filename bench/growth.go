package main

import (
	"context"
	"slices"
	"time"
)

// growth is how cost grows with a number: one plot.
type growth struct {
	name    string
	heading string
	x       string // what grows
	points  []int
	quick   []int // what -quick takes
	systems []string
	panels  []panel
	columns []column
	run     func(ctx context.Context, b *bench, n int) error
}

// panel is one diagram of a plot. A second key is drawn with dashes.
type panel struct {
	Keys  []string `json:"keys"`
	Title string   `json:"title"` // with the unit
	Log   bool     `json:"log"`
}

// column is what a table shows of a value.
type column struct {
	Key   string `json:"key"`
	Title string `json:"title"`
}

// curve is what was measured of a growth; it is what -json writes.
type curve struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	X       string   `json:"x"`
	Panels  []panel  `json:"panels"`
	Columns []column `json:"columns"`
	Points  []*point `json:"points"`
}

// point is what one system needs at one number.
type point struct {
	N      int                `json:"n"`
	System string             `json:"system"`
	Values map[string]float64 `json:"values"`
}

// curve finds or adds the curve of a growth.
func (r *results) curve(g growth) *curve {
	at := slices.IndexFunc(r.Growth, func(c *curve) bool { return c.Name == g.name })
	if at < 0 {
		at = len(r.Growth)
		r.Growth = append(r.Growth, &curve{Name: g.name})
	}
	c := r.Growth[at]
	c.Title, c.X, c.Panels, c.Columns = g.heading, g.x, g.panels, g.columns
	return c
}

// at finds a point, nil when there is none.
func (c *curve) at(n int, system string) *point {
	for _, p := range c.Points {
		if p.N == n && p.System == system {
			return p
		}
	}
	return nil
}

// growths are all there are.
func growths() []growth {
	return []growth{
		{
			name: "waiting", heading: "Tasks that wait in one queue", x: "tasks waiting", systems: []string{floorName, oursName}, run: growWaiting,
			points: []int{1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000}, quick: []int{1, 1000, 100_000}, panels: []panel{
				{Keys: []string{"enqueue"}, Title: "enqueue, 50 callers, tasks/s"},
				{Keys: []string{"run"}, Title: "run, tasks/s"},
				{Keys: []string{"bytes"}, Title: "Redis bytes per task", Log: true},
			}, columns: []column{
				{"fill", "enqueue, batches of 1,000, tasks/s"},
				{"enqueue", "enqueue, 50 callers, tasks/s"},
				{"run", "run, tasks/s"},
				{"bytes", "Redis bytes per task"},
				{"client", "client, MiB at most"},
				{"memory", "worker, MiB at most"},
				{"redis", "Redis, MiB at most"},
			},
		},
		{
			name: "workers", heading: "Workers that read one queue", x: "workers", systems: []string{floorName, oursName}, run: growWorkers,
			points: []int{1, 10, 30, 100, 250, 500}, quick: []int{1, 5}, panels: []panel{
				{Keys: []string{"commands"}, Title: "idle, Redis commands/s", Log: true},
				{Keys: []string{"worker", "redis"}, Title: "idle, % of a CPU", Log: true},
				{Keys: []string{"rate"}, Title: "store and run, tasks/s"},
			}, columns: []column{
				{"commands", "idle, Redis commands/s"}, {"worker", "idle, all workers, % of a CPU"}, {"redis", "idle, Redis, % of a CPU"}, {"rate", "store and run, tasks/s"},
			},
		},
		{
			name: "queues", heading: "Queues that one worker reads", x: "queues", systems: []string{floorName, oursName}, run: growQueues,
			points: []int{1, 10, 30, 100, 300, 1000}, quick: []int{1, 10}, panels: []panel{
				{Keys: []string{"connections"}, Title: "connections to Redis", Log: true},
				{Keys: []string{"commands"}, Title: "idle, Redis commands/s", Log: true},
				{Keys: []string{"p50", "p99"}, Title: "enqueue to start, ms", Log: true},
			}, columns: []column{
				{"connections", "connections"},
				{"commands", "idle, Redis commands/s"},
				{"worker", "idle, worker, % of a CPU"},
				{"redis", "idle, Redis, % of a CPU"},
				{"p50", "enqueue to start, p50 ms"},
				{"p99", "p99 ms"},
			},
		},
		{
			name: "running", heading: "Handlers of 1 s that run at a time in one worker", x: "running", systems: []string{oursName}, run: growRunning,
			points: []int{1, 10, 100, 1000, 10_000}, quick: []int{50}, panels: []panel{
				{Keys: []string{"share"}, Title: "tasks/s, % of what is possible"},
				{Keys: []string{"memory"}, Title: "worker, MiB at most", Log: true},
				{Keys: []string{"lease"}, Title: "left of the lease, s at least"},
			}, columns: []column{
				{"rate", "tasks/s"}, {"share", "% of what is possible"}, {"memory", "worker, MiB at most"}, {"lease", "left of the lease of 10 s, s at least"},
			},
		},
		{
			name: "delayed", heading: "Delayed tasks, up to 100,000 of them due in one second", x: "tasks delayed", systems: []string{floorName, oursName}, run: growDelayed,
			points: []int{1, 10, 100, 1000, 10_000, 100_000, 1_000_000}, quick: []int{1, 1000}, panels: []panel{
				{Keys: []string{"enqueue"}, Title: "enqueue, 50 callers, tasks/s"},
				{Keys: []string{"p50", "p99"}, Title: "late by, ms", Log: true},
			}, columns: []column{{"enqueue", "enqueue, 50 callers, tasks/s"}, {"p50", "late by, p50 ms"}, {"p99", "p99 ms"}},
		},
	}
}

// leastRate is how many tasks make a rate: fewer are gone with one read or two.
const leastRate = 1000

// growWaiting measures with n tasks in the queue.
func growWaiting(ctx context.Context, b *bench, n int) error {
	const more, most = 20_000, 200_000 // stored on top, run of all
	filled, err := b.produce(ctx, job{Action: "fill", Memory: true, Size: smallTask, Tasks: n, Batch: fillBatch})
	if err != nil {
		return err
	}
	bytes, err := b.server.memory(ctx)
	if err != nil {
		return err
	}
	stored, err := b.produce(ctx, job{Action: "rate", First: uint64(n), Callers: fillers, Size: smallTask, Tasks: more})
	if err != nil {
		return err
	}
	sent := int64(n) + stored.Count
	info, err := b.server.info(ctx, "memory")
	if err != nil {
		return err
	}
	run := min(n, most)
	w, err := b.worker(ctx, job{Memory: true, Tasks: run, Sent: int(sent), Stay: true, Work: workOptions{Concurrency: concurrency}})
	if err != nil {
		return err
	}
	done, err := w.await(ctx, "done")
	if err != nil {
		return err
	}
	b.values["fill"], b.values["enqueue"], b.values["bytes"] = float64(n)/filled.Seconds, float64(stored.Count)/stored.Seconds, float64(bytes)/float64(n)
	b.values["redis"] = number(info, "used_memory_peak") / mebibyte
	if run >= leastRate {
		b.values["run"] = float64(run) / done.Seconds
	}
	last, err := b.stopAndCheck(ctx, w, sent, workOptions{})
	b.values["client"], b.values["memory"] = filled.RSS, last.RSS
	return err
}

// stopAndCheck stops a worker that has not run all, and checks that the rest is there.
func (b *bench) stopAndCheck(ctx context.Context, w *process, sent int64, o workOptions) (report, error) {
	if err := w.say("stop"); err != nil {
		return report{}, err
	}
	last, err := w.await(ctx, "bye")
	if err != nil {
		return last, err
	}
	left, err := b.left(ctx, o)
	b.check(sent, last.Count+left, last.Twice)
	return last, err
}

// idleCost is what workers without tasks need each second.
type idleCost struct{ worker, redis, commands float64 }

func (b *bench) idleCost(ctx context.Context, w *process) (cost idleCost, err error) {
	look := func() (at idleCost, err error) {
		if err = w.say("cpu"); err != nil {
			return at, err
		}
		r, err := w.await(ctx, "cpu")
		if err != nil {
			return at, err
		}
		at.worker = r.CPU
		if at.redis, err = b.server.cpu(ctx); err != nil || b.server.redis == nil {
			return at, err
		}
		at.commands, err = b.server.commands(ctx)
		return at, err
	}
	watch := startWatch()
	before, err := look()
	if err != nil {
		return cost, err
	}
	if err = pause(ctx, 4*b.window); err != nil {
		return cost, err
	}
	after, err := look()
	took := startWatch().began.Sub(watch.began).Seconds()
	return idleCost{
		worker: (after.worker - before.worker) / took * 100, redis: (after.redis - before.redis) / took * 100,
		commands: max(0, after.commands-before.commands-2) / took, // two were ours
	}, err
}

// growWorkers measures n workers, first without tasks, and then while a producer stores them. The workers are in one process, with
// connections of their own.
func growWorkers(ctx context.Context, b *bench, n int) error {
	tasks := b.tasks(100_000)
	w, err := b.worker(ctx, job{Tasks: tasks, Poll: 5 * time.Millisecond, Work: workOptions{Concurrency: 10, Workers: n}})
	if err != nil {
		return err
	}
	if err = pause(ctx, b.window+10*time.Millisecond*time.Duration(n)); err != nil { // until all are there
		return err
	}
	cost, err := b.idleCost(ctx, w)
	if err != nil {
		return err
	}
	if _, err = b.produce(ctx, job{Action: "fill", Size: smallTask, Tasks: tasks, Batch: fillBatch}); err != nil {
		return err
	}
	done, err := w.await(ctx, "done")
	if err != nil {
		b.explain(ctx, w, int64(tasks))
		return err
	}
	b.values["commands"], b.values["worker"], b.values["redis"], b.values["rate"] = cost.commands, cost.worker, cost.redis, float64(tasks)/done.Seconds
	return b.checkAtEnd(ctx, w, int64(tasks))
}

// growQueues measures one worker that reads n queues, first without tasks, and then with one at a time, each in another queue.
func growQueues(ctx context.Context, b *bench, n int) error {
	const samples = 200
	o := workOptions{Concurrency: concurrency, Queues: n}
	before, err := b.server.info(ctx, "clients")
	if err != nil {
		return err
	}
	w, err := b.worker(ctx, job{Tell: true, Work: o})
	if err != nil {
		return err
	}
	if err = pause(ctx, 2*b.window+3*time.Millisecond*time.Duration(n)); err != nil { // until it reads all
		return err
	}
	cost, err := b.idleCost(ctx, w)
	if err != nil {
		return err
	}
	after, err := b.server.info(ctx, "clients")
	if err != nil {
		return err
	}
	times, err := b.latencies(ctx, w, samples, o)
	b.values["connections"] = number(after, "connected_clients") - number(before, "connected_clients")
	b.values["commands"], b.values["worker"], b.values["redis"] = cost.commands, cost.worker, cost.redis
	b.values["p50"], b.values["p99"] = quantile(times, 0.5), quantile(times, 0.99)
	if err != nil {
		return err
	}
	_, err = b.stopAndCheck(ctx, w, int64(len(times)+1), o)
	return err
}

// growRunning measures handlers that wait a second, n at a time.
func growRunning(ctx context.Context, b *bench, n int) error {
	const waves = 5
	tasks := waves * n
	if _, err := b.produce(ctx, job{Action: "fill", Size: smallTask, Tasks: tasks, Batch: fillBatch}); err != nil {
		return err
	}
	w, err := b.worker(ctx, job{Memory: true, Tasks: tasks, Sleep: time.Second, Work: workOptions{Concurrency: n}})
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	least := make(chan float64, 1)
	go func() { least <- b.leastLease(watching) }()
	done, err := w.await(ctx, "done")
	cancel()
	if err != nil {
		b.explain(ctx, w, int64(tasks))
		return err
	}
	b.values["rate"], b.values["share"], b.values["lease"], b.values["memory"] = float64(tasks)/done.Seconds, waves/done.Seconds*100, <-least, done.RSS
	return b.checkAtEnd(ctx, w, int64(tasks))
}

// leastLease is the least time any worker had left of its lease, in seconds, until ctx is done.
func (b *bench) leastLease(ctx context.Context) float64 {
	least := -1.0
	_ = every(ctx, 20*time.Millisecond, func() error { // whoever asks has the answer, or -1
		names, err := b.server.redis.Keys(ctx, "*:lease:*").Result()
		for _, name := range names {
			if left := b.server.redis.PTTL(ctx, name).Val().Seconds(); left > 0 && (least < 0 || left < least) {
				least = left
			}
		}
		return err
	})
	return least
}

// growDelayed measures n delayed tasks, of which up to 100,000 are due in the same second and the others in an hour.
func growDelayed(ctx context.Context, b *bench, n int) error {
	const together = 100_000
	due := min(n, together)
	w, err := b.worker(ctx, job{Tasks: due, Sent: n, Late: true, Stay: true, Work: workOptions{Concurrency: concurrency, Delayed: true}})
	if err != nil {
		return err
	}
	if err = pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	stored, err := b.produce(ctx, job{Action: "due", Tasks: due, Batch: n, Size: smallTask, Time: time.Hour})
	if err != nil {
		return err
	}
	done, err := w.await(ctx, "done")
	if err != nil {
		b.explain(ctx, w, int64(due))
		return err
	}
	b.values["p50"], b.values["p99"] = done.Times[0], done.Times[1]
	if n >= leastRate {
		b.values["enqueue"] = float64(n) / stored.Seconds
	}
	if done.Times[2] < 0 {
		b.complain("a task started %.3f ms early", -done.Times[2])
	}
	_, err = b.stopAndCheck(ctx, w, int64(n), workOptions{})
	return err
}
