package mapreduce_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// sum adds up values, and hands on the error of the first input that failed.
func sum(acc int, r mapreduce.Result[int, int]) (int, error) {
	return acc + r.Value, r.Err
}

func TestReduce(t *testing.T) {
	t.Parallel()
	const n = 1000
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	watched(t, server, func() {
		got, err := mapreduce.Reduce(t.Context(), mapreduce.Map(t.Context(), client, square, count(n)), 7, sum)
		if want := 7 + (n-1)*n*(2*n-1)/6; err != nil || got != want {
			t.Errorf("got %d, %v, want %d", got, err, want)
		}
	})
}

func TestReduceStopsAtTheFirstErrorOfFold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	inputs := func(yield func(int) bool) { // 1, 2, 3, -1, 5, ...
		for i := 1; ; i++ {
			n := i
			if i == 4 {
				n = -1
			}
			if !yield(n) {
				return
			}
		}
	}
	watched(t, server, func() {
		batch := mapreduce.Map(t.Context(), client, square, inputs, mapreduce.InOrder())
		got, err := mapreduce.Reduce(t.Context(), batch, 0, sum)
		var failed *stream.TaskError
		if !errors.As(err, &failed) || got != 1+4+9 {
			t.Errorf("got %d, %v", got, err)
		}
		if err := batch.Err(); err != nil {
			t.Errorf("the batch ended with %v", err)
		}
	})
}

func TestReduceEndsWithItsOwnContext(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	watched(t, server, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		got, err := mapreduce.Reduce(ctx, mapreduce.Map(t.Context(), client, square, numbers), 3, sum)
		if !errors.Is(err, context.DeadlineExceeded) || got != 3 {
			t.Errorf("got %d, %v", got, err)
		}
	})
	if left := backlog(t, server.Client(t)); left != 0 {
		t.Errorf("%d tasks are left", left)
	}
}

func TestReduceOfABatchAlreadyRangedOver(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	batch := mapreduce.Map(t.Context(), client, square, count(0))
	requireSquares(t, batch, 0)
	if _, err := mapreduce.Reduce(t.Context(), batch, 0, sum); !errors.Is(err, mapreduce.ErrResultsTaken) {
		t.Errorf("got %v", err)
	}
}
