package mapreduce_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
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

// TestACheckpointIsNeverTorn looks at what is saved while a fold runs: the accumulator holds exactly the inputs of the cursor.
func TestACheckpointIsNeverTorn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	j := job{Name: "sums", Inputs: 20_000, Every: 10 * time.Millisecond}
	folding, looked := make(chan struct{}), make(chan int)
	go func() {
		var last time.Time
		different := 0
		for {
			select {
			case <-folding:
				looked <- different
				return
			default:
			}
			c, err := mapreduce.Checkpointed(t.Context(), client.Store(), "numbers", "sums")
			if errors.Is(err, mapreduce.ErrNoCheckpoint) || err == nil && !c.Saved.After(last) {
				continue
			}
			var acc tally
			if err == nil {
				last = c.Saved
				different++
				err = json.Unmarshal(c.Acc, &acc)
			}
			if err != nil || acc.Count != c.Done+c.Failed || acc.Failed != c.Failed || c.Low > acc.Count || c.Inputs < acc.Count {
				t.Errorf("checkpoint %+v holds %+v, %v", c, acc, err)
			}
		}
	}()
	got, err := j.fold(t.Context(), client, func(index int) error { // busy, so that a save comes in the middle of something
		n := uint64(index) //nolint:gosec // never negative
		for range 10_000 {
			n = scramble(n)
		}
		if n == 0 {
			return errors.New("by chance")
		}
		return nil
	})
	close(folding)
	if want := j.serial(); err != nil || got.String() != want.String() {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if n := <-looked; n < 3 {
		t.Errorf("only %d checkpoints were seen", n)
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
			j := job{Network: server.Network, Addr: server.Addr, Name: "sums", Inputs: 20_000, Every: 10 * time.Millisecond, ReplyTTL: 3 * time.Second}
			frozen := startReducer(t, j)
			frozen.follow(1000) // it cannot be far ahead: what it writes fills the pipe
			client := newClient(t, server, stream.ClientConfig{})
			redistest.Eventually(t, 10*time.Second, func() bool {
				c, err := mapreduce.Checkpointed(t.Context(), client.Store(), "numbers", "sums")
				return err == nil && c.Done >= 500
			}, "the reducer has saved")
			frozen.signal(syscall.SIGSTOP)
			folded := 0
			got, err := j.fold(t.Context(), client, func(int) error {
				if folded++; folded == wakeAt {
					frozen.signal(syscall.SIGCONT)
				}
				return nil
			})
			if want := j.serial(); err != nil || got.String() != want.String() {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
			if wakeAt == 0 {
				if folded > j.Inputs-400 {
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

// TestALiveReducerDoesNotHearOfItsCancelledTasks takes one over whose tasks wait: they are cancelled, but have not failed.
func TestALiveReducerDoesNotHearOfItsCancelledTasks(t *testing.T) {
	t.Parallel()
	for _, chunk := range []int{1, 10} {
		t.Run(fmt.Sprint("chunks of ", chunk), func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			options := []mapreduce.Option{mapreduce.Durable("one"), mapreduce.Window(200), mapreduce.Chunk(chunk)}
			first := mapreduce.Map(t.Context(), newClient(t, server, stream.ClientConfig{}), square, numbers, options...)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for r := range first.Results() {
					t.Errorf("got %+v", r)
				}
			}()
			redistest.Eventually(t, 10*time.Second, func() bool { return stored(t, server.Client(t)) == 200 }, "the window is full")
			ctx, cancel := context.WithCancel(t.Context())
			client := newClient(t, server, stream.ClientConfig{})
			second := mapreduce.Map(ctx, client, square, numbers, options...)
			go func() {
				<-ended
				cancel()
			}()
			for r := range second.Results() {
				t.Errorf("got %+v", r)
			}
			if err := first.Err(); !errors.Is(err, mapreduce.ErrTakenOver) {
				t.Errorf("the first one ended with %v", err)
			}
			if err := second.Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("the second one ended with %v", err)
			}
			must(t, mapreduce.Discard(t.Context(), client.Store(), "numbers", "one"))
			nothingLeft(t, server)
		})
	}
}

// TestAnOwnerWhoseSuccessorWasForgottenHandsOutNoCancelledTasks is about an owner that was frozen while another one ended the batch, and
// Redis then lost its data, and with them who had taken over: all that is left is what the other one swept.
func TestAnOwnerWhoseSuccessorWasForgottenHandsOutNoCancelledTasks(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	batch := mapreduce.Map(ctx, client, square, numbers, mapreduce.Durable("one"), mapreduce.Window(50), mapreduce.Chunk(1))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for r := range batch.Results() {
			t.Errorf("got %+v", r)
			cancel()
		}
	}()
	redistest.Eventually(t, 10*time.Second, func() bool { return stored(t, server.Client(t)) == 50 }, "the window is full")
	store := client.Store()
	keys, scripts := store.Keys("numbers"), store.Scripts()
	_, err := scripts.Cancel(t.Context(), keys, store.Group(), []script.TaskRef{{ID: batch.ID()}})
	must(t, err)
	tasks, _, err := scripts.Leftover(t.Context(), keys, batch.ID(), "-", "+")
	if err != nil || len(tasks) != 50 {
		t.Fatalf("%d tasks, %v", len(tasks), err)
	}
	_, err = scripts.Cancel(t.Context(), keys, store.Group(), tasks)
	must(t, err)
	<-ended
	if err := batch.Err(); !errors.Is(err, mapreduce.ErrTakenOver) {
		t.Errorf("it ended with %v, want ErrTakenOver", err)
	}
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
				if folded < 3000 {
					return nil
				}
				// A save comes between two folds: so this one must not wait for it.
				if c, err := mapreduce.Checkpointed(t.Context(), client.Store(), "numbers", "sums"); err == nil && c.Done+c.Failed >= 2000 {
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

// TestAnIdleBatchIsSavedAllTheSame loses a checkpoint, and then a save, of a batch that gets no further.
func TestAnIdleBatchIsSavedAllTheSame(t *testing.T) {
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
	inputs := make(chan int, 20)
	yield := func(yield func(int) bool) {
		for n := range inputs {
			if !yield(n) {
				return
			}
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := mapreduce.Reduce(t.Context(), mapreduce.Map(t.Context(), client, square, yield, mapreduce.Durable("idle")), 0, sum)
		ended <- err
	}()
	saved := func(n int) {
		t.Helper()
		redistest.Eventually(t, 10*time.Second, func() bool {
			c, err := mapreduce.Checkpointed(t.Context(), client.Store(), "numbers", "idle")
			return err == nil && c.Done == n
		}, "%d inputs are saved", n)
	}
	for n := range 10 {
		inputs <- n
	}
	saved(10)
	must(t, server.Client(t).Del(t.Context(), "wm:{numbers}:batch:idle").Err())
	saved(10)
	failed := make(chan struct{})
	once := sync.OnceFunc(func() { close(failed) })
	proxy.CutBeforeRequest(func(request []byte) bool {
		if !bytes.Contains(request, []byte(":batch:idle")) || !bytes.Contains(request, []byte("\r\ndelivered\r\n")) {
			return false
		}
		once()
		return true
	})
	inputs <- 10
	<-failed
	proxy.CutBeforeRequest(nil)
	saved(11)
	close(inputs)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	nothingLeft(t, server)
}
