package mapreduce_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestAWorkerIsDrainedInEachPhase stops a worker whose handler blocks, while another one waits.
func TestAWorkerIsDrainedInEachPhase(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"map", "reduce"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			began := make(chan struct{}, 1)
			var blocked atomic.Bool
			block := func(ctx context.Context, key string) error {
				if (key == "w1 common w1" || key == "common") && blocked.CompareAndSwap(false, true) {
					began <- struct{}{}
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}
			job := wordCount(func(job *wordJob) {
				job.MaxAttempts = 1
				if phase == "map" {
					withMap(block)(job)
					return
				}
				job.Reduce = func(ctx context.Context, key string, counts iter.Seq[int]) (int, error) {
					return total(counts), block(ctx, key)
				}
			})
			stop := runWorker(t, server.Client(t), job)
			run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(30), mapreduce.NoSpeculation())
			must(t, err)
			<-began
			runWorker(t, server.Client(t), job)
			stop()
			if got, want := collect(t, run), local(t, wordCount(), lines(30)); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			wantNothingLeft(t, server.Client(t))
		})
	}
}

// once cuts the connection after each of the first n requests that hold a text.
func once(n int, text string) func([]byte) bool {
	return func(request []byte) bool {
		if n > 0 && bytes.Contains(request, []byte(text)) && bytes.Contains(bytes.ToLower(request[:min(len(request), 40)]), []byte("evalsha")) {
			n--
			return true
		}
		return false
	}
}

// TestLostRepliesOfRunsDoubleNothing loses answers of each script that a run is made with.
func TestLostRepliesOfRunsDoubleNothing(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"open": "partitions", "feed": "words.map", "begin, spill, put, finish": "run:", "finish of maps": "maps\r\n", "finish of reduces": "reduces\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			proxy := redistest.NewProxy(t, server)
			through := proxy.Client(t)
			store, err := stream.NewStore(through, stream.Config{})
			must(t, err)
			defer store.Close()
			client, err := stream.NewClient(store, stream.ClientConfig{})
			must(t, err)
			job := wordCount(func(job *wordJob) { job.MaxAttempts = 1 })
			warm, err := job.Submit(t.Context(), client, lines(3)) // so that the scripts are known
			must(t, err)
			stop := runWorker(t, server.Client(t), job)
			collect(t, warm)
			stop()
			proxy.CutAfterRequest(once(6, text))
			runWorker(t, through, job)
			run, err := job.Submit(t.Context(), client, lines(60))
			must(t, err)
			if got, want := collect(t, run), local(t, job, lines(60)); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if proxy.Dropped() == 0 {
				t.Error("no answer was lost")
			}
			proxy.CutAfterRequest(nil)
			wantNothingLeft(t, server.Client(t))
		})
	}
}

// TestTasksThatRunTwiceAtOnceCountOnce stores each task of a run a second time by hand.
func TestTasksThatRunTwiceAtOnceCountOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	var both sync.WaitGroup
	both.Add(2)
	var calls atomic.Int32
	var id string
	var last atomic.Bool
	checked := make(chan struct{})
	job := wordCount(withMap(func(ctx context.Context, line string) error {
		switch {
		case line == "w0 common w0" && calls.Add(1) <= 2: // both executions of the first task are alive at the same time
			both.Done()
			both.Wait()
		case line == "w14 common w4" && !last.CompareAndSwap(false, true):
			<-checked
		case line == "w14 common w4":
			defer close(checked)
			// It ends when all others have: one that counts twice would end the phase. Two executions of it are left.
			redistest.Eventually(t, 10*time.Second, func() bool {
				left := 0
				for _, entry := range admin.XRange(ctx, "wm:{numbers}:tasks", "-", "+").Val() {
					if text, _ := entry.Values["v1"].(string); strings.Contains(text, " words.map ") {
						left++
					}
				}
				return left == 2
			}, "the others have ended")
			executions := map[string]bool{}
			for p := range 4 {
				for _, field := range admin.HKeys(ctx, fmt.Sprintf("wm:{numbers/%s/%d}:shuffle", id, p)).Val() {
					if split, rest, _ := strings.Cut(field, "."); split == "0" {
						executions[rest[:26]] = true
					}
				}
			}
			if len(executions) != 1 {
				t.Errorf("segments of the first task are of the executions %v", executions)
			}
		}
		return nil
	}))
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(15), mapreduce.NoSpeculation())
	must(t, err)
	id = run.ID
	entries, err := admin.XRange(t.Context(), "wm:{numbers}:tasks", "-", "+").Result()
	must(t, err)
	for _, entry := range entries {
		must(t, admin.XAdd(t.Context(), &redis.XAddArgs{Stream: "wm:{numbers}:tasks", Values: entry.Values}).Err())
	}
	runWorkerWith(t, server.Client(t), group.Config{Concurrency: 16}, job)
	if got, want := collect(t, run), local(t, wordCount(), lines(15)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if calls.Load() < 2 {
		t.Error("it did not run twice")
	}
	wantNothingLeft(t, admin)
}

