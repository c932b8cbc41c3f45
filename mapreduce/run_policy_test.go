package mapreduce_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

type wordJob = mapreduce.Job[string, string, int, int]

// withMap makes the mapper of a job do something first.
func withMap(before func(ctx context.Context, line string) error) func(*wordJob) {
	return func(job *wordJob) {
		mapper := job.Map
		job.Map = func(ctx context.Context, line string, emit func(string, int)) error {
			if err := before(ctx, line); err != nil {
				return err
			}
			return mapper(ctx, line, emit)
		}
	}
}

// runError is the error of a run that is to fail for a cause.
func runError(t *testing.T, err, cause error) *mapreduce.RunError {
	t.Helper()
	var failed *mapreduce.RunError
	if !errors.As(err, &failed) || !errors.Is(err, cause) {
		t.Fatalf("got %v, want a RunError of %v", err, cause)
	}
	return failed
}

func TestARunFailsWithTheFirstTaskAndNamesIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*wordJob)
		phase  string
		want   string
	}{
		"mapper fails":  {withMap(func(_ context.Context, line string) error { return failOn(line, "bad") }), "map", "input 4: no bad here"},
		"mapper panics": {withMap(func(_ context.Context, line string) error { return panicOn(line, "bad") }), "map", "panic: no bad here"},
		"reducer fails": {func(job *wordJob) {
			job.Reduce = func(_ context.Context, key string, counts iter.Seq[int]) (int, error) {
				return total(counts), failOn(key, "bad")
			}
		}, "reduce", "reduce bad: no bad here"},
		"reducer panics": {func(job *wordJob) {
			job.Reduce = func(_ context.Context, key string, counts iter.Seq[int]) (int, error) {
				return total(counts), panicOn(key, "bad")
			}
		}, "reduce", "panic: no bad here"},
		"combiner fails": {func(job *wordJob) {
			job.Combine = func(_ context.Context, key string, counts iter.Seq[int]) (int, error) {
				return total(counts), failOn(key, "bad")
			}
		}, "map", "no bad here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			job := wordCount(c.change, func(job *wordJob) { job.MaxAttempts = 2 })
			runWorker(t, server.Client(t), job)
			run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), slices.Values([]string{"a", "b", "c", "d", "bad", "e", "f"}))
			must(t, err)
			failed := runError(t, run.Wait(t.Context()), mapreduce.ErrTasksFailed)
			if len(failed.Failures) != 1 || failed.ID != run.ID || failed.Job != "words" {
				t.Fatalf("got %+v", failed)
			}
			f := failed.Failures[0]
			if f.Phase != c.phase || f.Attempt != 2 || f.Worker == "" || !strings.Contains(f.Message, c.want) || c.phase == "map" && (f.Number != 1 || f.First != 3 || f.Inputs != 3) {
				t.Errorf("got %+v", f)
			}
			if p, err := run.Progress(t.Context()); err != nil || p.State != mapreduce.RunFailed || p.Failed != 1 {
				t.Errorf("got %+v, %v", p, err)
			}
			redistest.Eventually(t, 10*time.Second, func() bool {
				return !slices.ContainsFunc(leftOfRuns(t, server.Client(t)), func(key string) bool { return strings.Contains(key, "/") })
			}, "the partitions of a failed run are gone")
			for _, err := range run.Results(t.Context()) {
				runError(t, err, mapreduce.ErrTasksFailed)
			}
			wantNothingLeft(t, server.Client(t))
		})
	}
}

func failOn(text, bad string) error {
	if text == bad {
		return fmt.Errorf("no %s here", bad)
	}
	return nil
}

func panicOn(text, bad string) error {
	if text == bad {
		panic(failOn(text, bad))
	}
	return nil
}

func TestARunTakesAttempts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var tries atomic.Int32
	job := wordCount(withMap(func(_ context.Context, line string) error {
		if line == "bad" && tries.Add(1) < 4 {
			return failOn(line, "bad")
		}
		return nil
	}))
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), slices.Values([]string{"a", "bad", "a"}))
	must(t, err)
	if got := collect(t, run); !slices.Equal(got, []wordPair{{"a", 2}, {"bad", 1}}) {
		t.Errorf("got %v", got)
	}
}

func TestToleratedFailuresLackInTheResults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		option mapreduce.RunOption
		fine   bool
	}{
		"one of one":         {mapreduce.Tolerate(1), true},
		"a share that is":    {mapreduce.TolerateShare(0.2), true}, // of 3 map and 4 reduce tasks
		"a share that isn't": {mapreduce.TolerateShare(0.1), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			job := wordCount(withMap(func(_ context.Context, line string) error { return failOn(line, "bad") }), func(job *wordJob) { job.MaxAttempts = 1 })
			runWorker(t, server.Client(t), job)
			run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), slices.Values([]string{"a", "b", "c", "d", "bad", "e", "f"}), c.option)
			must(t, err)
			err = run.Wait(t.Context())
			if !c.fine {
				runError(t, err, mapreduce.ErrTasksFailed)
				return
			}
			must(t, err)
			failures, err := run.Failures(t.Context())
			if err != nil || len(failures) != 1 || failures[0].Number != 1 {
				t.Errorf("failures %+v, %v", failures, err)
			}
			if got := collect(t, run); !slices.Equal(got, []wordPair{{"a", 1}, {"b", 1}, {"c", 1}, {"f", 1}}) {
				t.Errorf("got %v", got)
			}
			wantNothingLeft(t, server.Client(t))
		})
	}
}

