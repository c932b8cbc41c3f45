package script

import (
	"context"

	"github.com/athoune/worker-machine/internal/wire"
)

var (
	removeScript = load("remove")
	hastenScript = load("hasten")
	seekScript   = load("seek")
)

// What became of a task that was to be removed, if it is not how many tasks were.
const (
	NotThere   = 0
	WithWorker = -1
)

// removed is the message of the outcome of tasks that an operator removed. It is JSON as it is.
const removed = "it was removed before it started"

// Remove ends tasks that have not started: for each it tells how many that was (a chunk is many), or [NotThere], or [WithWorker]. At most
// 200 are looked at, fewer where they are large: the answer is as long as that.
func (r *Runner) Remove(ctx context.Context, keys wire.Keys, group string, tasks []TaskRef) ([]int, error) {
	args := refArgs([]any{group, keys.Unique(""), keys.Reply(""), removed, "each"}, tasks[:min(refLimit, len(tasks))])
	values, err := r.remove(ctx, keys, args, 0)
	if err != nil {
		return nil, err
	}
	results := make([]int, len(values))
	for i, v := range values {
		results[i] = number(v)
	}
	return results, nil
}

// RemovePage ends the tasks of one page of the stream that have not started. It tells how many entries it looked at, the last of them, and how many tasks
// are removed.
func (r *Runner) RemovePage(ctx context.Context, keys wire.Keys, group string, page Page) (looked, gone int, last string, err error) {
	args := []any{group, keys.Unique(""), keys.Reply(""), removed, "page", page.Start, page.End, page.Limit}
	values, err := r.remove(ctx, keys, args, 3)
	if err != nil {
		return 0, 0, "", err
	}
	return number(values[0]), number(values[1]), text(values[2]), nil
}

func (r *Runner) remove(ctx context.Context, keys wire.Keys, args []any, n int) ([]any, error) {
	names := []string{keys.Tasks(), keys.Due(), keys.Body(), keys.Counts(), keys.Crashes(), keys.Chunks()}
	answer, err := r.run(ctx, removeScript, names, args)
	if err != nil {
		return nil, err
	}
	return list(removeScript, answer, n)
}

// Hasten makes tasks due now that are due later; it tells which ones were.
func (r *Runner) Hasten(ctx context.Context, keys wire.Keys, ids []string) ([]bool, error) {
	answer, err := r.run(ctx, hastenScript, []string{keys.Due(), keys.Control(), keys.Cancels()}, anys(nil, ids))
	if err != nil {
		return nil, err
	}
	values, err := list(hastenScript, answer, len(ids))
	if err != nil {
		return nil, err
	}
	found := make([]bool, len(ids))
	for i := range found {
		found[i] = number(values[i]) == 1
	}
	return found, nil
}

// Sought is one page of the stream in which tasks were sought.
type Sought struct {
	Last   string // entry looked at last; "" when there was none
	Task   string // and its task
	Looked int
	Bytes  int // of those, payloads included
	Found  []TaskRef
}

// Seek looks for tasks in a page of the stream.
func (r *Runner) Seek(ctx context.Context, keys wire.Keys, page Page, ids []string) (Sought, error) {
	answer, err := r.run(ctx, seekScript, []string{keys.Tasks()}, anys([]any{page.Start, page.End, page.Limit}, ids))
	if err != nil {
		return Sought{}, err
	}
	values, err := list(seekScript, answer, 4)
	if err != nil {
		return Sought{}, err
	}
	sought := Sought{Last: text(values[0]), Task: text(values[1]), Looked: number(values[2]), Bytes: number(values[3])}
	for i := 4; i+1 < len(values); i += 2 {
		sought.Found = append(sought.Found, TaskRef{ID: text(values[i]), Entry: text(values[i+1])})
	}
	return sought, nil
}

func anys(args []any, texts []string) []any {
	for _, text := range texts {
		args = append(args, text)
	}
	return args
}
