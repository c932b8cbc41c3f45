// Package census counts what lies in a queue.
//
//	queue, err := census.Count(ctx, store, "web")
//	fmt.Println(queue.Backlog, queue.Running, queue.Workers)
package census

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// Queue is what one queue holds at a moment.
type Queue struct {
	Name    string           `json:"queue"`
	Backlog int64            `json:"backlog"`        // tasks that wait for a worker
	Running int64            `json:"running"`        // tasks that a worker has
	Delayed int64            `json:"delayed"`        // tasks that are due later, retries among them
	Dead    int64            `json:"dead"`           // dead letters
	Workers int64            `json:"workers"`        // workers with a lease
	Oldest  float64          `json:"oldest_seconds"` // how long the oldest task has been waiting or running; 0 without one
	Counts  map[string]int64 `json:"counts"`         // totals since the queue was made: done, retried and so on
}

// Count counts one queue with two round trips. A queue that nobody has used is empty.
func Count(ctx context.Context, store *stream.Store, queue string) (Queue, error) {
	q := Queue{Name: queue, Counts: map[string]int64{}}
	keys := store.Keys(queue)
	pipe := store.Client().Pipeline()
	now := pipe.Time(ctx)
	length := pipe.XLen(ctx, keys.Tasks())
	pending := pipe.XPending(ctx, keys.Tasks(), store.Group())
	first := pipe.XRangeN(ctx, keys.Tasks(), "-", "+", 1)
	due := pipe.ZCard(ctx, keys.Due())
	dead := pipe.XLen(ctx, keys.Dead())
	consumers := pipe.XInfoConsumers(ctx, keys.Tasks(), store.Group())
	counts := pipe.HGetAll(ctx, keys.Counts())
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, command := range []redis.Cmder{now, length, pending, first, due, dead, consumers, counts} {
		if err := command.Err(); err != nil && !errors.Is(err, redis.Nil) && !isMissing(err) {
			return q, fmt.Errorf("census: count queue %s: %w", queue, err)
		}
	}
	if p := pending.Val(); p != nil {
		q.Running = p.Count - p.Consumers[wire.ReleasedConsumer]
	}
	// A task may come and go between two commands of a pipeline.
	q.Backlog = max(length.Val()-q.Running, 0)
	q.Delayed, q.Dead = due.Val(), dead.Val()
	if entries := first.Val(); len(entries) == 1 {
		q.Oldest = max(now.Val().Sub(timeOf(entries[0].ID)), 0).Seconds()
	}
	for name, text := range counts.Val() {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			q.Counts[name] = n
		}
	}
	var err error
	q.Workers, err = countLeases(ctx, store, queue, consumers.Val())
	return q, err
}

// Workers is how many workers a queue has.
func Workers(ctx context.Context, store *stream.Store, queue string) (int64, error) {
	consumers, err := store.Client().XInfoConsumers(ctx, store.Keys(queue).Tasks(), store.Group()).Result()
	if err != nil && !isMissing(err) {
		return 0, fmt.Errorf("census: list consumers of queue %s: %w", queue, err)
	}
	return countLeases(ctx, store, queue, consumers)
}

// countLeases counts the consumers that are alive. Each key on its own: EXISTS of several counts a thing of its own on a cluster.
func countLeases(ctx context.Context, store *stream.Store, queue string, consumers []redis.XInfoConsumer) (int64, error) {
	if len(consumers) == 0 {
		return 0, nil
	}
	pipe := store.Client().Pipeline()
	alive := make([]*redis.IntCmd, len(consumers))
	for i, consumer := range consumers {
		alive[i] = pipe.Exists(ctx, store.Keys(queue).Lease(consumer.Name))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("census: look for leases of queue %s: %w", queue, err)
	}
	var n int64
	for _, command := range alive {
		n += command.Val()
	}
	return n, nil
}

// isMissing tells the errors of a queue without stream or group, which is an empty one.
func isMissing(err error) bool {
	return conn.IsNoGroup(err) || strings.Contains(err.Error(), "no such key")
}

// timeOf reads the time from an entry ID.
func timeOf(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}
