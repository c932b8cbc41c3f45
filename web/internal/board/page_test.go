package board_test

import (
	"testing"

	"github.com/athoune/worker-machine/web/internal/guard"
)

// TestPagesOfAnEmptyRedis opens what there is before anything was ever done.
func TestPagesOfAnEmptyRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	b := r.open(desktop)
	b.visit("/")
	if text := b.text(); text == "" || b.html() == "" {
		t.Errorf("the overview is empty: %q", text)
	}
	b.quiet("the overview")
}
