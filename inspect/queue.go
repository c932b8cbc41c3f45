package inspect

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// Queue is what one queue holds at a moment. A chunk counts as one task in Waiting and Running, which are not exact then.
type Queue struct {
	Name    string           `json:"queue"`
	Paused  bool             `json:"paused"`
	Waiting Count            `json:"waiting"`         // tasks that wait for a worker: the backlog
	Running Count            `json:"running"`         // tasks that a worker has
	Delayed Count            `json:"delayed"`         // tasks that are due later, retries among them
	Dead    Count            `json:"dead"`            // dead letters
	Workers Count            `json:"workers"`         // workers with a lease
	Oldest  float64          `json:"oldest_seconds"`  // how long the oldest task has been waiting or running; 0 without one
	Recent  Minute           `json:"recent"`          // the last full minute
	Totals  map[string]int64 `json:"totals"`          // since the queue was made, by the names of PROTOCOL.md: done, retried and so on
	Error   string           `json:"error,omitempty"` // why nothing else is known: a key of a wrong type
}

// Queues looks at the named queues, or at all that a client or a worker has used, in alphabetical order. What is told of one queue was
// so at one moment. One with a key of a wrong type does not hide the others: its Error says what is wrong.
func (i *Inspector) Queues(ctx context.Context, names ...string) ([]Queue, error) {
	if len(names) == 0 {
		all, err := i.names(ctx)
		if err != nil || len(all) == 0 {
			return nil, err
		}
		names = all
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	keys := make([]wire.Keys, len(names))
	for n, name := range names {
		if err := wire.CheckName("queue", name); err != nil {
			return nil, fmt.Errorf("inspect: count queues: %w", err)
		}
		keys[n] = i.store.Keys(name)
	}
	queues := make([]Queue, len(names))
	for n, counted := range i.store.Scripts().Census(ctx, keys, i.store.Group()) {
		switch {
		case counted.Err == nil:
			queues[n] = newQueue(names[n], &counted)
		case isWrongType(counted.Err):
			queues[n] = Queue{Name: names[n], Error: i.explain(ctx, counted.Err, names[n]).Error()}
		default:
			return nil, fmt.Errorf("inspect: count queue %s: %w", names[n], counted.Err)
		}
	}
	return queues, nil
}

// Queue looks at one queue.
func (i *Inspector) Queue(ctx context.Context, name string) (Queue, error) {
	queues, err := i.Queues(ctx, name)
	if err != nil {
		return Queue{}, err
	}
	if queues[0].Error != "" {
		return queues[0], fmt.Errorf("inspect: count queue %s: %s", name, queues[0].Error)
	}
	return queues[0], nil
}

// names lists all queues. What is no name of a queue was not put there by us.
func (i *Inspector) names(ctx context.Context) ([]string, error) {
	all, err := i.store.Queues(ctx)
	if err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	return slices.DeleteFunc(all, func(name string) bool { return wire.CheckName("queue", name) != nil }), nil
}

func newQueue(name string, c *script.Census) Queue {
	q := Queue{
		Name: name, Paused: c.Paused, Totals: c.Totals, Delayed: exactly(c.Due), Dead: exactly(c.Dead), Workers: exactly(c.Alive),
		Waiting: entries(c, c.Entries-c.Running), Running: entries(c, c.Running),
	}
	q.Recent = newMinute(&c.Recent, c.Now.Truncate(time.Minute).Add(-time.Minute))
	if c.First != "" {
		q.Oldest = max(c.Now.Sub(timeOf(c.First)), 0).Seconds()
	}
	return q
}

// entries counts entries, which are tasks unless there are chunks. Whoever deletes entries of running tasks by hand leaves more pending
// than there are.
func entries(c *script.Census, n int64) Count {
	return Count{N: max(n, 0), Exact: n == 0 || n > 0 && !c.Chunks}
}

func exactly(n int64) Count { return Count{N: n, Exact: true} }

// timeOf reads the time from an entry ID.
func timeOf(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}
