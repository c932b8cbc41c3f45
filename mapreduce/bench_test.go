package mapreduce_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// BenchmarkMap is a fan-out and fan-in of payloads of 100 bytes through one worker in the same process.
func BenchmarkMap(b *testing.B) {
	for name, opts := range map[string][]mapreduce.Option{
		"as-they-come":  nil,
		"in-order":      {mapreduce.InOrder()},
		"unpacked":      {mapreduce.Chunk(1)},
		"window-of-one": {mapreduce.Window(1)},
	} {
		b.Run(name, func(b *testing.B) {
			client := benchClient(b)
			payload := bytes.Repeat([]byte("x"), 100)
			inputs := func(yield func([]byte) bool) {
				for range b.N {
					if !yield(payload) {
						return
					}
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			batch := mapreduce.Map(b.Context(), client, echo, inputs, opts...)
			n := 0
			for r := range batch.Results() {
				if r.Err != nil {
					b.Fatal(r.Err)
				}
				n++
			}
			if err := batch.Err(); err != nil || n != b.N {
				b.Fatalf("%d results of %d, %v", n, b.N, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
		})
	}
}

// echo gives back what it takes.
var echo = stream.Func[[]byte, []byte]{Name: "echo", Queue: "echoes", Codec: stream.Raw}

// benchClient starts a server and a worker for echo.
func benchClient(b *testing.B) *stream.Client {
	b.Helper()
	server := redistest.Start(b)
	store, err := stream.NewStore(server.Client(b), stream.Config{})
	must(b, err)
	worker, err := group.NewWorker(store, group.Config{})
	must(b, err)
	group.Handle(worker, echo, func(_ context.Context, in []byte) ([]byte, error) { return in, nil })
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		must(b, <-ended)
	})
	return newClient(b, server, stream.ClientConfig{})
}
