package mapreduce_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

func TestMapHasOneResultForEachInput(t *testing.T) {
	t.Parallel()
	const n = 5000
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	watched(t, server, func() {
		batch := mapreduce.Map(t.Context(), client, square, count(n))
		requireSquares(t, batch, n)
		p := batch.Progress()
		if p.Submitted != n || p.Done != n || p.Failed != 0 || p.InFlight != 0 || p.Rate <= 0 || p.Elapsed <= 0 || p.Started.IsZero() {
			t.Errorf("progress at the end: %+v", p)
		}
	})
	if left := backlog(t, server.Client(t)); left != 0 {
		t.Errorf("%d tasks are left", left)
	}
}

// requireSquares ranges over the results of a batch over count(n).
func requireSquares(t *testing.T, batch *mapreduce.Batch[int, int], n int) {
	t.Helper()
	seen := make([]bool, n)
	for r := range batch.Results() {
		if r.Err != nil || r.Value != r.Input*r.Input || r.Index != r.Input || len(r.TaskID) != 26 {
			t.Fatalf("got %+v", r)
		}
		if seen[r.Index] {
			t.Fatalf("input %d has a second result", r.Index)
		}
		seen[r.Index] = true
	}
	if err := batch.Err(); err != nil {
		t.Fatalf("the batch ended with %v", err)
	}
	if missing := slices.Index(seen, false); missing >= 0 {
		t.Fatalf("input %d has no result", missing)
	}
}

func TestMapInOrder(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	delays := []int{60, 1, 30, 0, 45, 2, 0, 20, 1, 0}
	batch := mapreduce.Map(t.Context(), client, wait, slices.Values(delays), mapreduce.InOrder(), mapreduce.Window(5))
	var got []int
	for r := range batch.Results() {
		if r.Err != nil || r.Index != len(got) {
			t.Fatalf("got %+v, want index %d", r, len(got))
		}
		got = append(got, r.Value)
	}
	if err := batch.Err(); err != nil || !slices.Equal(got, delays) {
		t.Errorf("got %v, %v, want %v", got, err, delays)
	}
}

func TestMapOfNoInputs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	watched(t, server, func() { requireSquares(t, mapreduce.Map(t.Context(), client, square, count(0)), 0) })
}

func TestMapGoesOnAfterFailures(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	batch := mapreduce.Map(t.Context(), client, square, slices.Values([]int{1, -2, 3, -4}), mapreduce.InOrder(),
		mapreduce.TaskOptions(stream.MaxAttempts(2)))
	results := slices.Collect(batch.Results())
	if err := batch.Err(); err != nil || len(results) != 4 {
		t.Fatalf("got %v, %v", results, err)
	}
	for _, r := range results {
		if r.Input > 0 {
			if r.Err != nil || r.Value != r.Input*r.Input {
				t.Errorf("got %+v", r)
			}
			continue
		}
		var failed *stream.TaskError
		if !errors.As(r.Err, &failed) || failed.TaskID != r.TaskID || failed.Function != "square" || failed.Attempt != 2 ||
			!strings.Contains(failed.Message, errNegative.Error()) || r.Attempt != 2 {
			t.Errorf("input %d: got %+v, error %+v", r.Input, r, failed)
		}
	}
	if p := batch.Progress(); p.Done != 2 || p.Failed != 2 {
		t.Errorf("progress: %+v", p)
	}
}

func TestMapStopsAtTheFirstFailureWhenAsked(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	inputs := func(yield func(int) bool) {
		for i := 0; ; i++ {
			n := i
			if i == 50 || i == 51 {
				n = -1
			}
			if !yield(n) {
				return
			}
		}
	}
	watched(t, server, func() {
		batch := mapreduce.Map(t.Context(), client, square, inputs, mapreduce.FailFast(), mapreduce.Window(10))
		failed := ""
		for r := range batch.Results() {
			if r.Err != nil && failed == "" {
				failed = r.TaskID
			}
		}
		err := batch.Err()
		var failures *mapreduce.FailuresError
		if !errors.As(err, &failures) || failed == "" || !strings.Contains(err.Error(), failed) {
			t.Errorf("the first failed task is %q, the batch ended with %v", failed, err)
		}
	})
	redistest.Eventually(t, 5*time.Second, func() bool { return backlog(t, server.Client(t)) == 0 }, "no task is left")
}

func TestMapOfInputsThatCannotBeTasks(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{MaxPayload: 100})
	fn := stream.Func[any, int]{Name: "square", Queue: "numbers", MaxAttempts: 1}
	inputs := []any{2, make(chan int), strings.Repeat("x", 200), 3}
	batch := mapreduce.Map(t.Context(), client, fn, slices.Values(inputs), mapreduce.InOrder())
	results := slices.Collect(batch.Results())
	if err := batch.Err(); err != nil || len(results) != 4 {
		t.Fatalf("got %v, %v", results, err)
	}
	if results[0].Value != 4 || results[3].Value != 9 || results[0].Err != nil || results[3].Err != nil {
		t.Errorf("the good ones: %+v, %+v", results[0], results[3])
	}
	if results[1].Err == nil || results[1].TaskID != "" {
		t.Errorf("a channel: %+v", results[1])
	}
	if !errors.Is(results[2].Err, stream.ErrPayloadTooLarge) {
		t.Errorf("a large one: %+v", results[2])
	}
}

