package mapreduce_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// Submitter and workers share the description of a job.
var WordCount = mapreduce.New("wordcount", eachWord, addUp)

func eachWord(_ context.Context, text string, emit func(string, int)) error {
	for word := range strings.FieldsSeq(text) {
		emit(word, 1)
	}
	return nil
}

func addUp(_ context.Context, _ string, counts iter.Seq[int]) (int, error) {
	n := 0
	for count := range counts {
		n += count
	}
	return n, nil
}

func ExampleJob() {
	WordCount.Combine = addUp // before the output of a map task is sent: optional

	ctx := context.Background()
	client, stop := exampleWorker(WordCount.Handle) // a Redis server, and a worker
	defer stop()
	texts := slices.Values([]string{"to be or not to be", "not now"})

	run, err := WordCount.Submit(ctx, client, texts) // returns when the inputs are stored
	if err != nil {
		panic(err)
	}

	for pair, err := range run.Results(ctx) { // waits for the end; keys in order
		if err != nil {
			panic(err) // a *mapreduce.RunError names the tasks that failed
		}
		fmt.Println(pair.Key, pair.Value)
	}

	pairs, err := WordCount.RunLocal(ctx, texts) // the same answer, in this process and without Redis
	fmt.Println(len(pairs), err)
	// Output:
	// be 2
	// not 2
	// now 1
	// or 1
	// to 2
	// 5 <nil>
}

// Any process goes on with a run, whatever has become of the one that submitted it.
func ExampleJob_Resume() {
	ctx := context.Background()
	client, stop := exampleWorker(WordCount.Handle)
	defer stop()
	texts := slices.Values([]string{"to be or not to be", "not now"})

	id := stream.NewID() // note it somewhere
	_, err := WordCount.Submit(ctx, client, texts, mapreduce.RunID(id),
		mapreduce.Within(time.Hour),    // the deadline of the run
		mapreduce.Tolerate(2),          // tasks may fail for good; the default is that the run fails with the first
		mapreduce.Limit(4<<30),         // bytes between mappers and reducers
		mapreduce.Keep(10*time.Minute), // otherwise the first loop over all results removes the run
	)
	if err != nil {
		panic(err) // with the same ID and the same inputs, Submit goes on where it was interrupted
	}

	run, err := WordCount.Resume(ctx, client, id) // anywhere, any time
	if err != nil {
		panic(err)
	}
	p, err := run.Progress(ctx)
	fmt.Println(p.Maps, p.Reduces, err)
	fmt.Println(run.Wait(ctx), run.Remove(ctx)) // or run.Cancel, while it runs
	// Output:
	// 1 16 <nil>
	// <nil> <nil>
}
