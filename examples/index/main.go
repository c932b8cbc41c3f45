// Command index makes an inverted index: for each word, in which files it is and how often.
//
//	go run ./cmd/worker-machine dev &
//	go run ./examples/index 127.0.0.1:6399 *.md
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// Posting is how often a word is in a file.
type Posting struct {
	File  string `json:"file"`
	Count int    `json:"count"`
}

// newJob is what submitter and workers share: files in, words and postings between, lists of postings out.
func newJob() *mapreduce.Job[string, string, Posting, []Posting] {
	job := mapreduce.New("index", post, gather)
	job.MaxAttempts = 2
	return job
}

// post is called for each file.
func post(_ context.Context, path string, emit func(word string, p Posting)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for word := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return !unicode.IsLetter(r) }) {
		counts[strings.ToLower(word)]++
	}
	for word, n := range counts {
		emit(word, Posting{File: path, Count: n})
	}
	return nil
}

// gather is called for each word. Its postings come in the order of the files.
func gather(_ context.Context, _ string, postings iter.Seq[Posting]) ([]Posting, error) {
	return slices.Collect(postings), nil
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: index REDIS FILE...")
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

	err = index(ctx, client, files, out)
	stop()
	return errors.Join(err, <-ended, client.Close(ctx), store.Close())
}

func index(ctx context.Context, client *stream.Client, files []string, out io.Writer) error {
	job := newJob()
	run, err := job.Submit(ctx, client, slices.Values(files))
	if err != nil {
		return err
	}
	for word, err := range run.Results(ctx) { // in the order of the words
		if err != nil {
			return err
		}
		line := word.Key
		for _, p := range word.Value {
			line += fmt.Sprintf(" %s:%d", filepath.Base(p.File), p.Count)
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}
