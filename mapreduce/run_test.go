package mapreduce_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// handled is a job of any types.
type handled interface{ Handle(w *group.Worker) }

// runWorker runs a worker for some jobs until the test, or the returned function, ends it.
func runWorker(t testing.TB, client redis.UniversalClient, jobs ...handled) (stop func()) {
	t.Helper()
	return runWorkerWith(t, client, group.Config{}, jobs...)
}

func runWorkerWith(t testing.TB, client redis.UniversalClient, cfg group.Config, jobs ...handled) (stop func()) {
	t.Helper()
	store, err := stream.NewStore(client, stream.Config{})
	must(t, err)
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 8
	}
	cfg.Backoff, cfg.Drain = group.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond}, max(cfg.Drain, time.Millisecond)
	worker, err := group.NewWorker(store, cfg)
	must(t, err)
	for _, job := range jobs {
		job.Handle(worker)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := worker.Run(ctx); err != nil {
			t.Errorf("worker: %v", err)
		}
		_ = store.Close()
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// lines are inputs for wordCount.
func lines(n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range n {
			if !yield(fmt.Sprintf("w%d common w%d", i%17, i%5)) {
				return
			}
		}
	}
}

// collect reads all results of a run.
func collect[K interface{ ~string | ~int }, Out any](t testing.TB, run *mapreduce.Run[K, Out]) []mapreduce.Pair[K, Out] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var results []mapreduce.Pair[K, Out]
	for pair, err := range run.Results(ctx) {
		must(t, err)
		results = append(results, pair)
	}
	return results
}

// leftOfRuns are the keys of the server that belong to runs.
func leftOfRuns(t testing.TB, client redis.UniversalClient) []string {
	t.Helper()
	names, err := client.Keys(t.Context(), "*").Result()
	must(t, err)
	return slices.DeleteFunc(names, func(name string) bool {
		return !strings.Contains(name, "run") && !strings.Contains(name, "/") && !strings.Contains(name, "reply")
	})
}

// wantNothingLeft holds that no key of any run is left.
func wantNothingLeft(t testing.TB, client redis.UniversalClient) {
	t.Helper()
	redistest.Eventually(t, 10*time.Second, func() bool { return len(leftOfRuns(t, client)) == 0 }, "no key of a run is left")
}

func local(t testing.TB, job *mapreduce.Job[string, string, int, int], inputs iter.Seq[string]) []wordPair {
	t.Helper()
	want, err := job.RunLocal(t.Context(), inputs)
	must(t, err)
	return want
}

func TestARunIsTheLocalAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	job := wordCount()
	runWorker(t, server.Client(t), job)
	client := newClient(t, server, stream.ClientConfig{})
	run, err := job.Submit(t.Context(), client, lines(100))
	must(t, err)
	must(t, run.Wait(t.Context()))
	p, err := run.Progress(t.Context())
	must(t, err)
	if p.State != mapreduce.RunDone || p.Maps != 34 || p.MapsDone != 34 || p.ReducesDone != 4 || p.Inputs != 100 || p.Results != 18 || p.Failed != 0 {
		t.Errorf("progress %+v", p)
	}
	if got, want := collect(t, run), local(t, job, lines(100)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	wantNothingLeft(t, server.Client(t))
	if err = run.Wait(t.Context()); !errors.Is(err, mapreduce.ErrNoRun) {
		t.Errorf("after its results were read: %v", err)
	}
}

func TestARunOfNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	job := wordCount()
	runWorker(t, server.Client(t), job)
	run, err := job.Submit(t.Context(), newClient(t, server, stream.ClientConfig{}), lines(0))
	must(t, err)
	if got := collect(t, run); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	wantNothingLeft(t, server.Client(t))
}
