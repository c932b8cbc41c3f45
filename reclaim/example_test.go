package reclaim_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

// Dead letters are read in a loop. What failed because a site was down gets another chance, the rest goes.
func Example() {
	ctx := context.Background()
	client, store := exampleStore(ctx)
	defer client.Close()
	defer store.Close()

	for letter, err := range reclaim.List(ctx, store, "web") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s(%s): %s after %d attempts: %s\n", letter.Function, letter.Payload, letter.Reason, letter.Attempt, letter.Error)
		if letter.Reason == "failed" {
			_, err = reclaim.Replay(ctx, store, letter.Queue, letter.ID)
		} else {
			_, err = reclaim.Purge(ctx, store, letter.Queue, letter.ID)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("tasks again:", client.XLen(ctx, "wm:{web}:tasks").Val())
	// Output:
	// getTitle("linuxfr.org"): failed after 3 attempts: connection refused
	// getTitle("example.com"): dropped after 1 attempts: robots are not welcome
	// tasks again: 1
}

// exampleStore is one with two dead letters, on a server inside this process.
func exampleStore(ctx context.Context) (*redis.Client, *stream.Store) {
	client, _ := redistest.ForExample() // it ends with the program
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for _, letter := range []struct {
		payload, reason, text string
		attempt               int
	}{
		{`"linuxfr.org"`, wire.ReasonFailed, "connection refused", 3},
		{`"example.com"`, wire.ReasonDropped, "robots are not welcome", 1},
	} {
		task := wire.Task{ID: stream.NewID(), Function: "getTitle", Attempt: letter.attempt, Payload: []byte(letter.payload)}
		fields := append(task.Fields(), "reason", letter.reason, "error", letter.text, "worker", "w1", "entry", "1-1")
		if err := client.XAdd(ctx, &redis.XAddArgs{Stream: "wm:{web}:dead", Values: fields}).Err(); err != nil {
			log.Fatal(err)
		}
	}
	return client, store
}
