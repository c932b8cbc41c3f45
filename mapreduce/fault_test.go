package mapreduce_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestMapSurvives loses something in the middle of a batch: every input has one result all the same.
func TestMapSurvives(t *testing.T) {
	t.Parallel()
	const n, processes = 3000, 2
	type scene struct {
		server *redistest.Server
		kill   func() // one worker process
		id     string // of the batch
	}
	do := func(t *testing.T, s scene, args ...any) {
		t.Helper()
		if err := s.server.Client(t).Do(t.Context(), args...).Err(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	faults := map[string]func(t *testing.T, s scene){
		"FLUSHALL":                func(t *testing.T, s scene) { t.Helper(); do(t, s, "FLUSHALL") },
		"a restart without data":  func(t *testing.T, s scene) { t.Helper(); s.server.Restart() },
		"kill -9 of a worker":     func(t *testing.T, s scene) { t.Helper(); s.kill() },
		"DEL of the reply stream": func(t *testing.T, s scene) { t.Helper(); do(t, s, "DEL", "wm:{numbers}:reply:"+s.id) },
		"DEL of the tasks":        func(t *testing.T, s scene) { t.Helper(); do(t, s, "DEL", "wm:{numbers}:tasks") },
		"XTRIM of the tasks":      func(t *testing.T, s scene) { t.Helper(); do(t, s, "XTRIM", "wm:{numbers}:tasks", "MAXLEN", 0) },
		"XGROUP DESTROY": func(t *testing.T, s scene) {
			t.Helper()
			do(t, s, "XGROUP", "DESTROY", "wm:{numbers}:tasks", "workers")
		},
		"all connections are cut":   func(t *testing.T, s scene) { t.Helper(); do(t, s, "CLIENT", "KILL", "TYPE", "normal") },
		"SCRIPT FLUSH":              func(t *testing.T, s scene) { t.Helper(); do(t, s, "SCRIPT", "FLUSH") },
		"a freeze of half a second": func(t *testing.T, s scene) { t.Helper(); do(t, s, "CLIENT", "PAUSE", 500, "ALL") },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			first := startProcess(t, server)
			for range processes - 1 {
				startProcess(t, server)
			}
			client := newClient(t, server, stream.ClientConfig{})
			batch := mapreduce.Map(t.Context(), client, wait, constant(2, n), mapreduce.Window(200))
			seen := make(map[int]bool, n)
			for r := range batch.Results() {
				if r.Err != nil || r.Value != 2 || seen[r.Index] {
					t.Fatalf("after %d results got %+v, seen before: %v", len(seen), r, seen[r.Index])
				}
				seen[r.Index] = true
				if len(seen) == n/3 || len(seen) == n/2 {
					fault(t, scene{server: server, kill: func() { _ = first.Process.Kill() }, id: batch.ID()})
				}
			}
			if err := batch.Err(); err != nil || len(seen) != n {
				t.Errorf("%d results of %d, %v", len(seen), n, err)
			}
			if left := keys(t, server.Client(t)); len(left) > 0 {
				t.Errorf("keys are left: %q", left)
			}
		})
	}
}

// constant yields n times the same.
func constant(value, n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for range n {
			if !yield(value) {
				return
			}
		}
	}
}

func TestMapKeepsItsResultsWhenRedisIsGone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startProcess(t, server)
	client := newClient(t, server, stream.ClientConfig{RetryFor: 500 * time.Millisecond})
	batch := mapreduce.Map(t.Context(), client, square, numbers, mapreduce.Window(100))
	got := 0
	var gone time.Time
	for r := range batch.Results() {
		if r.Err != nil || r.Value != r.Input*r.Input {
			t.Fatalf("got %+v", r)
		}
		if got++; got == 300 {
			server.Kill()
			gone = time.Now()
		}
	}
	took := time.Since(gone)
	if err := batch.Err(); !errors.Is(err, stream.ErrUnavailable) {
		t.Errorf("the batch ended with %v", err)
	}
	if got < 300 || got > 500 || took < 400*time.Millisecond || took > 10*time.Second {
		t.Errorf("%d results, ended after %v", got, took)
	}
}

