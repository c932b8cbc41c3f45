package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/stream"
)

// GetTitle is shared by those who call it and those who run it.
var GetTitle = stream.Func[string, string]{Name: "getTitle", Queue: "web"}

func Example() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer rdb.Close()
	store, err := stream.NewStore(rdb, stream.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	client, err := stream.NewClient(store, stream.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer client.Close(ctx)

	id, err := GetTitle.Enqueue(ctx, client, "linuxfr.org") // fire and forget
	fmt.Println(id, err)
	title, err := GetTitle.Call(ctx, client, "linuxfr.org") // wait for the result
	fmt.Println(title, err)
}

func ExampleFunc_Enqueue() {
	ctx, client := exampleClient()
	id, err := GetTitle.Enqueue(ctx, client, "linuxfr.org", stream.After(time.Hour), stream.Unique("front", 2*time.Hour))
	switch {
	case errors.Is(err, stream.ErrDuplicate):
		fmt.Println("it waits already:", id)
	case errors.Is(err, stream.ErrQueueFull):
		fmt.Println("try later")
	case errors.Is(err, stream.ErrUnknownOutcome):
		fmt.Println("it may be stored or not")
	case err != nil:
		fmt.Println("it is not stored:", err)
	}
}

func ExampleFunc_EnqueueAll() {
	ctx, client := exampleClient()
	sites := []string{"linuxfr.org", "golang.org"}
	n, err := GetTitle.EnqueueAll(ctx, client, slices.Values(sites))
	fmt.Println(n, err)
}

func ExampleFunc_Call() {
	ctx, client := exampleClient()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // when it is over, a task that has not started is cancelled
	defer cancel()
	title, err := GetTitle.Call(ctx, client, "linuxfr.org")
	if failure, ok := errors.AsType[*stream.TaskError](err); ok {
		fmt.Println(failure.Function, failure.Attempt, failure.Message)
	}
	fmt.Println(title)
}

func ExampleSession() {
	ctx, client := exampleClient()
	session, err := client.OpenSession(ctx, "web")
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close(ctx)
	task, err := GetTitle.Task(client, "linuxfr.org", stream.MaxAttempts(3))
	if err != nil {
		log.Fatal(err)
	}
	if _, err = session.Send(ctx, task); err != nil {
		log.Fatal(err)
	}
	for session.Outstanding() > 0 {
		outcomes, err := session.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, outcome := range outcomes {
			fmt.Println(outcome.TaskID, string(outcome.Payload))
		}
	}
}

// exampleClient is a client as Example makes it.
func exampleClient() (context.Context, *stream.Client) {
	store, err := stream.NewStore(redis.NewClient(&redis.Options{}), stream.Config{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := stream.NewClient(store, stream.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	return context.Background(), client
}
