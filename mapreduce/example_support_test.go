package mapreduce_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// outside stands in for a test where there is none, in an Example: it keeps the cleanups and panics on failure.
type outside struct {
	testing.TB
	cleanups []func()
}

func (o *outside) Helper()                           {}
func (o *outside) Cleanup(f func())                  { o.cleanups = append(o.cleanups, f) }
func (o *outside) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (o *outside) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (o *outside) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (o *outside) end() {
	for _, f := range slices.Backward(o.cleanups) {
		f()
	}
}

// exampleClient starts a Redis server and a worker for the functions of the examples.
func exampleClient() (client *stream.Client, stop func()) {
	return exampleWorker(func(w *group.Worker) { group.Handle(w, upper, handleUpper) })
}

// exampleWorker starts a Redis server and a worker that is given to handle.
func exampleWorker(handle func(*group.Worker)) (client *stream.Client, stop func()) {
	o := &outside{}
	redis := redistest.Start(o).Client(o)
	store, err := stream.NewStore(redis, stream.Config{})
	must(o, err)
	client, err = stream.NewClient(store, stream.ClientConfig{})
	must(o, err)
	worker, err := group.NewWorker(store, group.Config{})
	must(o, err)
	handle(worker)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	return client, func() {
		cancel()
		must(o, <-ended)
		must(o, client.Close(context.Background()))
		must(o, store.Close())
		o.end()
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
