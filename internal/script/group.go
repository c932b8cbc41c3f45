package script

import (
	"context"

	"github.com/athoune/worker-machine/internal/wire"
)

var groupScript = load("group")

// MakeGroup makes stream and consumer group where they are missing; it reports whether it made the group.
func (r *Runner) MakeGroup(ctx context.Context, keys wire.Keys, group string) (bool, error) {
	answer, err := r.run(ctx, groupScript, []string{keys.Tasks()}, []any{group})
	return number(answer) == 1, err
}
