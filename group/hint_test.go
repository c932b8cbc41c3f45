package group_test

import (
	"context"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// TestCancelThatComesBeforeItsTask says that a task is cancelled while its delivery is on its way.
func TestCancelThatComesBeforeItsTask(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	core, logs := observer.New(zap.InfoLevel)
	store, err := stream.NewStore(r.server.Client(t), stream.Config{Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	var ran atomic.Int32
	start(t, store, group.Config{}, func(w *group.Worker) {
		group.HandleRaw(w, "f", func(context.Context, group.Task) ([]byte, error) {
			ran.Add(1)
			return nil, nil
		})
	})
	switches := func(n int) func() bool {
		return func() bool { return logs.FilterMessageSnippet("switched").Len() == n }
	}
	ctx := t.Context()
	r.redis.HSet(ctx, keys.State(), "paused", 1)
	redistest.Eventually(t, soon, func() bool {
		r.redis.Publish(ctx, keys.Control(), "pause")
		return switches(1)()
	}, "the worker pauses")
	unwanted, wanted := task("1"), task("2")
	r.redis.Publish(ctx, keys.Control(), "cancel "+unwanted.ID)
	r.add(unwanted)
	r.add(wanted)
	r.redis.HDel(ctx, keys.State(), "paused")
	r.redis.Publish(ctx, keys.Control(), "resume")
	redistest.Eventually(t, soon, switches(2), "the worker goes on")
	redistest.Eventually(t, soon, func() bool { return r.redis.XLen(ctx, keys.Tasks()).Val() == 0 }, "the queue is empty")
	counts := r.redis.HGetAll(ctx, keys.Counts()).Val()
	if ran.Load() != 1 || counts["done"] != "1" || counts["cancelled"] != "1" {
		t.Errorf("%d ran, and Redis counted %v; want one of the two", ran.Load(), counts)
	}
}
