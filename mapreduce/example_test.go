package mapreduce_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// Client and workers share the description of a function.
var upper = stream.Func[string, string]{Name: "upper", Queue: "words", MaxAttempts: 1}

// handleUpper runs on the workers.
func handleUpper(_ context.Context, word string) (string, error) {
	if word == "" {
		return "", group.Drop(errors.New("an empty word"))
	}
	return strings.ToUpper(word), nil
}

func ExampleMap() {
	ctx := context.Background()
	client, stop := exampleClient() // a Redis server, and a worker with handleUpper
	defer stop()

	batch := mapreduce.Map(ctx, client, upper, slices.Values([]string{"one", "two", "", "four"}))
	for r := range batch.Results() { // as they come
		var failed *stream.TaskError
		if errors.As(r.Err, &failed) {
			fmt.Printf("input %d: %s: %s\n", r.Index, failed.Reason, failed.Message)
			continue
		}
		fmt.Printf("input %d: %s\n", r.Index, r.Value)
	}
	fmt.Println("error of the batch:", batch.Err())
	// Unordered output:
	// input 0: ONE
	// input 1: TWO
	// input 2: dropped: an empty word
	// input 3: FOUR
	// error of the batch: <nil>
}

// Results come in the order of the inputs, which may be endless.
func ExampleInOrder() {
	ctx := context.Background()
	client, stop := exampleClient()
	defer stop()

	endless := func(yield func(string) bool) {
		for i := 0; yield(fmt.Sprintf("word %d", i)); i++ {
		}
	}
	batch := mapreduce.Map(ctx, client, upper, endless, mapreduce.InOrder(), mapreduce.Window(100))
	for r := range batch.Results() {
		fmt.Println(r.Value)
		if r.Index == 2 {
			break // what has not started is cancelled
		}
	}
	fmt.Println(batch.Err())
	// Output:
	// WORD 0
	// WORD 1
	// WORD 2
	// <nil>
}

func ExampleReduce() {
	ctx := context.Background()
	client, stop := exampleClient()
	defer stop()

	batch := mapreduce.Map(ctx, client, upper, slices.Values([]string{"to", "be", "", "or", "not"}))
	letters, err := mapreduce.Reduce(ctx, batch, 0, func(n int, r mapreduce.Result[string, string]) (int, error) {
		if r.Err == nil { // those that failed do not count
			n += len(r.Value)
		}
		return n, nil
	})
	fmt.Println(letters, err)
	// Output: 9 <nil>
}

func ExampleFailFast() {
	ctx := context.Background()
	client, stop := exampleClient()
	defer stop()

	batch := mapreduce.Map(ctx, client, upper, slices.Values([]string{""}), mapreduce.FailFast())
	for r := range batch.Results() {
		fmt.Println(r.Err != nil)
	}
	var failures *mapreduce.FailuresError
	fmt.Println(errors.As(batch.Err(), &failures), failures.Limit)
	// Output:
	// true
	// true 1
}

func ExampleBatch_Progress() {
	ctx := context.Background()
	client, stop := exampleClient()
	defer stop()

	batch := mapreduce.Map(ctx, client, upper, slices.Values([]string{"one", ""}))
	for range batch.Results() {
	}
	p := batch.Progress() // from any goroutine, at any time
	fmt.Println(p.Submitted, p.Done, p.Failed, p.InFlight)
	// Output: 2 1 1 0
}
