package stream_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// payload has 98 bytes, 100 as JSON.
var payload = strings.Repeat("x", 98)

// benchClient is a client on a server whose queue is emptied now and then, so that memory stays flat.
func benchClient(b *testing.B) (*redis.Client, *stream.Client) {
	b.Helper()
	rdb := redistest.Start(b).Client(b)
	client := newClient(b, rdb, stream.ClientConfig{})
	if _, err := echo.Enqueue(b.Context(), client, "first"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	return rdb, client
}

func BenchmarkEnqueueLone(b *testing.B) {
	for name, ctx := range map[string]context.Context{"may leave": b.Context(), "stays": context.WithoutCancel(b.Context())} {
		b.Run(name, func(b *testing.B) {
			_, client := benchClient(b)
			for b.Loop() {
				if _, err := echo.Enqueue(ctx, client, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEnqueue50Callers(b *testing.B) {
	rdb, client := benchClient(b)
	before := scriptCalls(b, rdb)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := echo.Enqueue(b.Context(), client, payload); err != nil {
					b.Error(err)
				}
			}
		})
	}
	callers.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/float64(max(scriptCalls(b, rdb)-before, 1)), "tasks/call")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func BenchmarkEnqueueAll(b *testing.B) {
	_, client := benchClient(b)
	b.ResetTimer()
	n, err := echo.EnqueueAll(b.Context(), client, func(yield func(string) bool) {
		for range b.N {
			if !yield(payload) {
				return
			}
		}
	})
	if err != nil || n != b.N {
		b.Fatal(n, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 50} {
		b.Run(map[int]string{1: "lone", 50: "50 callers"}[callers], func(b *testing.B) {
			rdb, client := benchClient(b)
			startWorker(b, rdb, answer)
			if _, err := echo.Call(b.Context(), client, "first"); err != nil {
				b.Fatal(err)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var group sync.WaitGroup
			for range callers {
				group.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := echo.Call(b.Context(), client, payload); err != nil {
							b.Error(err)
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

func BenchmarkSession(b *testing.B) {
	rdb, client := benchClient(b)
	startWorker(b, rdb, answer)
	session := openSession(b, client)
	b.ResetTimer()
	const window = 1000
	for sent, done := 0, 0; done < b.N; {
		tasks := make([]stream.Task, min(window-(sent-done), b.N-sent))
		for i := range tasks {
			tasks[i] = stream.Task{Function: "echo", Payload: []byte(payload)}
		}
		if _, err := session.Send(b.Context(), tasks...); err != nil {
			b.Fatal(err)
		}
		sent += len(tasks)
		outcomes, err := session.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		done += len(outcomes)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
