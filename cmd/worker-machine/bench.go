package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/latency"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/internal/wire"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	queue       string
	tasks       int
	duration    time.Duration
	rate        float64
	call        bool
	sizes       []string
	producers   int
	workers     int
	concurrency int
	busy        time.Duration

	bytes []int // of sizes
}

const (
	benchFunction = "bench"
	stampSize     = 8       // bytes of the time in a payload
	benchOut      = 100_000 // tasks that are stored and not done, at most
)

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put a load on a Redis, and report throughput and latency",
		Long: `Store tasks in a queue of its own and run them with workers in this process; then report how many were stored and done a second, and how
long it took to store one and until it ran. The queue is removed at the end, also after ctrl-C; one that exists is refused.

Without --rate tasks are stored as fast as possible, and wait in the queue for as long as the workers lag behind: to see how soon a task
starts on a quiet system, give a rate. With --call each producer waits for the result before it goes on.

What is measured is this machine and the way to Redis as much as Redis itself. At most 100,000 tasks are in the queue at a time.`,
		Example: `  worker-machine bench
  worker-machine bench --size 100 --size 10k --tasks 50000 --workers 4 --concurrency 64
  worker-machine bench --duration 30s --rate 500 --busy 20ms
  worker-machine bench --call --producers 8 --duration 10s --json | jq .latency.call.p99`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return a.bench(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.queue, "queue", "q", "", "the name of the queue, which must not exist (default: bench- and an ID)")
	flags.IntVarP(&f.tasks, "tasks", "n", 20_000, "how many tasks")
	flags.DurationVarP(&f.duration, "duration", "d", 0, "store tasks for that long, in place of --tasks")
	flags.Float64Var(&f.rate, "rate", 0, "tasks a second (default: as many as possible)")
	flags.BoolVar(&f.call, "call", false, "wait for each result")
	flags.StringArrayVar(&f.sizes, "size", []string{"100"}, "bytes of a payload, like 100 or 10k; may be repeated, for a round each")
	flags.IntVar(&f.producers, "producers", 16, "who store tasks, at a time")
	flags.IntVar(&f.workers, "workers", 2, "workers in this process; 0 to store only")
	flags.IntVarP(&f.concurrency, "concurrency", "c", 16, "handlers of each worker, at a time")
	flags.DurationVar(&f.busy, "busy", 0, "how long each handler takes")
	cmd.MarkFlagsMutuallyExclusive("tasks", "duration")
	_ = cmd.RegisterFlagCompletionFunc("queue", cobra.NoFileCompletions)
	return cmd
}

func (f *benchFlags) check() error {
	if err := checkQueue(f.queue); err != nil {
		return err
	}
	const most = 10_000
	for _, n := range []struct {
		flag            string
		value, from, to float64
	}{
		{"tasks", float64(f.tasks), 1, math.MaxInt32},
		{"duration", float64(f.duration), 0, math.MaxInt64},
		{"rate", f.rate, 0, math.MaxInt32},
		{"producers", float64(f.producers), 1, most},
		{"workers", float64(f.workers), 0, most},
		{"concurrency", float64(f.concurrency), 1, most},
		{"busy", float64(f.busy), 0, math.MaxInt64},
	} {
		if n.value < n.from {
			return usagef("--%s: at least %.0f", n.flag, n.from)
		}
		if n.value > n.to {
			return usagef("--%s: at most %.0f", n.flag, n.to)
		}
	}
	switch {
	case f.call && f.workers == 0:
		return usagef("--call: it needs --workers")
	case f.workers == 0 && f.duration == 0 && f.tasks > benchOut:
		return usagef("--tasks: at most %d without --workers", benchOut)
	}
	return f.readSizes()
}

// readSizes reads --size.
func (f *benchFlags) readSizes() error {
	for _, text := range f.sizes {
		var size byteSize
		if err := size.Set(text); err != nil {
			return usagef("--size: %w", err)
		}
		if size < byteSize(stampSize) || size > defaultMaxPayload {
			return usagef("--size: %d bytes to 1MiB", stampSize)
		}
		f.bytes = append(f.bytes, int(size))
	}
	return nil
}

// benchReport is what one round found.
type benchReport struct {
	Queue       string  `json:"queue"`
	Size        int     `json:"size"`
	Producers   int     `json:"producers"`
	Workers     int     `json:"workers"`
	Concurrency int     `json:"concurrency"`
	Stored      int64   `json:"stored"`
	StoredIn    float64 `json:"stored_seconds"`
	StoredRate  float64 `json:"stored_per_second"`
	Done        int64   `json:"done"`
	DoneIn      float64 `json:"done_seconds"`
	DoneRate    float64 `json:"done_per_second"`
	Latency     struct {
		Store *latency.Summary `json:"store,omitempty"` // of one enqueue
		Call  *latency.Summary `json:"call,omitempty"`  // until its result was here
		Start *latency.Summary `json:"start,omitempty"` // from the call of enqueue until a handler started
	} `json:"latency"`
}