func TestMapOfEndlessInputsIsLeftByBreak(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	stop := startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	watched(t, server, func() {
		batch := mapreduce.Map(t.Context(), client, square, numbers, mapreduce.Window(64))
		got := 0
		for range batch.Results() {
			if got++; got == 2000 {
				break
			}
		}
		if err := batch.Err(); err != nil {
			t.Errorf("a break is no error, got %v", err)
		}
		if p := batch.Progress(); p.InFlight != 0 || p.Submitted > got+64 {
			t.Errorf("progress: %+v", p)
		}
	})
	stop()
	if left := backlog(t, server.Client(t)); left != 0 {
		t.Errorf("%d tasks are left", left)
	}
}

func TestMapCancelsWhatHasNotStarted(t *testing.T) {
	t.Parallel()
	for name, chunk := range map[string]int{"chunks": 50, "tasks": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			client := newClient(t, server, stream.ClientConfig{})
			watched(t, server, func() {
				ctx, cancel := context.WithCancelCause(t.Context())
				batch := mapreduce.Map(ctx, client, square, numbers, mapreduce.Window(700), mapreduce.Chunk(chunk))
				go func() {
					defer cancel(errNegative)
					redistest.Eventually(t, 10*time.Second, func() bool { return stored(t, server.Client(t)) == 700 }, "the window is full")
				}()
				for r := range batch.Results() {
					t.Errorf("got %+v without a worker", r)
				}
				if err := batch.Err(); !errors.Is(err, context.Canceled) || !errors.Is(err, errNegative) {
					t.Errorf("the batch ended with %v", err)
				}
			})
			if left := backlog(t, server.Client(t)); left != 0 {
				t.Errorf("%d tasks are left", left)
			}
			if got := server.Client(t).HGet(t.Context(), "wm:{numbers}:counts", "cancelled").Val(); got != "700" {
				t.Errorf("%s are counted as cancelled, want 700", got)
			}
		})
	}
}

func TestMapHoldsNoMoreThanTheWindow(t *testing.T) {
	t.Parallel()
	const window = 7
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	var pulled atomic.Int64
	inputs := func(yield func(int) bool) {
		for i := range 200 {
			pulled.Add(1)
			if !yield(i) {
				return
			}
		}
	}
	batch := mapreduce.Map(t.Context(), client, square, inputs, mapreduce.Window(window), mapreduce.InOrder())
	handed := int64(0)
	for range batch.Results() {
		handed++
		if ahead := pulled.Load() - handed; ahead > window {
			t.Fatalf("%d inputs were taken ahead, the window is %d", ahead, window)
		}
	}
	if err := batch.Err(); err != nil || handed != 200 {
		t.Errorf("%d results, %v", handed, err)
	}
}

func TestMapSendsSlowInputsAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	next := make(chan int, 1)
	inputs := func(yield func(int) bool) { // each input comes only after the result of the one before
		for n := range next {
			if !yield(n) {
				return
			}
		}
	}
	next <- 0
	batch := mapreduce.Map(t.Context(), client, square, inputs)
	got := 0
	for r := range batch.Results() {
		if got++; got == 50 {
			close(next)
			continue
		}
		next <- r.Index + 1
	}
	if err := batch.Err(); err != nil || got != 50 {
		t.Errorf("%d results, %v", got, err)
	}
}

func TestMapEndsAtOnceThoughItsInputsBlock(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	release := make(chan struct{})
	blocked := make(chan struct{})
	inputs := func(yield func(int) bool) {
		yield(1)
		close(blocked)
		<-release
	}
	watched(t, server, func() {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-blocked
			cancel()
		}()
		batch := mapreduce.Map(ctx, client, square, inputs)
		start := time.Now()
		for r := range batch.Results() {
			t.Errorf("got %+v without a worker", r)
		}
		if err := batch.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("the batch ended with %v", err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the batch took %v to end", took)
		}
		close(release)
	})
}

func TestMapPassesPanicsOn(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		inputs iter.Seq[int]
		body   func()
	}{
		"of the inputs": {inputs: func(yield func(int) bool) { yield(1); panic("boom") }, body: func() {}},
		"of the loop":   {inputs: numbers, body: func() { panic("boom") }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			startWorker(t, server, nil)
			client := newClient(t, server, stream.ClientConfig{})
			var caught any
			watched(t, server, func() {
				defer func() { caught = recover() }()
				for range mapreduce.Map(t.Context(), client, square, test.inputs).Results() {
					test.body()
				}
			})
			if caught != "boom" {
				t.Errorf("the caller saw %v", caught)
			}
		})
	}
}

func TestResultsAreRangedOverOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	batch := mapreduce.Map(t.Context(), client, square, count(3))
	requireSquares(t, batch, 3)
	for r := range batch.Results() {
		t.Errorf("the second loop got %+v", r)
	}
	if err := batch.Err(); !errors.Is(err, mapreduce.ErrResultsTaken) {
		t.Errorf("got %v", err)
	}
}

func TestMapReportsAllMistakesInItsOptions(t *testing.T) {
	t.Parallel()
	redis := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // nothing is dialed
	defer redis.Close()
	store, err := stream.NewStore(redis, stream.Config{})
	must(t, err)
	client, err := stream.NewClient(store, stream.ClientConfig{})
	must(t, err)
	batch := mapreduce.Map(t.Context(), client, square, numbers,
		mapreduce.Window(0), mapreduce.WindowBytes(-1), mapreduce.FailAfter(0), mapreduce.TaskOptions(stream.Unique("k", time.Hour)))
	for r := range batch.Results() {
		t.Errorf("got %+v", r)
	}
	if err = batch.Err(); err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"window of 0:", "window of -1 bytes", "less than one failure", "Unique"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

func TestProgressIsSeenFromOutside(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	batch := mapreduce.Map(t.Context(), client, square, count(30), mapreduce.Window(20))
	if p := batch.Progress(); p != (mapreduce.Progress{}) {
		t.Errorf("before the loop: %+v", p)
	}
	half := make(chan struct{})
	go func() {
		defer close(half)
		redistest.Eventually(t, 10*time.Second, func() bool {
			p := batch.Progress()
			return p.Submitted == 20 && p.InFlight == 20
		}, "a window full in flight")
		startWorker(t, server, nil)
		redistest.Eventually(t, 10*time.Second, func() bool { return batch.Progress().Done == 30 }, "all done")
	}()
	requireSquares(t, batch, 30)
	<-half
}

func TestBatchSharesAContext(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	ctx := t.Context()
	watched(t, server, func() {
		batch := mapreduce.Map(ctx, client, addBase, count(3))
		if id := batch.ID(); id != "" {
			t.Errorf("ID %q before the batch has begun", id)
		}
		if err := batch.Set(ctx, "base", []byte("100")); err != nil {
			t.Fatal(err)
		}
		id := batch.ID()
		for r := range batch.Results() {
			if r.Err != nil || r.Value != 100+r.Input {
				t.Errorf("got %+v", r)
			}
			if seen, err := batch.Get(ctx, "seen"); err != nil || len(seen) == 0 {
				t.Errorf("what a task has set: %q, %v", seen, err)
			}
			if none, err := batch.Get(ctx, "none"); err != nil || none != nil {
				t.Errorf("what nobody has set: %q, %v", none, err)
			}
		}
		if err := batch.Err(); err != nil || batch.ID() != id || len(id) != 26 {
			t.Errorf("err %v, ID %q, then %q", err, id, batch.ID())
		}
		if err := batch.Set(ctx, "late", nil); !errors.Is(err, mapreduce.ErrOver) {
			t.Errorf("set after the end: %v", err)
		}
	})
}

// Inputs that return because the context ended are not all there were to be, also when nothing of the batch is out.
func TestInputsThatEndWithTheContextLeaveItsError(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	delivered := make(chan struct{})
	inputs := func(yield func(int) bool) {
		yield(1)
		<-delivered
		cancel()
	}
	batch := mapreduce.Map(ctx, client, square, inputs)
	for range batch.Results() {
		close(delivered)
		<-ctx.Done()
	}
	if err := batch.Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("the batch ended with %v", err)
	}
}

func TestBatchThatOnlySharesEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	watched(t, server, func() {
		ctx, cancel := context.WithCancel(t.Context())
		batch := mapreduce.Map(ctx, client, square, count(3))
		if err := batch.Set(t.Context(), "k", []byte("v")); err != nil {
			t.Fatal(err)
		}
		cancel()
		redistest.Eventually(t, 5*time.Second, func() bool { return len(keys(t, server.Client(t))) == 0 }, "its keys are gone")
		for r := range batch.Results() {
			t.Errorf("got %+v", r)
		}
		if err := batch.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("the batch ended with %v", err)
		}
	})
}

func TestMapOnAQueueWithALimit(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{MaxQueue: 20})
	requireSquares(t, mapreduce.Map(t.Context(), client, square, count(500)), 500)
}

func TestMapCancelsWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{MaxQueue: 20})
	watched(t, server, func() {
		ctx, cancel := context.WithCancel(t.Context())
		batch := mapreduce.Map(ctx, client, square, numbers)
		go func() {
			redistest.Eventually(t, 10*time.Second, func() bool { return backlog(t, server.Client(t)) == 20 }, "the queue is full")
			cancel()
		}()
		for r := range batch.Results() {
			t.Errorf("got %+v without a worker", r)
		}
		if err := batch.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("the batch ended with %v", err)
		}
	})
	if left := backlog(t, server.Client(t)); left != 0 {
		t.Errorf("%d tasks are left", left)
	}
}