// TestALateLoserLeavesNothing removes a run while a mapper is about to emit.
func TestALateLoserLeavesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	began, goOn, done := make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 1)
	job := wordCount(withMap(func(context.Context, string) error {
		began <- struct{}{}
		<-goOn // whatever its context says
		done <- struct{}{}
		return nil
	}))
	stop := runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(1))
	must(t, err)
	<-began
	must(t, run.Remove(t.Context()))
	close(goOn)
	<-done
	stop()
	wantNothingLeft(t, server.Client(t))
}

func TestAnInterruptedSubmitIsContinued(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	admin := server.Client(t)
	job := wordCount()
	id := stream.NewID()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := job.Submit(ctx, client, func(yield func(string) bool) {
		for line := range lines(100) {
			if n++; n == 50 {
				redistest.Eventually(t, 10*time.Second, func() bool {
					return admin.HGet(t.Context(), "wm:{numbers}:run:"+id, "splits").Val() == "16"
				}, "what was cut is stored")
				cancel()
			}
			if !yield(line) {
				return
			}
		}
	}, mapreduce.RunID(id))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	open, err := job.Resume(t.Context(), client, id)
	must(t, err)
	if p, err := open.Progress(t.Context()); err != nil || p.State != mapreduce.RunOpen || p.Inputs != 48 || p.Maps != 16 {
		t.Errorf("progress %+v, %v", p, err)
	}
	for what, inputs := range map[string]iter.Seq[string]{
		"others": func(yield func(string) bool) {
			for line := range lines(100) {
				if !yield(line + "!") {
					return
				}
			}
		},
		"fewer": lines(20),
	} {
		if _, err = job.Submit(t.Context(), client, inputs, mapreduce.RunID(id)); !errors.Is(err, mapreduce.ErrOtherRun) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err = wordCount(func(job *wordJob) { job.Split = 4 }).Submit(t.Context(), client, lines(100), mapreduce.RunID(id)); !errors.Is(err, mapreduce.ErrOtherRun) {
		t.Errorf("another job: got %v", err)
	}
	run, err := job.Submit(t.Context(), client, lines(100), mapreduce.RunID(id))
	must(t, err)
	again, err := job.Submit(t.Context(), client, func(func(string) bool) { t.Error("inputs were asked for") }, mapreduce.RunID(id))
	if err != nil || again.ID != id {
		t.Errorf("a complete one: %v", err)
	}
	runWorker(t, server.Client(t), job)
	if got, want := collect(t, run), local(t, job, lines(100)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAPanicOfTheInputsPassesAndTheRunCanBeContinued(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	job := wordCount()
	id := stream.NewID()
	func() {
		defer func() {
			if value := recover(); value != "no more" {
				t.Errorf("got %v", value)
			}
		}()
		_, _ = job.Submit(t.Context(), client, func(yield func(string) bool) {
			for line := range lines(10) {
				yield(line)
			}
			panic("no more")
		}, mapreduce.RunID(id))
	}()
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), client, lines(20), mapreduce.RunID(id))
	must(t, err)
	if got, want := collect(t, run), local(t, job, lines(20)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSlowInputsKeepTheRunAlive(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	job := wordCount()
	id := stream.NewID()
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), func(yield func(string) bool) {
		yield("a")
		last := ""
		for renewed := 0; renewed < 4; renewed++ { // for longer than the run would live
			redistest.Eventually(t, 10*time.Second, func() bool {
				now := admin.HGet(t.Context(), "wm:{numbers}:run:"+id, "renewed").Val()
				changed := now != "" && now != last
				last = now
				return changed
			}, "renewed")
		}
		yield("b")
	}, mapreduce.RunID(id), mapreduce.Expire(time.Second))
	must(t, err)
	runWorker(t, server.Client(t), job)
	if got := collect(t, run); !slices.Equal(got, []wordPair{{"a", 1}, {"b", 1}}) {
		t.Errorf("got %v", got)
	}
}

func TestARunThatNobodyOwnsExpires(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	job := wordCount()
	runWorker(t, server.Client(t), job)
	ctx, cancel := context.WithCancel(t.Context())
	id := stream.NewID()
	_, err := job.Submit(ctx, client, func(yield func(string) bool) {
		for line := range lines(30) {
			yield(line)
		}
		cancel()
	}, mapreduce.RunID(id), mapreduce.Expire(time.Second))
	if err == nil {
		t.Fatal("it was to be interrupted")
	}
	wantNothingLeft(t, server.Client(t))
	_, err = job.Submit(t.Context(), client, lines(30), mapreduce.Expire(time.Second)) // nobody reads its results
	must(t, err)
	wantNothingLeft(t, server.Client(t))
}

func TestKeptResultsCanBeReadAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	job := wordCount()
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(30), mapreduce.Keep(time.Hour))
	must(t, err)
	for range run.Results(t.Context()) {
		break
	}
	if first, again := collect(t, run), collect(t, run); len(first) == 0 || !slices.Equal(first, again) {
		t.Errorf("got %v, then %v", first, again)
	}
	must(t, run.Remove(t.Context()))
	wantNothingLeft(t, server.Client(t))
}

