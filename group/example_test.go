package group_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// Shout is shared by worker and client.
var Shout = stream.Func[string, string]{Name: "shout", Queue: "voices"}

// A worker runs until its context is done. Here that is after one call.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	redisClient, _ := redistest.ForExample() // redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	store, err := stream.NewStore(redisClient, stream.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	worker, err := group.NewWorker(store, group.Config{Queues: []group.Queue{{Name: "voices"}}, Concurrency: 32})
	if err != nil {
		log.Fatal(err)
	}
	group.Handle(worker, Shout, func(ctx context.Context, in string) (string, error) {
		return fmt.Sprintf("%s! (attempt %d)", strings.ToUpper(in), group.Meta(ctx).Attempt), nil
	})
	ended := make(chan error)
	go func() { ended <- worker.Run(ctx) }()

	client, err := stream.NewClient(store, stream.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.WithoutCancel(ctx))
	fmt.Println(Shout.Call(ctx, client, "hello"))

	stop()
	fmt.Println(<-ended)
	// Output:
	// HELLO! (attempt 1) <nil>
	// <nil>
}

// The error of a handler decides what becomes of its task.
func ExampleHandle() {
	errGone := errors.New("gone")
	handler := func(_ context.Context, status int) (string, error) {
		switch status {
		case http.StatusOK:
			return "fine", nil
		case http.StatusGone:
			return "", group.Drop(errGone) // a dead letter at once
		case http.StatusTooManyRequests:
			return "", group.RetryAfter(time.Minute, errors.New("busy")) // costs an attempt
		case http.StatusAccepted:
			return "", group.Snooze(time.Minute) // costs none
		default:
			return "", fmt.Errorf("status %d", status) // waits by the worker's Backoff
		}
	}
	_, err := handler(context.Background(), http.StatusGone)
	fmt.Println(err, errors.Is(err, errGone))
	// Output: gone true
}

// Middleware goes around every handler.
func ExampleMiddleware() {
	timed := func(next group.Handler) group.Handler {
		return func(ctx context.Context, task group.Task) ([]byte, error) {
			began := time.Now()
			result, err := next(ctx, task)
			log.Printf("%s took %v", task.Function, time.Since(began))
			return result, err
		}
	}
	_ = group.Config{Middleware: []group.Middleware{timed}}
	// Output:
}
