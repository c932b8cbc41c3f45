package integration

import (
	"testing"

	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestEmptiedRedis empties Redis twice in the middle of a batch, which still ends with one result per input.
func TestEmptiedRedis(t *testing.T) {
	t.Parallel()
	beside(t)
	b := startBackend(t)
	client := openClient(t, b.store, stream.ClientConfig{})
	newCrew(t, b).workers(2)
	const tasks = 3000
	results := make([]int, tasks)
	n := 0
	batch := mapreduce.Map(t.Context(), client, square, numbers(tasks), mapreduce.Window(500))
	for r := range batch.Results() {
		if r.Err != nil || r.Value != r.Index*r.Index {
			t.Fatalf("task %d: got %d, %v", r.Index, r.Value, r.Err)
		}
		results[r.Index]++
		if n++; n == tasks/4 || n == tasks/2 {
			must(t, b.client.FlushAll(t.Context()).Err()) //nolint:forbidigo // a server of its own, to be emptied
		}
	}
	must(t, batch.Err())
	for i, times := range results {
		if times != 1 {
			t.Errorf("task %d has %d results", i, times)
		}
	}
}
