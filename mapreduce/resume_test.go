package mapreduce_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestALoopResumes breaks out of a loop: the result at which it was left comes again, those before do not.
func TestALoopResumes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	for _, ordered := range []bool{true, false} {
		seen, left := make(map[int]int), -1
		options := []mapreduce.Option{mapreduce.Durable("loop"), mapreduce.Window(50), mapreduce.Chunk(7)}
		if ordered {
			options = append(options, mapreduce.InOrder())
		}
		const n, parts = 1000, 4
		for part := range parts {
			batch := mapreduce.Map(t.Context(), client, square, count(n), options...)
			if p := batch.Progress(); p.Submitted != 0 {
				t.Errorf("before the loop: %+v", p)
			}
			taken, last := 0, -1
			for r := range batch.Results() {
				if ordered && r.Index <= last {
					t.Fatalf("%d after %d", r.Index, last)
				}
				last = r.Index
				seen[r.Index]++
				if taken++; part < parts-1 && taken == 200 {
					left = r.Index
					break
				}
				if p := batch.Progress(); p.Done < len(seen) || p.InFlight < 0 || p.Submitted < p.Done {
					t.Fatalf("%d were seen, progress %+v", len(seen), p)
				}
			}
			must(t, batch.Err())
			if part == parts-1 {
				break
			}
			c, err := mapreduce.Checkpointed(t.Context(), client.Store(), "numbers", "loop")
			if err != nil || c.Done != len(seen)-1 || c.Failed != 0 || c.Fold || c.Function != "square" || c.Acc != nil || c.Expires <= 23*time.Hour ||
				time.Since(c.Saved) > time.Minute || ordered && c.Low != left {
				t.Errorf("left at %d: checkpoint %+v, %v", left, c, err)
			}
			seen[left]--
			if seen[left] == 0 {
				delete(seen, left)
			}
		}
		for i := range n {
			if seen[i] != 1 {
				t.Errorf("ordered %v: input %d was delivered %d times", ordered, i, seen[i])
			}
		}
		nothingLeft(t, server)
	}
}

// TestAKilledLoopDeliversEachInput kills processes that loop over results: what was delivered since the last save comes again, nothing is
// missing, and it does not begin anew.
func TestAKilledLoopDeliversEachInput(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	j := job{Network: server.Network, Addr: server.Addr, Name: "loop", Inputs: 4000, Loop: true, Every: 10 * time.Millisecond, ReplyTTL: time.Minute}
	times := make(map[string]int)
	for part := range 4 {
		r := startReducer(t, j)
		r.told = func(index string) { times[index]++ }
		point := 900
		if part == 3 {
			point = j.Inputs + 1
		}
		verb, rest := r.follow(point)
		if part == 3 {
			if verb != "result" {
				t.Errorf("the last one ended with %s %s", verb, rest)
			}
			r.kill()
			break
		}
		redistest.Eventually(t, 10*time.Second, func() bool { // the first results of this part are saved
			c, err := mapreduce.Checkpointed(t.Context(), client.Store(), "numbers", "loop")
			return err == nil && c.Done+c.Failed >= 500*(part+1)
		}, "part %d is saved", part)
		r.signal(syscall.SIGKILL)
		r.follow(j.Inputs) // what it had told, and nobody had read
		r.kill()
	}
	if len(times) != j.Inputs {
		t.Errorf("%d inputs of %d were delivered", len(times), j.Inputs)
	}
	nothingLeft(t, server)
}

// TestInputsThatEndWithTheContextDoNotCompleteABatch has an iterator that returns when the context is done, as it should.
func TestInputsThatEndWithTheContextDoNotCompleteABatch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	run := func(n int) (got int, err error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		delivered := make(chan struct{})
		inputs := func(yield func(int) bool) {
			for i := range n {
				yield(i)
			}
			if n == 10 {
				<-delivered
			}
			cancel()
		}
		batch := mapreduce.Map(ctx, client, square, inputs, mapreduce.Durable("cut"), mapreduce.InOrder())
		for r := range batch.Results() {
			if got++; r.Index == 9 {
				close(delivered)
				<-ctx.Done()
			}
		}
		return got, batch.Err()
	}
	if got, err := run(10); got != 10 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := run(3); !errors.Is(err, context.Canceled) || errors.Is(err, mapreduce.ErrOtherInputs) {
		t.Errorf("it ended with %v while its inputs were compared", err)
	}
	c, err := mapreduce.Checkpointed(t.Context(), client.Store(), "numbers", "cut")
	if err != nil || c.Done != 10 || c.Inputs != 10 {
		t.Errorf("the checkpoint is %+v, %v", c, err)
	}
}

func TestOtherInputsAreNoticedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	swap := func(a, b int) []int {
		all := slices.Collect(count(500))
		all[a], all[b] = all[b], all[a]
		return all
	}
	for name, inputs := range map[string][]int{
		"two are swapped":        swap(3, 4),
		"one is another":         append([]int{7}, swap(0, 0)[1:]...),
		"one more at the start":  append([]int{0}, swap(0, 0)...),
		"fewer than were taken":  {0, 1, 2},
		"none":                   nil,
		"one of the last window": swap(119, 120),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			stop := startWorker(t, server, nil)
			client := newClient(t, server, stream.ClientConfig{})
			options := []mapreduce.Option{mapreduce.Durable("loop"), mapreduce.Window(50)}
			batch := mapreduce.Map(t.Context(), client, square, count(500), options...)
			for range batch.Results() {
				if p := batch.Progress(); p.Submitted > 130 && p.Done > 100 {
					break
				}
			}
			must(t, batch.Err())
			stop()
			before := server.Client(t).HGet(t.Context(), "wm:{numbers}:counts", "enqueued").Val()
			batch = mapreduce.Map(t.Context(), client, square, slices.Values(inputs), options...)
			for r := range batch.Results() {
				t.Errorf("got %+v", r)
			}
			if err := batch.Err(); !errors.Is(err, mapreduce.ErrOtherInputs) || !strings.Contains(err.Error(), `Durable("loop")`) {
				t.Errorf("got %v", err)
			}
			if after := server.Client(t).HGet(t.Context(), "wm:{numbers}:counts", "enqueued").Val(); after != before {
				t.Errorf("%s tasks were sent before, %s after", before, after)
			}
			startWorker(t, server, nil) // with the right ones it goes on
			got, last := 0, mapreduce.Map(t.Context(), client, square, count(500), options...)
			for range last.Results() {
				got++
			}
			if must(t, last.Err()); got > 460 {
				t.Errorf("%d came again", got)
			}
		})
	}
}

// TestFailuresBeforeCount resumes batches with FailAfter.
func TestFailuresBeforeCount(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	run := func(limit, leave int) (got int, err error) {
		batch := mapreduce.Map(t.Context(), client, square, slices.Values([]int{-1, 1, -2, 2, -3, 3, -4, 4}),
			mapreduce.Durable("loop"), mapreduce.InOrder(), mapreduce.Window(1), mapreduce.FailAfter(limit))
		for range batch.Results() {
			if got++; got == leave {
				break
			}
		}
		return got, batch.Err()
	}
	if got, err := run(3, 4); got != 4 || err != nil {
		t.Errorf("first: %d results, %v", got, err)
	}
	var failures *mapreduce.FailuresError
	if got, err := run(3, 0); got != 2 || !errors.As(err, &failures) || len(failures.Errs) != 1 { // 2 and -3
		t.Errorf("second: %d results, %v", got, err)
	}
	if got, err := run(3, 0); got != 0 || !errors.As(err, &failures) || !strings.Contains(err.Error(), "before it was resumed") {
		t.Errorf("third: %d results, %v", got, err)
	}
	if got, err := run(9, 0); got != 3 || err != nil {
		t.Errorf("with a higher limit: %d results, %v", got, err)
	}
	nothingLeft(t, server)
}

