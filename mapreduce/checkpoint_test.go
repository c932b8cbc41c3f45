package mapreduce_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// untold is for folds that nobody follows.
func untold(int) error { return nil }

// TestAKilledFoldCountsEachInputOnce kills reducers at random points, until one ends.
func TestAKilledFoldCountsEachInputOnce(t *testing.T) {
	t.Parallel()
	rounds := 4
	if text := os.Getenv("MAPREDUCE_TEST_ROUNDS"); text != "" {
		rounds, _ = strconv.Atoi(text)
	}
	for range rounds {
		seed := rand.Uint64()
		if text := os.Getenv("MAPREDUCE_TEST_SEED"); text != "" {
			seed, _ = strconv.ParseUint(text, 10, 64)
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable
			server := redistest.Start(t)
			startWorker(t, server, nil)
			j := job{
				Network: server.Network, Addr: server.Addr, Name: "sums", Inputs: 3000 + random.IntN(3000),
				Ordered: random.IntN(2) == 0, Every: 10 * time.Millisecond << random.IntN(3), ReplyTTL: time.Minute,
			}
			var points []int
			for {
				r := startReducer(t, j)
				point := random.IntN(j.Inputs)
				if len(points) > 6 {
					point = j.Inputs + 1
				}
				points = append(points, point)
				verb, rest := r.follow(point)
				r.kill()
				if verb == "" {
					continue
				}
				if want := j.serial().String(); verb != "result" || rest != want {
					t.Fatalf("seed %d, %+v, killed after %v: got %s %s, want %s", seed, j, points, verb, rest, want)
				}
				break
			}
			t.Logf("%+v, killed after %v", j, points)
			nothingLeft(t, server)
		})
	}
}

// TestAFrozenReducerSpoilsNothing freezes a reducer, has another one go on, and lets the first one go on in the middle of that, or when
// all is over.
func TestAFrozenReducerSpoilsNothing(t *testing.T) {
	t.Parallel()
	for name, wakeAt := range map[string]int{"in the middle": 2500, "at the end": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			startWorker(t, server, nil)
			j := job{Network: server.Network, Addr: server.Addr, Name: "sums", Inputs: 4000, Every: 10 * time.Millisecond, ReplyTTL: 3 * time.Second}
			frozen := startReducer(t, j)
			frozen.follow(1000)
			frozen.signal(syscall.SIGSTOP)
			folded := 0
			got, err := j.fold(t.Context(), newClient(t, server, stream.ClientConfig{}), func(int) error {
				if folded++; folded == wakeAt {
					frozen.signal(syscall.SIGCONT)
				}
				return nil
			})
			if want := j.serial(); err != nil || got.String() != want.String() {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
			if wakeAt == 0 {
				if folded > j.Inputs-500 {
					t.Errorf("it folded %d of %d again", folded, j.Inputs)
				}
				frozen.signal(syscall.SIGCONT)
			}
			if verb, rest := frozen.follow(j.Inputs); verb != "error" || !strings.Contains(rest, mapreduce.ErrTakenOver.Error()) {
				t.Errorf("the frozen one ended with %s %s", verb, rest)
			}
			nothingLeft(t, server)
		})
	}
}

func TestALiveReducerIsTakenOver(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	j := job{Name: "sums", Inputs: 5000, Every: 10 * time.Millisecond}
	begun, taken := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		folded := 0
		_, err := j.fold(t.Context(), newClient(t, server, stream.ClientConfig{}), func(int) error {
			if folded++; folded == 1000 {
				close(begun)
				<-taken
			}
			return nil
		})
		first <- err
	}()
	<-begun
	folded := 0
	got, err := j.fold(t.Context(), newClient(t, server, stream.ClientConfig{}), func(int) error {
		if folded++; folded == 500 {
			close(taken)
			if err := <-first; !errors.Is(err, mapreduce.ErrTakenOver) || !strings.Contains(err.Error(), `Durable("sums")`) {
				t.Errorf("the first one ended with %v", err)
			}
		}
		return nil
	})
	if want := j.serial(); err != nil || got.String() != want.String() {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	nothingLeft(t, server)
}

// TestTheTasksOfADeadReducerAreCancelled kills one whose tasks nobody runs, and runs its batch where somebody does.
func TestTheTasksOfADeadReducerAreCancelled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	j := job{Network: server.Network, Addr: server.Addr, Name: "sums", Inputs: 3000, Every: 10 * time.Millisecond, ReplyTTL: time.Minute}
	r := startReducer(t, j)
	redistest.Eventually(t, 10*time.Second, func() bool { return stored(t, server.Client(t)) == 300 }, "the window is full")
	r.kill()
	for range 150 { // they are found behind tasks of others
		if _, err := square.Enqueue(t.Context(), client, 1); err != nil {
			t.Fatal(err)
		}
	}
	dead := reply(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := j.fold(ctx, client, untold)
		ended <- err
	}()
	redistest.Eventually(t, 10*time.Second, func() bool {
		return server.Client(t).Exists(t.Context(), dead).Val() == 0 && stored(t, server.Client(t)) == 300+150
	}, "the tasks of the dead one are gone, those of others and of the new one are there")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	startWorker(t, server, nil)
	got, err := j.fold(t.Context(), client, untold)
	if want := j.serial(); err != nil || got.String() != want.String() {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	nothingLeft(t, server)
}

