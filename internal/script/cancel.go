package script

import (
	"context"
	"fmt"
	"slices"

	"github.com/athoune/worker-machine/internal/wire"
)

var stopScript = load("stop")

// refLimit bounds how many tasks one call of cancel or missing names.
const refLimit = 200

// TaskRef names a task and, where it is known, its entry.
type TaskRef struct{ ID, Entry string }

// Cancel removes tasks that have not started, and gives them a failure with the reason "cancelled" for an outcome. Those with a worker are announced on the control channel, and those whose place is
// not known are also noted for an hour, so that [Runner.Cancelled] tells it.
func (r *Runner) Cancel(ctx context.Context, keys wire.Keys, group string, tasks []TaskRef) (removed int, err error) {
	names := []string{keys.Tasks(), keys.Due(), keys.Body(), keys.Counts(), keys.Cancels(), keys.Control(), keys.Crashes(), keys.Chunks()}
	for start := 0; start < len(tasks); start += refLimit {
		args := refArgs([]any{group, keys.Unique(""), keys.Reply("")}, tasks[start:min(start+refLimit, len(tasks))])
		answer, err := r.run(ctx, cancelScript, names, args)
		if err != nil {
			return removed, err
		}
		removed += number(answer)
	}
	return removed, nil
}

// Stop notes that tasks are cancelled which run, and tells their workers: a handler's context ends, and when the handler then returns an
// error, the outcome of the task is a failure with the reason "cancelled". A task that has meanwhile gone back to those that wait or
// are due later does not start again. An ID may be that of a chunk or of an item of one; one that is not there is noted all the same.
func (r *Runner) Stop(ctx context.Context, keys wire.Keys, ids ...string) error {
	names := []string{keys.Cancels(), keys.State(), keys.Control()}
	for some := range slices.Chunk(ids, refLimit) {
		args := make([]any, len(some))
		for i, id := range some {
			args[i] = id
		}
		if _, err := r.run(ctx, stopScript, names, args); err != nil {
			return err
		}
	}
	return nil
}

// Cancelled tells which of some tasks were cancelled while nobody knew their place, or while they ran.
func (r *Runner) Cancelled(ctx context.Context, keys wire.Keys, ids []string) ([]bool, error) {
	scores, err := r.client.Do(ctx, refScores(keys, ids)...).Slice()
	if err != nil {
		return nil, fmt.Errorf("script: look up cancelled tasks: %w", err)
	}
	cancelled := make([]bool, len(ids))
	for i := range min(len(scores), len(ids)) {
		cancelled[i] = scores[i] != nil
	}
	return cancelled, nil
}

func refScores(keys wire.Keys, ids []string) []any {
	args := make([]any, 0, 2+len(ids))
	args = append(args, "zmscore", keys.Cancels())
	for _, id := range ids {
		args = append(args, id)
	}
	return args
}

// Missing returns the indexes of tasks that are nowhere: neither at their entry nor due later.
func (r *Runner) Missing(ctx context.Context, keys wire.Keys, tasks []TaskRef) (missing []int, err error) {
	for start := 0; start < len(tasks); start += refLimit {
		args := refArgs(nil, tasks[start:min(start+refLimit, len(tasks))])
		answer, err := r.run(ctx, missingScript, []string{keys.Tasks(), keys.Due()}, args)
		if err != nil {
			return nil, err
		}
		values, err := list(missingScript, answer, 0)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			missing = append(missing, start+number(v)-1)
		}
	}
	return missing, nil
}

func refArgs(args []any, tasks []TaskRef) []any {
	for _, task := range tasks {
		args = append(args, task.ID, task.Entry)
	}
	return args
}

// Replay turns a dead letter into a task again; it reports false when the letter was gone.
func (r *Runner) Replay(ctx context.Context, keys wire.Keys, letter string, task wire.Task) (bool, error) {
	answer, err := r.run(ctx, replayScript, []string{keys.Tasks(), keys.Dead(), keys.Counts(), keys.Cancels()}, []any{letter, task.Encode()})
	return number(answer) == 1, err
}
