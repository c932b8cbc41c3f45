// Command wordcount counts the words of files with a map/reduce job.
//
//	go run ./cmd/worker-machine dev &
//	go run ./examples/wordcount 127.0.0.1:6399 *.md
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// newJob is what submitter and workers share.
func newJob() *mapreduce.Job[string, string, int, int] {
	job := mapreduce.New("wordcount", countWords, sum)
	job.Combine = sum // what one map task counted is added up before it is sent
	job.Split = 10    // files of a map task
	return job
}

// countWords is called for each file.
func countWords(_ context.Context, path string, emit func(word string, n int)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for word := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return !unicode.IsLetter(r) }) {
		emit(strings.ToLower(word), 1)
	}
	return nil
}

// sum is called for each word.
func sum(_ context.Context, _ string, counts iter.Seq[int]) (int, error) {
	total := 0
	for n := range counts {
		total += n
	}
	return total, nil
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: wordcount REDIS FILE...")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2:], os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string, files []string, out io.Writer) error {
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
	worker, err := group.NewWorker(store, group.Config{})
	if err != nil {
		return err
	}
	newJob().Handle(worker)
	work, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(work) }() // more of these, on machines that see the files, share the work

	err = count(ctx, client, files, out)
	stop()
	return errors.Join(err, <-ended, client.Close(ctx), store.Close())
}

func count(ctx context.Context, client *stream.Client, files []string, out io.Writer) error {
	job := newJob()
	run, err := job.Submit(ctx, client, slices.Values(files))
	if err != nil {
		return err
	}
	for word, err := range run.Results(ctx) { // in the order of the words
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, word.Key, word.Value); err != nil {
			return err
		}
	}
	return nil
}