// reply is the name of the one reply stream there is.
func reply(t *testing.T, server *redistest.Server) string {
	t.Helper()
	names, err := server.Client(t).Keys(t.Context(), "*:reply:*").Result()
	if err != nil || len(names) != 1 {
		t.Fatalf("reply streams: %q, %v", names, err)
	}
	return names[0]
}

// TestLostRepliesOfSaves throws away the answer of every third call about the checkpoint: of claims, saves and the removal.
func TestLostRepliesOfSaves(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	proxy := redistest.NewProxy(t, server)
	store, err := stream.NewStore(proxy.Client(t), stream.Config{})
	must(t, err)
	client, err := stream.NewClient(store, stream.ClientConfig{})
	must(t, err)
	t.Cleanup(func() {
		_ = client.Close(context.WithoutCancel(t.Context()))
		_ = store.Close()
	})
	for first := range 3 {
		calls := first
		proxy.CutAfterRequest(func(request []byte) bool {
			if !bytes.Contains(request, []byte(":batch:sums")) {
				return false
			}
			calls++
			return calls%3 == 0
		})
		j := job{Name: "sums", Inputs: 2000, Every: 10 * time.Millisecond}
		folded, stop := 0, errors.New("stop")
		_, err := j.fold(t.Context(), client, func(int) error {
			if folded++; folded == 1200 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) {
			t.Errorf("the first part ended with %v", err)
		}
		got, err := j.fold(t.Context(), client, untold)
		if want := j.serial(); err != nil || got.String() != want.String() {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
		nothingLeft(t, server)
	}
	if proxy.Dropped() < 5 {
		t.Errorf("only %d replies were lost", proxy.Dropped())
	}
}

// TestACheckpointIsWrittenAnew loses what Redis has, or Redis itself, under a live batch.
func TestACheckpointIsWrittenAnew(t *testing.T) {
	t.Parallel()
	faults := map[string]func(t *testing.T, server *redistest.Server){
		"FLUSHALL": func(t *testing.T, server *redistest.Server) {
			t.Helper()
			must(t, server.Client(t).Do(t.Context(), "FLUSHALL").Err())
		},
		"DEL of the checkpoint": func(t *testing.T, server *redistest.Server) {
			t.Helper()
			must(t, server.Client(t).Del(t.Context(), "wm:{numbers}:batch:sums").Err())
		},
		"a restart without data": func(_ *testing.T, server *redistest.Server) { server.Restart() },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			startProcess(t, server)
			client := newClient(t, server, stream.ClientConfig{})
			j := job{Name: "sums", Inputs: 4000, Every: 10 * time.Millisecond}
			folded, stop := 0, errors.New("stop")
			_, err := j.fold(t.Context(), client, func(int) error {
				if folded++; folded == 2000 {
					fault(t, server)
				}
				if folded == 3000 { // which is in it by then
					redistest.Eventually(t, 10*time.Second, func() bool {
						c, err := mapreduce.Checkpointed(t.Context(), client.Store(), "numbers", "sums")
						return err == nil && c.Done+c.Failed >= 2000
					}, "the checkpoint is there again")
					return stop
				}
				return nil
			})
			if !errors.Is(err, stop) {
				t.Errorf("the first part ended with %v", err)
			}
			again := 0
			got, err := j.fold(t.Context(), client, func(int) error { again++; return nil })
			if want := j.serial(); err != nil || got.String() != want.String() || again > 2000 {
				t.Errorf("got %v, %v, want %v, folded %d again", got, err, want, again)
			}
			nothingLeft(t, server)
		})
	}
}

// TestAnUnsavedBatchGoesOn refuses saves for a while, and then for good.
func TestAnUnsavedBatchGoesOn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	proxy := redistest.NewProxy(t, server)
	store, err := stream.NewStore(proxy.Client(t), stream.Config{})
	must(t, err)
	client, err := stream.NewClient(store, stream.ClientConfig{RetryFor: 700 * time.Millisecond})
	must(t, err)
	t.Cleanup(func() {
		_ = client.Close(context.WithoutCancel(t.Context()))
		_ = store.Close()
	})
	refused := func(request []byte) bool { return bytes.Contains(request, []byte(":batch:sums")) }
	j := job{Name: "sums", Inputs: 3000, Every: 10 * time.Millisecond}
	folded := 0
	got, err := j.fold(t.Context(), client, func(int) error {
		switch folded++; folded {
		case 1000:
			proxy.CutBeforeRequest(refused)
		case 2000:
			proxy.CutBeforeRequest(nil)
		}
		return nil
	})
	if want := j.serial(); err != nil || got.String() != want.String() {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	cut := false
	batch := mapreduce.Map(t.Context(), client, square, numbers, mapreduce.Window(10), mapreduce.Durable("sums"))
	for range batch.Results() {
		if !cut {
			cut = true
			proxy.CutBeforeRequest(refused)
		}
	}
	if err = batch.Err(); !errors.Is(err, stream.ErrUnavailable) || !strings.Contains(err.Error(), `Durable("sums")`) {
		t.Errorf("a batch that cannot be saved ended with %v", err)
	}
}

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