func TestADeadlineEndsARunAndItsHandlers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	ended := make(chan struct{}, 8)
	job := wordCount(withMap(func(ctx context.Context, line string) error {
		if line != "slow" {
			return nil
		}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	}))
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), slices.Values([]string{"a", "slow"}), mapreduce.Within(300*time.Millisecond))
	must(t, err)
	runError(t, run.Wait(t.Context()), mapreduce.ErrDeadline)
	<-ended
	must(t, run.Remove(t.Context()))
	wantNothingLeft(t, server.Client(t))
}

func TestADeadlineIsNoticedWithoutWorkers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	run, err := wordCount().Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(3), mapreduce.Within(50*time.Millisecond))
	must(t, err)
	runError(t, run.Wait(t.Context()), mapreduce.ErrDeadline)
}

func TestALimitEndsARun(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	job := wordCount()
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(1000), mapreduce.Limit(2000))
	if err == nil {
		err = run.Wait(t.Context())
	}
	runError(t, err, mapreduce.ErrTooMuchData)
}

func TestACancelledRunIsGoneEverywhere(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	began, ended := make(chan struct{}, 8), make(chan error, 8)
	job := wordCount(withMap(func(ctx context.Context, _ string) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}))
	runWorker(t, server.Client(t), job)
	client := newClient(t, server, stream.ClientConfig{})
	run, err := job.Submit(t.Context(), client, lines(3), mapreduce.Note("to be cancelled"))
	must(t, err)
	<-began
	infos, err := mapreduce.Runs(t.Context(), client.Store(), job.Queue)
	if err != nil || len(infos) != 1 || infos[0].ID != run.ID || infos[0].Note != "to be cancelled" || infos[0].Job != "words" || infos[0].Queue != "numbers" || infos[0].Maps != 1 {
		t.Errorf("runs %+v, %v", infos, err)
	}
	found, err := mapreduce.FindRun(t.Context(), client.Store(), run.ID)
	if err != nil || found.ID != run.ID || found.State != mapreduce.RunMapping {
		t.Errorf("found %+v, %v", found, err)
	}
	waited := make(chan error, 1)
	resumed, err := job.Resume(t.Context(), client, run.ID)
	must(t, err)
	go func() { waited <- resumed.Wait(t.Context()) }()
	must(t, mapreduce.CancelRun(t.Context(), client.Store(), run.ID))
	if err := <-waited; !errors.Is(err, mapreduce.ErrCancelled) {
		t.Errorf("whoever waits hears %v", err)
	}
	<-ended
	wantNothingLeft(t, server.Client(t))
	for what, err := range map[string]error{
		"resume":      second(job.Resume(t.Context(), client, run.ID)),
		"cancel":      run.Cancel(t.Context()),
		"cancel run":  mapreduce.CancelRun(t.Context(), client.Store(), run.ID),
		"find":        second(mapreduce.FindRun(t.Context(), client.Store(), run.ID)),
		"progress":    second(run.Progress(t.Context())),
		"resume none": second(job.Resume(t.Context(), client, stream.NewID())),
	} {
		if !errors.Is(err, mapreduce.ErrNoRun) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	must(t, run.Remove(t.Context()))
}

func second[T any](_ T, err error) error { return err }

// TestASlowTaskIsStartedElsewhere blocks the first execution of a task until its context ends, in each phase: only the copy can be the one
// that counts.
func TestASlowTaskIsStartedElsewhere(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"map", "reduce"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			var blocked atomic.Bool
			ended := make(chan error, 1)
			block := func(ctx context.Context, key string) error {
				if key == "w1 common w1" || key == "common" {
					if blocked.CompareAndSwap(false, true) {
						<-ctx.Done()
						ended <- context.Cause(ctx)
						return ctx.Err()
					}
				}
				return nil
			}
			job := wordCount(func(job *wordJob) {
				job.MaxAttempts = 1
				reduce := job.Reduce
				if phase == "map" {
					withMap(block)(job)
					return
				}
				job.Reduce = func(ctx context.Context, key string, counts iter.Seq[int]) (int, error) {
					if err := block(ctx, key); err != nil {
						return 0, err
					}
					return reduce(ctx, key, counts)
				}
			})
			runWorker(t, server.Client(t), job)
			runWorker(t, server.Client(t), job)
			run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(30))
			must(t, err)
			must(t, run.Wait(t.Context()))
			if err := <-ended; err == nil {
				t.Error("the slow execution was not ended")
			}
			if p, err := run.Progress(t.Context()); err != nil || p.Copies != 1 || p.Failed != 0 {
				t.Errorf("progress %+v, %v", p, err)
			}
			if got, want := collect(t, run), local(t, wordCount(), lines(30)); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			wantNothingLeft(t, server.Client(t))
		})
	}
}

// TestDeathsThatNoHandlerReportsAreHeard cancels a map task by hand, so that only its reply tells of it.
func TestDeathsThatNoHandlerReportsAreHeard(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	job := wordCount()
	run, err := job.Submit(t.Context(), client, lines(9))
	must(t, err)
	keys := client.Store().Keys(job.Queue)
	entries, err := server.Client(t).XRange(t.Context(), keys.Tasks(), "-", "+").Result()
	must(t, err)
	last := entries[len(entries)-1]
	id := last.Values["v1"].(string)[:26]
	removed, err := client.Store().Scripts().Cancel(t.Context(), keys, client.Store().Group(), []script.TaskRef{{ID: id, Entry: last.ID}})
	if err != nil || removed != 1 {
		t.Fatalf("removed %d, %v", removed, err)
	}
	runWorker(t, server.Client(t), job)
	failed := runError(t, run.Wait(t.Context()), mapreduce.ErrTasksFailed)
	if len(failed.Failures) != 1 || failed.Failures[0].Reason != "cancelled" || failed.Failures[0].Number != 2 || failed.Failures[0].TaskID != id {
		t.Errorf("got %+v", failed.Failures)
	}
}
