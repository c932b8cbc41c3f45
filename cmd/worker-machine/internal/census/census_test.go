package census_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/census"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// TestCount lays a queue out by hand: five tasks, of which one worker has two, a dead worker one, and one was handed back.
func TestCount(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t).Client(t)
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ctx := t.Context()
	empty, err := census.Count(ctx, store, "web")
	if err != nil || empty.Backlog != 0 || empty.Running != 0 || empty.Workers != 0 || empty.Oldest != 0 {
		t.Errorf("an empty queue: %+v, %v", empty, err)
	}
	if n, err := census.Workers(ctx, store, "web"); n != 0 || err != nil {
		t.Errorf("workers of an empty queue: %d, %v", n, err)
	}

	keys := store.Keys("web")
	pipe := client.TxPipeline()
	pipe.XGroupCreateMkStream(ctx, keys.Tasks(), store.Group(), "0")
	for range 5 {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Tasks(), Values: []string{"v", "1"}})
	}
	for consumer, count := range map[string]int64{"alive": 2, "dead": 1, wire.ReleasedConsumer: 1} {
		pipe.XReadGroup(ctx, &redis.XReadGroupArgs{Group: store.Group(), Consumer: consumer, Streams: []string{keys.Tasks(), ">"}, Count: count})
	}
	pipe.Set(ctx, keys.Lease("alive"), "{}", 0)
	pipe.ZAdd(ctx, keys.Due(), redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2, Member: "b"})
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Dead(), Values: []string{"v", "1"}})
	pipe.HSet(ctx, keys.Counts(), "done", 12, "odd", "x")
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := census.Count(ctx, store, "web")
	if err != nil || got.Backlog != 2 || got.Running != 3 || got.Delayed != 2 || got.Dead != 1 || got.Workers != 1 ||
		got.Oldest < 0 || got.Oldest > 60 || got.Counts["done"] != 12 || len(got.Counts) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := client.Set(ctx, store.Keys("odd").Tasks(), "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := census.Count(ctx, store, "odd"); err == nil {
		t.Error("a key of the wrong type is no error")
	}
}
