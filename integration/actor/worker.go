package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/integration/internal/history"
	"github.com/athoune/worker-machine/integration/internal/role"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// mixed makes of a number what [history] says.
var mixed = stream.Func[int64, int64]{Name: "mixed", Queue: role.Queue}

// sums is the map/reduce job: the sum of the values of some numbers, by a digit.
var sums = newSums()

const digits = 7

func newSums() *mapreduce.Job[int64, int64, int64, int64] {
	job := mapreduce.New("sums", func(_ context.Context, n int64, emit func(int64, int64)) error {
		emit(n%digits, history.Value(n))
		return nil
	}, func(_ context.Context, _ int64, values iter.Seq[int64]) (int64, error) {
		var sum int64
		for v := range values {
			sum += v
		}
		return sum, nil
	})
	job.Queue, job.Partitions, job.Split = role.RunQueue, 3, 20
	return job
}

// hand is what handlers of one worker share.
type hand struct {
	*actor
	worker string
	begun  sync.Map     // task ID to begun, from start to outcome
	failed atomic.Int64 // when a call that records outcomes last failed, in ns
}

// begun is what is known of a task that was started; ended is 0 while its handler runs.
type begun struct{ number, ended int64 }

func (a *actor) work() error {
	ctx, _, stop := role.Signals()
	defer stop()
	h := &hand{actor: a}
	worker, err := group.NewWorker(a.store, group.Config{
		Queues: []group.Queue{{Name: role.Queue}, {Name: role.RunQueue}}, Concurrency: a.Concurrency, Lease: a.Lease, Drain: a.Drain,
		Backoff: group.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}, Hooks: h.hooks(),
	})
	if err != nil {
		return err
	}
	h.worker = worker.Name()
	group.Handle(worker, mixed, h.mixed)
	sums.Handle(worker)
	return worker.Run(ctx)
}

func (h *hand) hooks() group.Hooks {
	return group.Hooks{
		Committed: func(_ string, _ int, _ time.Duration, err error) {
			if err != nil {
				h.failed.Store(time.Now().UnixNano())
			}
		},
		Done:      func(m group.Metadata, _ time.Duration) { h.outcome(history.Accepted, m, "") },
		Dead:      func(m group.Metadata, reason string, err error) { h.outcome(history.Accepted, m, failure(reason, err)) },
		Cancelled: func(m group.Metadata) { h.outcome(history.Accepted, m, history.Cancelled) },
		Late:      func(m group.Metadata) { h.outcome(history.Late, m, "") },
	}
}

// outcome writes down what became of a task. Tasks of map/reduce runs are not known here. What a call that failed may have recorded, and
// what no hook tells of whether its call failed, is confirmed again only.
func (h *hand) outcome(kind history.Kind, m group.Metadata, text string) {
	if m.Function != mixed.Name {
		return
	}
	known, _ := h.begun.LoadAndDelete(m.ID)
	task, _ := known.(begun)
	again := kind == history.Accepted && (text != "" || task.ended <= h.failed.Load())
	h.history.Write(history.Record{Kind: kind, Number: task.number, Task: m.ID, Attempt: m.Attempt, Worker: h.worker, Error: text, Again: again})
}

// failure is the text of a failure, as histories have it.
func failure(reason string, err error) string {
	switch {
	case err != nil && err.Error() == history.DropMessage:
		return history.DropMessage
	case reason == history.Cancelled || reason == history.CrashLoop:
		return reason
	default:
		return fmt.Sprintf("%s: %v", cmp.Or(reason, "failed"), err)
	}
}

func (h *hand) mixed(ctx context.Context, n int64) (int64, error) {
	m := group.Meta(ctx)
	h.begun.Store(m.ID, begun{number: n})
	record := history.Record{Kind: history.Start, Number: n, Task: m.ID, Entry: m.Entry, Attempt: m.Attempt, Worker: h.worker}
	h.history.Write(record)
	record.Kind = history.End
	value, err := mix(ctx, n, m.Attempt)
	record.Value = value
	if err != nil {
		record.Error = err.Error()
	}
	h.history.Write(record)
	h.begun.Store(m.ID, begun{number: n, ended: time.Now().UnixNano()})
	return value, err
}

// mix does the work.
func mix(ctx context.Context, n int64, attempt int) (int64, error) {
	if history.Slow(n) {
		if err := pause(ctx, history.SlowFor*time.Millisecond); err != nil {
			return 0, err
		}
	}
	switch {
	case history.Drops(n):
		return 0, group.Drop(errors.New(history.DropMessage))
	case history.FailsFirst(n) && attempt == 1:
		return 0, errors.New("the first attempt fails")
	default:
		return history.Value(n), nil
	}
}

// exec runs one task as a program that worker-machine work --handle starts.
func (a *actor) exec() error {
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var n int64
	if err = json.Unmarshal(data, &n); err != nil {
		return err
	}
	a.history.Write(history.Record{Kind: history.Start, Number: n, Task: os.Getenv("WM_TASK_ID"), Worker: "exec"})
	value := history.Value(n)
	a.history.Write(history.Record{Kind: history.End, Number: n, Task: os.Getenv("WM_TASK_ID"), Worker: "exec", Value: value})
	return json.NewEncoder(os.Stdout).Encode(value)
}
