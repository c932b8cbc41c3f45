package stream_test

import (
	"context"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// The bounds have a little room; AllocsPerRun counts what other goroutines do as well, so nothing else runs beside these.
func TestAllocationsOfAnEnqueue(t *testing.T) { //nolint:paralleltest // it counts for the whole process
	client := newClient(t, redistest.Start(t).Client(t), stream.ClientConfig{})
	for name, c := range map[string]struct {
		ctx  context.Context //nolint:containedctx // what the case is about
		most float64
	}{
		"who may leave": {t.Context(), 7},
		"who stays":     {context.WithoutCancel(t.Context()), 7},
	} {
		got := testing.AllocsPerRun(500, func() {
			if _, err := echo.Enqueue(c.ctx, client, "x"); err != nil {
				t.Error(err)
			}
		})
		if t.Logf("%s: %v", name, got); got > c.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, c.most)
		}
	}
	const tasks = 10_000
	got := testing.AllocsPerRun(2, func() {
		if _, err := echo.EnqueueAll(t.Context(), client, func(yield func(string) bool) {
			for range tasks {
				if !yield("x") {
					return
				}
			}
		}); err != nil {
			t.Error(err)
		}
	}) / tasks
	if t.Logf("each of many: %v", got); got > 4.5 { // the race detector adds one
		t.Errorf("each of many: %v allocations", got)
	}
}