func TestCheckpointsOfOtherBatches(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	ctx, store := t.Context(), client.Store()
	leave := func(fn stream.Func[int, int]) error {
		batch := mapreduce.Map(ctx, client, fn, count(100), mapreduce.Durable("one"))
		for range batch.Results() {
			break
		}
		return batch.Err()
	}
	must(t, leave(square))
	if err := leave(wait); !errors.Is(err, mapreduce.ErrOtherBatch) || !strings.Contains(err.Error(), "of square by a loop") {
		t.Errorf("another function: %v", err)
	}
	_, err := mapreduce.Reduce(ctx, mapreduce.Map(ctx, client, square, count(100), mapreduce.Durable("one")), 0, sum)
	if !errors.Is(err, mapreduce.ErrOtherBatch) || !strings.Contains(err.Error(), "square by a fold") {
		t.Errorf("another kind: %v", err)
	}
	must(t, server.Client(t).HSet(ctx, "wm:{numbers}:batch:one", "v", "2").Err())
	if err := leave(square); !errors.Is(err, mapreduce.ErrOtherBatch) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a newer version: %v", err)
	}
	must(t, server.Client(t).HSet(ctx, "wm:{numbers}:batch:one", "v", "1", "delivered", "5-3").Err())
	if err := leave(square); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged one: %v", err)
	}
	must(t, mapreduce.Discard(ctx, store, "numbers", "one"))
	if err := mapreduce.Discard(ctx, store, "numbers", "one"); !errors.Is(err, mapreduce.ErrNoCheckpoint) {
		t.Errorf("discard again: %v", err)
	}
	if _, err := mapreduce.Checkpointed(ctx, store, "numbers", "one"); !errors.Is(err, mapreduce.ErrNoCheckpoint) {
		t.Errorf("look: %v", err)
	}
	must(t, server.Client(t).Set(ctx, "wm:{numbers}:batch:one", "x", 0).Err())
	if err := leave(square); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("a key of a wrong type: %v", err)
	}
}

// TestDiscardEndsALiveBatch discards what a batch saves to.
func TestDiscardEndsALiveBatch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	batch := mapreduce.Map(t.Context(), client, square, numbers, mapreduce.Durable("one"), mapreduce.Window(20))
	discarded := false
	for range batch.Results() {
		if !discarded {
			must(t, mapreduce.Discard(t.Context(), client.Store(), "numbers", "one"))
			discarded = true
		}
	}
	if err := batch.Err(); !errors.Is(err, mapreduce.ErrTakenOver) {
		t.Errorf("got %v", err)
	}
	nothingLeft(t, server)
}

// TestAFoldThatFailsIsNotSaved has a fold that changes a map before it returns an error, and one that panics.
func TestAFoldThatFailsIsNotSaved(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	run := func(bad func(map[string]int) error) (map[string]int, error) {
		batch := mapreduce.Map(t.Context(), client, square, count(100), mapreduce.InOrder(), mapreduce.Durable("one", mapreduce.CheckpointEvery(10*time.Millisecond)))
		return mapreduce.Reduce(t.Context(), batch, map[string]int{}, func(acc map[string]int, r mapreduce.Result[int, int]) (map[string]int, error) {
			acc["n"]++
			if r.Index == 50 {
				return acc, bad(acc)
			}
			return acc, r.Err
		})
	}
	saved := func(map[string]int) error {
		return errors.New("no more")
	}
	if _, err := run(saved); err == nil || !strings.Contains(err.Error(), "no more") {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = run(func(map[string]int) error { panic("no") })
	}()
	if got, err := run(func(map[string]int) error { return nil }); err != nil || got["n"] != 100 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWhatDurableRefuses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	for want, option := range map[string]mapreduce.Option{
		`Durable: batch name "a b"`:   mapreduce.Durable("a b"),
		`Durable: batch name ""`:      mapreduce.Durable(""),
		"CheckpointEvery(0s)":         mapreduce.Durable("a", mapreduce.CheckpointEvery(0)),
		"CheckpointTTL(1s)":           mapreduce.Durable("a", mapreduce.CheckpointTTL(time.Second)),
		"CheckpointCodec(nil)":        mapreduce.Durable("a", mapreduce.CheckpointCodec(nil)),
		"raw codec takes []byte and ": mapreduce.Durable("a", mapreduce.CheckpointCodec(stream.Raw)),
	} {
		_, err := mapreduce.Reduce(t.Context(), mapreduce.Map(t.Context(), client, square, count(1), option), 0, sum)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if left := keys(t, server.Client(t)); len(left) > 0 {
		t.Errorf("keys are left: %q", left)
	}
}
