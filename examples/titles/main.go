// Command titles fetches pages and prints their titles, as many at a time as there are workers.
//
//	go run ./cmd/worker-machine dev &
//	go run ./examples/titles 127.0.0.1:6399 4 https://linuxfr.org https://go.dev
package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// GetTitle is what client and workers share.
var GetTitle = stream.Func[string, string]{Name: "getTitle", Queue: "web", MaxAttempts: 3}

var titleTag = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)

// getTitle runs on the workers.
func getTitle(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", group.Drop(err) // it is no URL, and will not become one
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err // again later
	}
	defer response.Body.Close()
	const most = 1 << 20
	page, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return "", err
	}
	found := titleTag.FindSubmatch(page)
	if found == nil {
		return "", group.Drop(errors.New("a page without a title"))
	}
	return strings.TrimSpace(html.UnescapeString(string(found[1]))), nil
}

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: titles REDIS WORKERS URL...")
	}
	workers, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	if err := run(context.Background(), os.Args[1], workers, os.Args[3:], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string, workers int, urls []string, out io.Writer) error {
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
	work, stop := context.WithCancel(ctx)
	ended := make(chan error, workers)
	for range workers { // each could be a process of its own, on any machine
		worker, err := group.NewWorker(store, group.Config{Concurrency: 1})
		if err != nil {
			stop()
			return err
		}
		group.Handle(worker, GetTitle, getTitle)
		go func() { ended <- worker.Run(work) }()
	}
	batch := mapreduce.Map(ctx, client, GetTitle, slices.Values(urls), mapreduce.InOrder(), mapreduce.Chunk(1))
	for r := range batch.Results() {
		if _, err = fmt.Fprintln(out, r.Input, r.Value, r.Err); err != nil {
			break
		}
	}
	stop()
	err = errors.Join(err, batch.Err())
	for range workers {
		err = errors.Join(err, <-ended)
	}
	return errors.Join(err, client.Close(ctx), store.Close())
}
