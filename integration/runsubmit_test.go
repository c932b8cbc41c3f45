package integration

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestTwoSubmittersOfOneRun has a submitter stand still while another one, which took it for dead, stores more than the first had, and is
// interrupted in turn. The first goes on: every split is stored once.
func TestTwoSubmittersOfOneRun(t *testing.T) {
	t.Parallel()
	beside(t)
	server := redistest.Start(t)
	b := newBackend(t, server.Network, server.Addr)
	client := openClient(t, b.store, stream.ClientConfig{})
	job := mapreduce.New("two", func(context.Context, int, func(int, int)) error { return nil },
		func(context.Context, int, iter.Seq[int]) (int, error) { return 0, nil })
	job.Queue, job.Split = queue, 1
	id := stream.NewID()
	const inputs, first, second = 9000, 1500, 4000
	// awaitStored waits until so many inputs are stored: all that a submitter was given but the last one, whose split may go on.
	awaitStored := func(n int) {
		redistest.Eventually(t, patience, func() bool {
			info, err := mapreduce.FindRun(t.Context(), b.store, id)
			return err == nil && info.Inputs >= n-1
		}, "%d inputs are stored", n)
	}
	other := func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := job.Submit(ctx, client, func(yield func(int) bool) {
			for n := range inputs {
				if n == second {
					awaitStored(second)
					cancel()
				}
				if !yield(n) {
					return
				}
			}
		}, mapreduce.RunID(id))
		if err == nil {
			t.Error("the other submitter was not interrupted")
		}
	}
	run, err := job.Submit(t.Context(), client, func(yield func(int) bool) {
		for n := range inputs {
			if n == first {
				awaitStored(first)
				other()
			}
			if !yield(n) {
				return
			}
		}
	}, mapreduce.RunID(id), mapreduce.Expire(time.Hour))
	must(t, err)
	p, err := run.Progress(t.Context())
	must(t, err)
	tasks := b.client.XLen(t.Context(), b.store.Keys(queue).Tasks()).Val() - 1 // that which tends the run
	if p.State != mapreduce.RunMapping || p.Inputs != inputs || p.Maps != inputs || tasks != inputs {
		t.Errorf("%d tasks are stored, want %d; progress %+v", tasks, inputs, p)
	}
	must(t, run.Cancel(t.Context()))
}
