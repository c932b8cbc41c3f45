// Command shout is a whole program: a worker and a client in one process.
//
//	go run ./cmd/worker-machine dev &    # or any Redis
//	go run ./examples/shout 127.0.0.1:6399
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// Shout is what client and worker share.
var Shout = stream.Func[string, string]{Name: "shout", Queue: "words"}

func shout(_ context.Context, word string) (string, error) {
	if word == "" {
		return "", group.Drop(errors.New("nothing to shout")) // no use trying again
	}
	return strings.ToUpper(word) + "!", nil
}

func main() {
	addr := "127.0.0.1:6379"
	if len(os.Args) > 1 {
		addr = os.Args[1]
	}
	if err := run(context.Background(), addr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string) error {
	redisClient := redis.NewClient(&redis.Options{Addr: addr})
	defer redisClient.Close()
	store, err := stream.NewStore(redisClient, stream.Config{})
	if err != nil {
		return err
	}
	client, err := stream.NewClient(store, stream.ClientConfig{})
	if err != nil {
		return err
	}
	worker, err := group.NewWorker(store, group.Config{Concurrency: 4})
	if err != nil {
		return err
	}
	group.Handle(worker, Shout, shout)

	work, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(work) }() // more of these, anywhere, share the work

	batch := mapreduce.Map(ctx, client, Shout, slices.Values([]string{"hello", "", "world"}))
	for r := range batch.Results() {
		fmt.Println(r.Index, r.Value, r.Err)
	}
	stop()
	return errors.Join(batch.Err(), <-ended, client.Close(ctx), store.Close())
}
