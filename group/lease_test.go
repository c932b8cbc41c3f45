package group_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/wire"
)

// TestALeaseSaysWhoItsWorkerIs reads what people are told.
func TestALeaseSaysWhoItsWorkerIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := time.Now().Add(-time.Second)
	nothing := func(context.Context, group.Task) ([]byte, error) { return nil, nil }
	w := start(t, r.store, group.Config{Concurrency: 3, Queues: []group.Queue{{Name: queue}, {Name: "other"}}}, func(w *group.Worker) {
		group.HandleRaw(w, "g", nothing)
		group.HandleRaw(w, "f", nothing)
	})
	var got wire.LeaseInfo
	eventually(t, func() bool {
		got = wire.DecodeLeaseInfo(r.redis.Get(t.Context(), keys.Lease(w.Name())).Val())
		return got.PID != 0
	}, "there is a lease")
	host, _ := os.Hostname()
	if got.Host != host || got.PID != os.Getpid() || got.Version == "" || got.Concurrency != 3 || !got.Presence {
		t.Errorf("got %+v", got)
	}
	if at := time.UnixMilli(got.Started); at.Before(before) || at.After(time.Now()) {
		t.Errorf("started at %v, want after %v", at, before)
	}
	if !slices.Equal(got.Functions, []string{"f", "g"}) || !slices.Equal(got.Queues, []string{"other", queue}) {
		t.Errorf("functions %v, queues %v", got.Functions, got.Queues)
	}
}
