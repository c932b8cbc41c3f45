package script

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// Promote moves tasks that are due to the stream, at most limit and about 4 MiB of them. It tells how long it is, by the clock of Redis, until the next one is due:
// 0 when more are due already, -1 when there is none.
func (r *Runner) Promote(ctx context.Context, keys wire.Keys, limit int) (moved int, next time.Duration, err error) {
	answer, err := r.run(ctx, promoteScript, []string{keys.Tasks(), keys.Due(), keys.Body(), keys.Counts()}, []any{limit, keys.Reply("")})
	if err != nil {
		return 0, 0, err
	}
	values, err := list(promoteScript, answer, 2)
	if err != nil {
		return 0, 0, err
	}
	next = time.Duration(number(values[1])) * time.Microsecond
	if next < 0 {
		next = -1
	}
	return number(values[0]), next, nil
}
