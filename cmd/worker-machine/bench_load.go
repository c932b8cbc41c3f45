package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/latency"
	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/stream"
)

// load is one round of bench: producers, workers, and what they measure.
type load struct {
	flags  *benchFlags
	size   int
	target *connection
	client *stream.Client
	fn     stream.Func[[]byte, []byte]

	began    time.Time
	storedIn time.Duration
	doneIn   time.Duration
	ticket   atomic.Int64 // the next task
	stored   atomic.Int64
	done     atomic.Int64 // recorded in Redis
	room     chan struct{}
	lastDone atomic.Int64 // since began
	store    latency.Histogram
	call     latency.Histogram
	start    latency.Histogram
	arrivals chan struct{} // one is dropped in for each outcome
}

func newLoad(target *connection, f *benchFlags, size int) (*load, error) {
	client, err := stream.NewClient(target.store, stream.ClientConfig{})
	if err != nil {
		return nil, err
	}
	return &load{
		flags: f, size: size, target: target, client: client, room: make(chan struct{}, benchOut), arrivals: make(chan struct{}, 1),
		fn: stream.Func[[]byte, []byte]{Name: benchFunction, Queue: f.queue, Codec: stream.Raw, MaxAttempts: 1},
	}, nil
}

// startWorkers returns once all workers have their leases. An error of one of them is the end of the round.
func (l *load) startWorkers(ctx context.Context, fail context.CancelCauseFunc) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	stop = func() {
		cancel()
		running.Wait()
	}
	queues := []group.Queue{{Name: l.flags.queue}}
	for range l.flags.workers {
		worker, err := group.NewWorker(l.target.store, group.Config{
			Queues: queues, Concurrency: l.flags.concurrency, Drain: time.Second,
			Hooks: group.Hooks{Done: func(group.Metadata, time.Duration) { l.ended() }, Dead: func(group.Metadata, string, error) { l.ended() }},
		})
		if err != nil {
			return stop, err
		}
		group.HandleRaw(worker, benchFunction, l.handle)
		running.Go(func() {
			if err := worker.Run(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("a worker: %w", err))
			}
		})
		if err := awaitLease(ctx, l.target.store, queues, worker.Name()); err != nil {
			return stop, err
		}
	}
	return stop, nil
}

// handle is what workers do for a task.
func (l *load) handle(ctx context.Context, task group.Task) ([]byte, error) {
	if len(task.Payload) >= stampSize {
		l.start.Add(time.Since(l.began) - time.Duration(binary.BigEndian.Uint64(task.Payload))) //nolint:gosec // as it was put in
	}
	if l.flags.busy == 0 {
		return nil, nil
	}
	timer := time.NewTimer(l.flags.busy)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ended takes note of an outcome.
func (l *load) ended() {
	l.done.Add(1)
	l.lastDone.Store(int64(time.Since(l.began)))
	<-l.room
	select {
	case l.arrivals <- struct{}{}:
	default:
	}
}

// run stores all tasks and waits for their outcomes.
func (l *load) run(ctx context.Context) error {
	l.began = time.Now()
	producing := ctx
	if l.flags.duration > 0 {
		var cancel context.CancelFunc
		producing, cancel = context.WithTimeout(ctx, l.flags.duration)
		defer cancel()
	}
	var producers sync.WaitGroup
	errs := make(chan error, l.flags.producers)
	for range l.flags.producers {
		producers.Go(func() { errs <- l.produce(ctx, producing) })
	}
	producers.Wait()
	l.storedIn = time.Since(l.began)
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	for l.flags.workers > 0 && l.done.Load() < l.stored.Load() {
		select {
		case <-l.arrivals:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	l.doneIn = time.Duration(l.lastDone.Load())
	return nil
}

// produce stores tasks until there are enough, or producing has ended; what it has begun it ends.
func (l *load) produce(ctx, producing context.Context) error {
	payload := make([]byte, l.size)
	_, _ = rand.Read(payload) // nothing that a server could pack
	for {
		n := l.ticket.Add(1) - 1
		if l.flags.duration == 0 && n >= int64(l.flags.tasks) || !l.wait(producing, n) {
			return context.Cause(ctx)
		}
		select {
		case l.room <- struct{}{}:
		case <-producing.Done():
			return context.Cause(ctx)
		}
		if err := l.send(ctx, payload); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return taskText(err)
		}
	}
}

// wait waits until a task's time has come, as --rate says; false is the end.
func (l *load) wait(producing context.Context, n int64) bool {
	if l.flags.rate == 0 {
		return producing.Err() == nil
	}
	at := time.Duration(float64(n) / l.flags.rate * float64(time.Second))
	timer := time.NewTimer(at - time.Since(l.began))
	defer timer.Stop()
	select {
	case <-timer.C:
		return producing.Err() == nil
	case <-producing.Done():
		return false
	}
}

// send stores one task, and with --call waits for its result.
func (l *load) send(ctx context.Context, payload []byte) (err error) {
	began := time.Since(l.began)
	binary.BigEndian.PutUint64(payload, uint64(began)) //nolint:gosec // it is more than 0
	if l.flags.call {
		_, err = l.fn.Call(ctx, l.client, payload)
		l.call.Add(time.Since(l.began) - began)
	} else {
		_, err = l.fn.Enqueue(ctx, l.client, payload)
		l.store.Add(time.Since(l.began) - began)
	}
	if err == nil {
		l.stored.Add(1)
	}
	return err
}

// report sums up.
func (l *load) report() *benchReport {
	r := &benchReport{
		Queue: l.flags.queue, Size: l.size, Producers: l.flags.producers, Workers: l.flags.workers, Concurrency: l.flags.concurrency,
		Stored: l.stored.Load(), StoredIn: l.storedIn.Seconds(), Done: l.done.Load(), DoneIn: l.doneIn.Seconds(),
	}
	if r.StoredIn > 0 {
		r.StoredRate = float64(r.Stored) / r.StoredIn
	}
	if r.DoneIn > 0 {
		r.DoneRate = float64(r.Done) / r.DoneIn
	}
	for to, h := range map[**latency.Summary]*latency.Histogram{&r.Latency.Store: &l.store, &r.Latency.Call: &l.call, &r.Latency.Start: &l.start} {
		if s := h.Summary(); s.N > 0 {
			*to = &s
		}
	}
	return r
}

// keysOf lists the keys of a queue on the server, or on all primaries of a cluster.
func (c *connection) keysOf(ctx context.Context, queue string) ([]string, error) {
	pattern := c.store.Prefix() + ":{" + queue + "}:*"
	var mu sync.Mutex
	var keys []string
	scan := func(ctx context.Context, client redis.Cmdable) error {
		const step = 1000
		each := client.Scan(ctx, 0, pattern, step).Iterator()
		for each.Next(ctx) {
			mu.Lock()
			keys = append(keys, each.Val())
			mu.Unlock()
		}
		return each.Err()
	}
	if cluster, ok := c.client.(*redis.ClusterClient); ok {
		err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return scan(ctx, node) })
		return keys, err
	}
	err := scan(ctx, c.client)
	return keys, err
}
