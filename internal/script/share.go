package script

import (
	"context"

	"github.com/athoune/worker-machine/internal/wire"
)

var shareScript = load("share")

// Share stores a small value that the tasks of a batch share, for as long as its reply stream lives. It reports false when the
// batch is over.
func (r *Runner) Share(ctx context.Context, keys wire.Keys, reply, name string, value []byte) (bool, error) {
	answer, err := r.run(ctx, shareScript, []string{keys.Reply(reply), keys.Context(reply)}, []any{name, value})
	return number(answer) == 1, err
}