// bench runs a round for each size.
func (a *app) bench(ctx context.Context, f *benchFlags) error {
	target, err := a.connectPatiently(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	if f.queue == "" {
		f.queue = "bench-" + ulid.Make().String()
	}
	if err := mustBeFree(ctx, target, f.queue); err != nil {
		return err
	}
	for i, size := range f.bytes {
		report, err := a.benchRound(ctx, target, f, size)
		err = errors.Join(err, target.forget(ctx, f.queue))
		if err != nil {
			return err
		}
		if i > 0 && !a.json {
			_ = a.printf("\n")
		}
		if err := a.printBench(report); err != nil {
			return err
		}
	}
	return nil
}

// benchRound runs one load to its end.
func (a *app) benchRound(ctx context.Context, target *connection, f *benchFlags, size int) (*benchReport, error) {
	l, err := newLoad(target, f, size)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop, err := l.startWorkers(ctx, cancel)
	if err == nil {
		err = a.watchLoad(ctx, l)
	}
	stop()
	err = errors.Join(err, l.client.Close(context.WithoutCancel(ctx)))
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return l.report(), err
}

// watchLoad runs the load, and draws how far it is.
func (a *app) watchLoad(ctx context.Context, l *load) error {
	bar := a.newCounter("", 0)
	defer bar.finish()
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()
	tick := time.NewTicker(counterEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			rate := float64(l.done.Load()) / max(time.Since(l.began).Seconds(), time.Millisecond.Seconds())
			bar.line("%d stored, %d done, %.0f a second", l.stored.Load(), l.done.Load(), rate)
		}
	}
}

func (a *app) printBench(r *benchReport) error {
	if a.json {
		return a.printJSON(r)
	}
	if err := a.printf("queue %s: payloads of %s, %d producers, %d workers with %d handlers each\n\n",
		r.Queue, plain.Bytes(int64(r.Size)), r.Producers, r.Workers, r.Concurrency); err != nil {
		return err
	}
	rows := [][]string{{"stored", numberText(r.Stored), fmt.Sprintf("%.2f", r.StoredIn), fmt.Sprintf("%.0f", r.StoredRate)}}
	if r.Workers > 0 {
		rows = append(rows, []string{"done", numberText(r.Done), fmt.Sprintf("%.2f", r.DoneIn), fmt.Sprintf("%.0f", r.DoneRate)})
	}
	if err := plain.Table(a.stdout, []string{"", "tasks", "seconds", "a second"}, rows); err != nil {
		return err
	}
	rows = nil
	for _, row := range []struct {
		name string
		s    *latency.Summary
	}{{"to store a task", r.Latency.Store}, {"to call", r.Latency.Call}, {"until it starts", r.Latency.Start}} {
		if row.s != nil {
			rows = append(rows, []string{row.name, millis(row.s.Mean), millis(row.s.P50), millis(row.s.P90), millis(row.s.P99), millis(row.s.P999), millis(row.s.Max)})
		}
	}
	_ = a.printf("\n")
	return plain.Table(a.stdout, []string{"milliseconds", "mean", "p50", "p90", "p99", "p99.9", "max"}, rows)
}

func millis(seconds float64) string { return fmt.Sprintf("%.2f", seconds*1000) }

// mustBeFree refuses a queue of others.
func mustBeFree(ctx context.Context, target *connection, queue string) error {
	queues, err := target.store.Queues(ctx)
	if err != nil {
		return err
	}
	used := strings.Join(queues, "\n")
	keys := target.store.Keys(queue)
	n := int64(0)
	for _, key := range []string{keys.Tasks(), keys.Due(), keys.Body(), keys.Dead(), keys.State(), keys.Counts(), keys.Runs()} {
		found, err := target.client.Exists(ctx, key).Result()
		if err != nil {
			return fmt.Errorf("look whether queue %s is in use: %w", queue, err)
		}
		n += found
	}
	if n > 0 || strings.Contains("\n"+used+"\n", "\n"+queue+"\n") {
		return fmt.Errorf("queue %s is in use; bench removes its queue at the end, and takes a new one only: leave --queue out", queue)
	}
	return nil
}

// forget removes all that lies in Redis of a queue. It goes on when ctx has ended, for a while.
func (c *connection) forget(ctx context.Context, queue string) error {
	const patience = 15 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	found, err := c.keysOf(ctx, queue)
	keys := c.store.Keys(queue)
	pipe := c.client.Pipeline()
	for _, key := range append(found, keys.Tasks(), keys.Due(), keys.Body(), keys.Dead(), keys.State(), keys.Counts()) {
		pipe.Unlink(ctx, key)
	}
	pipe.SRem(ctx, wire.Queues(c.store.Prefix()), queue)
	if _, execErr := pipe.Exec(ctx); execErr != nil {
		return fmt.Errorf("remove queue %s: %w; worker-machine purge %[1]s removes its tasks", queue, execErr)
	}
	if err != nil && !isReply(err) { // who may not SCAN leaves keys that expire
		return fmt.Errorf("list the keys of queue %s: %w", queue, err)
	}
	return nil
}
