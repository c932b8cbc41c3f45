package script

import (
	"context"

	"github.com/athoune/worker-machine/internal/wire"
)

var examineScript = load("examine")

// Examined is what [Runner.Examine] found in a queue.
type Examined struct {
	Delivered string // the group's last ID; "" where there is no group
	Next      string // where to look on for ghosts; "" at the end
	Looked    int    // delivered entries that were looked at
	Ghosts    int    // of these, pending with nobody
	Ghost     string // the first of them
	First     string // entry that was never delivered
	Function  string // of First
	Waiting   []TaskHint
}

// TaskHint is what a task that waits, or is due next, needs, and what its last attempt ended with.
type TaskHint struct{ Function, LastError string }

// Examine looks for what is stuck: at one page of the entries that were delivered, up to End of the page or the group's last ID, and at so many
// that wait, or none.
func (r *Runner) Examine(ctx context.Context, keys wire.Keys, group string, page Page, hints int) (Examined, error) {
	answer, err := r.run(ctx, examineScript, []string{keys.Tasks(), keys.Due(), keys.Body()}, []any{group, page.Start, page.End, page.Limit, hints})
	if err != nil {
		return Examined{}, err
	}
	const fixed = 7
	v, err := list(examineScript, answer, fixed)
	if err != nil {
		return Examined{}, err
	}
	e := Examined{
		Delivered: text(v[0]), Next: text(v[1]), Looked: number(v[2]), Ghosts: number(v[3]), Ghost: text(v[4]), First: text(v[5]), Function: text(v[6]),
	}
	for i := fixed; i+1 < len(v); i += 2 {
		e.Waiting = append(e.Waiting, TaskHint{Function: text(v[i]), LastError: text(v[i+1])})
	}
	return e, nil
}