// TestLostDataIsNeverAWrongAnswer deletes a partition while maps run: its marker too, so that a mapper notices, or but for the marker, so
// that the reducer does.
func TestLostDataIsNeverAWrongAnswer(t *testing.T) {
	t.Parallel()
	for name, marked := range map[string]bool{"noticed by a mapper": false, "noticed by a reducer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			admin := server.Client(t)
			goOn := make(chan struct{})
			job := wordCount(withMap(func(_ context.Context, line string) error {
				if line == "last" {
					<-goOn
				}
				return nil
			}), func(job *wordJob) { job.Partitions = 1 })
			runWorker(t, server.Client(t), job)
			run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), func(yield func(string) bool) {
				for line := range lines(9) {
					yield(line)
				}
				yield("last")
			}, mapreduce.NoSpeculation())
			must(t, err)
			redistest.Eventually(t, 10*time.Second, func() bool {
				p, err := run.Progress(t.Context())
				return err == nil && p.MapsDone == 3
			}, "all but the last are done")
			key := "wm:{numbers/" + run.ID + "/0}:shuffle"
			must(t, admin.Del(t.Context(), key).Err())
			if marked {
				must(t, admin.HSet(t.Context(), key, "", "1").Err())
			}
			close(goOn)
			runError(t, run.Wait(t.Context()), mapreduce.ErrDataLost)
		})
	}
}

func TestLostResultsAreNoticed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	job := wordCount(func(job *wordJob) { job.Partitions = 1 })
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(9))
	must(t, err)
	must(t, run.Wait(t.Context()))
	must(t, server.Client(t).Del(t.Context(), "wm:{numbers/"+run.ID+"/0}:out").Err())
	for _, err = range run.Results(t.Context()) {
		if !errors.Is(err, mapreduce.ErrDataLost) {
			t.Errorf("got %v", err)
		}
	}
	if err == nil {
		t.Error("no error")
	}
}

func TestValuesOfAnySize(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	job := mapreduce.New("large",
		func(_ context.Context, size int, emit func(int, string)) error {
			emit(size%2, strings.Repeat("x", size))
			return nil
		},
		func(_ context.Context, _ int, values iter.Seq[string]) (sizes []int, err error) {
			for v := range values {
				sizes = append(sizes, len(v))
			}
			return sizes, nil
		})
	job.Queue, job.Split, job.Memory, job.ValueCodec = "numbers", 3, 1<<20, stream.Raw
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), slices.Values([]int{0, 10_000_000, 3, 2_000_001, 300_000}))
	must(t, err)
	got := collect(t, run)
	if fmt.Sprint(got) != "[{0 [0 10000000 300000]} {1 [3 2000001]}]" {
		t.Errorf("got %v", got)
	}
}

