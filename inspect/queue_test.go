package inspect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// TestQueue lays a queue out by hand: five tasks, of which one worker has two, a dead worker one, and one was handed back.
func TestQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.makeGroup()
	for n := range 5 {
		r.add(wire.Task{ID: taskID(0, n), Function: "f", Payload: []byte("1 n=2")})
	}
	r.deliver("alive", 2)
	r.deliver("dead", 1)
	r.deliver(wire.ReleasedConsumer, 1)
	r.pipe(func(pipe redis.Pipeliner) {
		pipe.Set(ctx, r.keys.Lease("alive"), "{}", 0)
		pipe.ZAdd(ctx, r.keys.Due(), redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2, Member: "b"})
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: r.keys.Dead(), Values: []string{"v", "1"}})
		pipe.HSet(ctx, r.keys.Counts(), "done", 12, "odd", "x")
		pipe.HSet(ctx, r.keys.State(), "paused", "1")
	})
	got, err := r.Queue(ctx, queue)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		got  inspect.Count
		want int64
	}{"waiting": {got.Waiting, 2}, "running": {got.Running, 3}, "delayed": {got.Delayed, 2}, "dead": {got.Dead, 1}, "workers": {got.Workers, 1}} {
		if c.got.N != c.want || !c.got.Exact {
			t.Errorf("%s: got %+v, want exactly %d", name, c.got, c.want)
		}
	}
	if !got.Paused || got.Oldest < 0 || got.Oldest > 60 || got.Totals["done"] != 12 || len(got.Totals) != 1 {
		t.Errorf("got %+v", got)
	}
	r.pipe(func(pipe redis.Pipeliner) { pipe.HSet(ctx, r.keys.State(), "paused", "0") })
	if got, err = r.Queue(ctx, queue); err != nil || got.Paused {
		t.Errorf("got paused %v, %v; want 0 to mean that it is not", got.Paused, err)
	}
}

// TestCountsOfEntriesAreNotExactWhereThereAreChunks adds a chunk, which is one entry for several tasks.
func TestCountsOfEntriesAreNotExactWhereThereAreChunks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeGroup()
	pack := wire.AppendItem(wire.AppendItem(nil, []byte("1")), []byte("2"))
	r.add(wire.Task{ID: stream.NewChunkID(), Function: "f", Items: 2, Payload: pack})
	got, err := r.Queue(t.Context(), queue)
	if err != nil || got.Waiting != (inspect.Count{N: 1}) || got.Running != (inspect.Count{Exact: true}) {
		t.Errorf("got %+v, %v, want one at least waiting and exactly none running", got, err)
	}
}

func TestQueuesThatAreMissingAreEmpty(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	if all, err := r.Queues(ctx); len(all) != 0 || err != nil {
		t.Errorf("got %+v, %v, want no queue", all, err)
	}
	got, err := r.Queue(ctx, queue)
	if err != nil || got.Waiting != (inspect.Count{Exact: true}) || got.Oldest != 0 || got.Name != queue {
		t.Errorf("got %+v, %v, want an empty queue", got, err)
	}
	r.add(wire.Task{ID: taskID(0, 1), Function: "f"}) // and no group
	if got, err = r.Queue(ctx, queue); err != nil || got.Waiting.N != 1 {
		t.Errorf("got %+v, %v, want one task that waits", got, err)
	}
	if _, err = r.Queue(ctx, "no/name"); err == nil || !strings.Contains(err.Error(), "no/name") {
		t.Errorf("got %v, want a complaint about the name", err)
	}
}

func TestQueuesAreInAlphabeticalOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var names []any
	for n := range 230 {
		names = append(names, fmt.Sprintf("q%03d", n))
	}
	r.pipe(func(pipe redis.Pipeliner) { pipe.SAdd(t.Context(), wire.Queues("wm"), append(names, "no name")...) })
	all, err := r.Queues(t.Context())
	if err != nil || len(all) != len(names) {
		t.Fatalf("got %d queues, %v, want %d", len(all), err, len(names))
	}
	for n, q := range all {
		if q.Name != names[n] {
			t.Errorf("queue %d is %s, want %s", n, q.Name, names[n])
		}
	}
}

func TestAKeyOfAWrongTypeIsNamed(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"tasks", "due", "dead", "chunks", "state", "counts"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			key = "wm:{q}:" + key
			r.pipe(func(pipe redis.Pipeliner) { pipe.Set(t.Context(), key, "text", 0) })
			if _, err := r.Queue(t.Context(), queue); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("got %v, want an error that names %s", err, key)
			}
			all, err := r.Queues(t.Context(), queue, "other")
			if err != nil || all[0].Error != "" || !strings.Contains(all[1].Error, key) {
				t.Errorf("beside another queue: got %+v, %v, want it to be told of the queue alone", all, err)
			}
		})
	}
}