// With a full window nothing is sent, so only who waits for results can notice.
func TestMapNoticesThatRedisIsGoneWhileItOnlyWaits(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{RetryFor: 500 * time.Millisecond})
	batch := mapreduce.Map(t.Context(), client, square, numbers, mapreduce.Window(5))
	go func() {
		redistest.Eventually(t, 10*time.Second, func() bool { return backlog(t, server.Client(t)) == 5 }, "the window is full")
		server.Kill()
	}()
	for r := range batch.Results() {
		t.Errorf("got %+v without a worker", r)
	}
	if err := batch.Err(); !errors.Is(err, stream.ErrUnavailable) {
		t.Errorf("the batch ended with %v", err)
	}
}

func TestMapEndsThoughRedisIsFrozen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startProcess(t, server)
	client := newClient(t, server, stream.ClientConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	batch := mapreduce.Map(ctx, client, square, numbers)
	var begun time.Time
	for r := range batch.Results() {
		if r.Index == 1000 {
			server.Stop()
			begun = time.Now()
			cancel()
		}
	}
	took := time.Since(begun)
	server.Cont()
	if err := batch.Err(); !errors.Is(err, context.Canceled) || !errors.Is(err, stream.ErrUnavailable) {
		t.Errorf("the batch ended with %v", err)
	}
	if took > 6*time.Second {
		t.Errorf("the batch took %v to end", took)
	}
}

// Tasks that are on their way to Redis when the batch ends must not be forgotten there.
func TestMapCancelsWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	redis := server.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	inputs := func(yield func(int) bool) {
		yield(1)
		redistest.Eventually(t, 10*time.Second, func() bool { return backlog(t, redis) == 1 }, "the first task is stored")
		if err := redis.Do(t.Context(), "CLIENT", "PAUSE", 300, "WRITE").Err(); err != nil {
			t.Error(err)
		}
		yield(2)
		redistest.Eventually(t, 10*time.Second, func() bool { // one waits for replies, the other one is paused
			return strings.Contains(redis.Info(t.Context(), "clients").Val(), "blocked_clients:2")
		}, "the second task is on its way")
		cancel()
	}
	watched(t, server, func() {
		for r := range mapreduce.Map(ctx, client, square, inputs).Results() {
			t.Errorf("got %+v without a worker", r)
		}
	})
	redistest.Eventually(t, 5*time.Second, func() bool { return backlog(t, redis) == 0 }, "no task is left")
}

func TestMapSurvivesALossWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	const n = 1500
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{MaxQueue: 40})
	batch := mapreduce.Map(t.Context(), client, wait, constant(3, n))
	got := 0
	for r := range batch.Results() {
		if r.Err != nil {
			t.Fatalf("got %+v", r)
		}
		if got++; got%400 == 0 {
			if err := server.Client(t).Do(t.Context(), "FLUSHALL").Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := batch.Err(); err != nil || got != n {
		t.Errorf("%d results, %v", got, err)
	}
}

func TestReplyStreamIsTrimmed(t *testing.T) {
	t.Parallel()
	const n = 20_000
	server := redistest.Start(t)
	startWorker(t, server, nil)
	client := newClient(t, server, stream.ClientConfig{})
	redis := server.Client(t)
	batch := mapreduce.Map(t.Context(), client, square, count(n))
	got, most := 0, int64(0)
	for range batch.Results() {
		if got++; got%100 == 0 {
			length, err := redis.XLen(t.Context(), "wm:{numbers}:reply:"+batch.ID()).Result()
			if err != nil {
				t.Fatal(err)
			}
			most = max(most, length)
		}
	}
	// One entry carries the outcomes of one commit, and no more than a window of them can wait.
	if err := batch.Err(); err != nil || got != n || most > 1000 {
		t.Errorf("%d results, %v, the reply stream had up to %d entries", got, err, most)
	}
}
