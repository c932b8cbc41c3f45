package group_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/wire"
)

// TestAStoppedWorkerHasReportedAllItDid has each end a task may have, alone and in a chunk.
func TestAStoppedWorkerHasReportedAllItDid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	work := func(_ context.Context, task group.Task) ([]byte, error) {
		switch string(task.Payload) {
		case "retry":
			if task.Attempt == 1 {
				return nil, errors.New("once")
			}
		case "dead":
			return nil, group.Drop(errors.New("no"))
		}
		return task.Payload, nil
	}
	w := start(t, r.store, group.Config{Backoff: quick}, func(w *group.Worker) {
		group.HandleRaw(w, "f", work)
		group.HandleRaw(w, "g", work)
	})
	r.addMany(1000, "")
	for _, payload := range []string{"retry", "dead"} {
		one := task(payload)
		one.Function = "g"
		r.add(one)
	}
	r.add(chunk(r.reply(), "retry", "dead", "3", "4"))
	r.addChunks(300, 100, r.reply())
	r.empty(longer)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	trend, _, err := r.store.Scripts().Trend(t.Context(), keys, 10)
	if err != nil {
		t.Fatal(err)
	}
	var all wire.Minute
	for i := range trend {
		all.Merge(&trend[i])
	}
	if f := all.Deeds("f"); f.Done != 1303 || f.Retried != 1 || f.Dead != 1 || f.Handler.N() < 1000 || f.Handler.N() > 1305 {
		t.Errorf("f: %d done, %d retried, %d dead, %d times", f.Done, f.Retried, f.Dead, f.Handler.N())
	}
	if g := all.Deeds("g"); g.Done != 1 || g.Retried != 1 || g.Dead != 1 || g.Handler.N() != 3 {
		t.Errorf("g: %d done, %d retried, %d dead, %d times", g.Done, g.Retried, g.Dead, g.Handler.N())
	}
	if n := all.Wait.N(); n < 1304 || n > 1308 || all.Wait.Quantile(1) > time.Minute {
		t.Errorf("%d waits, the longest below %v", n, all.Wait.Quantile(1))
	}
}

// TestWorkersReportWhileTheyRun waits for the report of what is done, and for a gauge.
func TestWorkersReportWhileTheyRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start(t, r.store, group.Config{}, handle(nop))
	r.later(task("later"), time.Hour)
	r.addMany(10, "")
	var m wire.Minute
	eventually(t, func() bool {
		trend, _, err := r.store.Scripts().Trend(t.Context(), keys, 1)
		if err != nil || len(trend) == 0 {
			return false
		}
		m = trend[0]
		return m.Deeds("f").Done == 10
	}, "the worker has reported")
	if m.Delayed != 1 || m.Waiting != 0 || m.Running != 0 {
		t.Errorf("got %+v", m)
	}
}
