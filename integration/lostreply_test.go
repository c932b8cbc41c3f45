package integration

import (
	"bytes"
	"context"
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

// lossy is a way to one server on which the replies to some requests get lost, after Redis has done what they ask.
type lossy struct {
	*backend
	proxy *redistest.Proxy
	lost  atomic.Int64
}

// startLossy loses every second reply to a request of some kind, until most are lost.
func startLossy(t *testing.T, most int, kind func(request []byte) bool) *lossy {
	t.Helper()
	straight := startBackend(t)
	l := &lossy{proxy: redistest.NewProxyTo(t, straight.Network, straight.Addr)}
	l.backend = newBackend(t, "tcp", l.proxy.Addr)
	l.client = straight.client // for looking at the outcome
	var seen atomic.Int64
	l.proxy.CutAfterRequest(func(request []byte) bool {
		if !kind(request) {
			return false
		}
		if seen.Add(1)%2 == 0 || l.lost.Load() >= int64(most) {
			return false
		}
		l.lost.Add(1)
		return true
	})
	return l
}

// serve runs workers inside this process until the test ends; ran is called with each execution.
func (l *lossy) serve(t *testing.T, workers, concurrency int, ran func(n int)) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for range workers {
		client := redis.NewClient(&redis.Options{Network: l.Network, Addr: l.Addr})
		t.Cleanup(func() { _ = client.Close() })
		worker, err := group.NewWorker(openStore(t, client, ""), group.Config{Concurrency: concurrency})
		must(t, err)
		group.Handle(worker, square, func(_ context.Context, n int) (int, error) {
			ran(n)
			return n * n, nil
		})
		running.Go(func() {
			if err := worker.Run(ctx); err != nil {
				t.Errorf("a worker ended with %v", err)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// TestLostReplyOfEnqueue loses the replies of half of all enqueues: each task is stored once.
func TestLostReplyOfEnqueue(t *testing.T) {
	t.Parallel()
	beside(t)
	const clients = 10
	const most = 1000
	l := startLossy(t, most, func(request []byte) bool { // by script, or by transaction
		return bytes.Contains(request, []byte("evalsha")) && bytes.Contains(request, []byte(":producer:")) || string(request) == "*1\r\n$4\r\nexec\r\n"
	})
	var enqueued atomic.Int64
	began := time.Now()
	var callers sync.WaitGroup
	for range clients {
		client := openClient(t, l.store, stream.ClientConfig{RetryFor: patience})
		callers.Go(func() {
			for l.lost.Load() < most {
				if _, err := square.Enqueue(t.Context(), client, int(enqueued.Add(1))); err != nil {
					t.Errorf("enqueue: %v", err)
					return
				}
			}
		})
	}
	callers.Wait()
	stored := l.client.XLen(t.Context(), l.store.Keys(queue).Tasks()).Val()
	t.Logf("%d replies of enqueue lost in %v: %d tasks enqueued, %d stored", l.lost.Load(), time.Since(began), enqueued.Load(), stored)
	if stored != enqueued.Load() || l.lost.Load() < most {
		t.Errorf("stored %d of %d tasks, with %d lost replies, want all with %d", stored, enqueued.Load(), l.lost.Load(), most)
	}
	var ran sync.Map
	l.serve(t, 1, 16, func(n int) {
		if _, twice := ran.LoadOrStore(n, true); twice {
			t.Errorf("task %d ran twice", n)
		}
	})
	redistest.Eventually(t, patience, func() bool { return l.count(t, "done") == int(stored) }, "all tasks are done")
}

// TestLostReplyOfWorkers loses the replies of half of all fetches, or commits: each task runs once and has one result.
func TestLostReplyOfWorkers(t *testing.T) {
	t.Parallel()
	has := func(request []byte, part string) bool { return bytes.Contains(request, []byte(part)) }
	for name, kind := range map[string]func(request []byte) bool{
		"fetch": func(r []byte) bool { return has(r, "xreadgroup") && has(r, "\r\n>\r\n") },
		"commit": func(r []byte) bool { // of tasks, or of items of chunks
			return has(r, "evalsha") && (has(r, "\r\ndone\r\n") || has(r, "\r\nany\r\n") || has(r, "\r\nown\r\n"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beside(t)
			const most = 1000
			l := startLossy(t, most, kind)
			var mu sync.Mutex
			ran := map[int]int{}
			l.serve(t, 8, 2, func(n int) {
				mu.Lock()
				defer mu.Unlock()
				ran[n]++
			})
			client := openClient(t, l.store, stream.ClientConfig{})
			began, n := time.Now(), 0
			endless := func(yield func(int) bool) {
				for i := 0; l.lost.Load() < most && yield(i); i++ {
				}
			}
			batch := mapreduce.Map(t.Context(), client, square, endless, mapreduce.Window(200))
			for r := range batch.Results() {
				if r.Err != nil || r.Value != r.Index*r.Index {
					t.Fatalf("task %d: got %d, %v", r.Index, r.Value, r.Err)
				}
				n++
			}
			must(t, batch.Err())
			t.Logf("%d replies of %s lost in %v: %d tasks, each with one result", l.lost.Load(), name, time.Since(began), n)
			mu.Lock()
			defer mu.Unlock()
			if len(ran) != n || l.count(t, "done") != n {
				t.Errorf("%d tasks ran, %d are recorded as done, want %d", len(ran), l.count(t, "done"), n)
			}
			for i, times := range ran {
				if times != 1 {
					t.Errorf("task %d ran %d times", i, times)
				}
			}
			if left := l.client.XLen(t.Context(), l.store.Keys(queue).Tasks()).Val(); left != 0 {
				t.Errorf("%d entries are left", left)
			}
		})
	}
}