// TestAnEmitThatFailsFailsItsTask emits a value that does not encode, then others, and from a goroutine after the end.
func TestAnEmitThatFailsFailsItsTask(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	late := make(chan func(), 1)
	job := mapreduce.New("strange",
		func(_ context.Context, in int, emit func(string, any)) error {
			emit("fine", in)
			emit("bad", func() {})
			emit("fine", in)
			select {
			case late <- func() { emit("late", in) }:
			default:
			}
			return nil
		},
		func(_ context.Context, _ string, _ iter.Seq[any]) (int, error) { return 0, nil })
	job.Queue, job.MaxAttempts = "numbers", 1
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), slices.Values([]int{1}))
	must(t, err)
	failed := runError(t, run.Wait(t.Context()), mapreduce.ErrTasksFailed)
	if text := failed.Error(); !strings.Contains(text, "emit bad") || !strings.Contains(text, "map task 0 (inputs 0 to 0)") {
		t.Errorf("got %s", text)
	}
	(<-late)()
}

// TestARunOnAClusterUsesAllOfIt holds that partitions lie on all servers.
func TestARunOnAClusterUsesAllOfIt(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	store, err := stream.NewStore(cluster.Client(t), stream.Config{})
	must(t, err)
	defer store.Close()
	client, err := stream.NewClient(store, stream.ClientConfig{})
	must(t, err)
	goOn := make(chan struct{})
	job := wordCount(func(job *wordJob) { job.Partitions = 24 }, withMap(func(context.Context, string) error {
		<-goOn
		return nil
	}))
	runWorker(t, cluster.Client(t), job)
	run, err := job.Submit(t.Context(), client, lines(100))
	must(t, err)
	for _, server := range cluster.Servers {
		names, err := server.Client(t).Keys(t.Context(), "*:shuffle").Result()
		if err != nil || len(names) == 0 {
			t.Errorf("%s has no partition, %v", server.Addr, err)
		}
	}
	close(goOn)
	if got, want := collect(t, run), local(t, wordCount(), lines(100)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, server := range cluster.Servers {
		wantNothingLeft(t, server.Client(t))
	}
}

// TestAnAbsentRedisCostsNoAttempt lets no answer of a finish through for longer than a task waits for it.
func TestAnAbsentRedisCostsNoAttempt(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	job := wordCount(func(job *wordJob) { job.MaxAttempts = 1 })
	cut := make(chan struct{}, 1)
	var began time.Time
	proxy.CutBeforeRequest(func(request []byte) bool {
		if !bytes.Contains(request, []byte("\r\nmaps\r\n")) {
			return false
		}
		if began.IsZero() {
			began = time.Now()
			cut <- struct{}{}
		}
		return time.Since(began) < 6*time.Second
	})
	runWorker(t, proxy.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(9))
	must(t, err)
	<-cut
	if got, want := collect(t, run), local(t, job, lines(9)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOptionsOfARunAreChecked(t *testing.T) {
	t.Parallel()
	client := newClient(t, redistest.Start(t), stream.ClientConfig{})
	_, err := wordCount().Submit(t.Context(), client, lines(1), mapreduce.RunID("x"), mapreduce.Keep(1), mapreduce.Expire(1), mapreduce.Within(-1),
		mapreduce.Tolerate(-1), mapreduce.TolerateShare(2), mapreduce.Limit(0), mapreduce.Note(strings.Repeat("x", 5000)))
	for _, want := range []string{"RunID", "Keep", "Expire", "Within", "Tolerate(", "TolerateShare", "Limit", "Note"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if _, err = wordCount().Submit(t.Context(), nil, lines(1)); err == nil || !strings.Contains(err.Error(), "client is nil") {
		t.Errorf("got %v", err)
	}
	store := client.Store()
	worker, err := group.NewWorker(store, group.Config{})
	must(t, err)
	wordCount(func(job *wordJob) { job.Partitions = -1 }).Handle(worker)
	if err = worker.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "Partitions") {
		t.Errorf("got %v", err)
	}
}
