package inspect_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// place is an inspector on a server of its own.
type place struct {
	*inspect.Inspector
	store *stream.Store
	rdb   *redis.Client
	keys  wire.Keys // of the queue web
}

func newPlace(t *testing.T, args ...string) *place {
	t.Helper()
	rdb := redistest.Start(t, args...).Client(t)
	store, err := stream.NewStore(rdb, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &place{Inspector: inspect.New(store), store: store, rdb: rdb, keys: store.Keys("web")}
}

// pipe does some commands in one transaction.
func (p *place) pipe(t *testing.T, fill func(redis.Pipeliner)) {
	t.Helper()
	pipe := p.rdb.TxPipeline()
	fill(pipe)
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// group makes the consumer group.
func (p *place) group(t *testing.T) {
	t.Helper()
	if err := p.rdb.XGroupCreateMkStream(t.Context(), p.keys.Tasks(), p.store.Group(), "0").Err(); err != nil {
		t.Fatal(err)
	}
}

// taskID is the ID of a task that was made so long ago.
func taskID(ago time.Duration, n int) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	ms := time.Now().Add(-ago).UnixMilli()
	b := make([]byte, 10)
	for i := range b {
		b[len(b)-1-i] = alphabet[ms>>(5*i)&31]
	}
	return string(b) + fmt.Sprintf("KEDTSV4R%08d", n)
}

// add adds a task as a client does.
func (p *place) add(t *testing.T, task wire.Task) (entry string) {
	t.Helper()
	entry, err := p.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: p.keys.Tasks(), Values: task.Fields()}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// deliver hands entries to a consumer.
func (p *place) deliver(t *testing.T, consumer string, n int64) {
	t.Helper()
	err := p.rdb.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group: p.store.Group(), Consumer: consumer, Streams: []string{p.keys.Tasks(), ">"}, Count: n, Block: -1,
	}).Err()
	if err != nil {
		t.Fatal(err)
	}
}

// TestQueue lays a queue out by hand: five tasks, of which one worker has two, a dead worker one, and one was handed back.
func TestQueue(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	ctx := t.Context()
	p.group(t)
	for n := range 5 {
		p.add(t, wire.Task{ID: taskID(0, n), Function: "f", Payload: []byte("1 n=2")})
	}
	p.deliver(t, "alive", 2)
	p.deliver(t, "dead", 1)
	p.deliver(t, wire.ReleasedConsumer, 1)
	p.pipe(t, func(pipe redis.Pipeliner) {
		pipe.Set(ctx, p.keys.Lease("alive"), "{}", 0)
		pipe.ZAdd(ctx, p.keys.Due(), redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2, Member: "b"})
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: p.keys.Dead(), Values: []string{"v", "1"}})
		pipe.HSet(ctx, p.keys.Counts(), "done", 12, "odd", "x")
		pipe.HSet(ctx, p.keys.State(), "paused", "1")
	})
	got, err := p.Queue(ctx, "web")
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
	p.pipe(t, func(pipe redis.Pipeliner) { pipe.HSet(ctx, p.keys.State(), "paused", "0") })
	if got, err = p.Queue(ctx, "web"); err != nil || got.Paused {
		t.Errorf("got paused %v, %v; want 0 to mean that it is not", got.Paused, err)
	}
}

// TestCountsOfEntriesAreNotExactWhereThereAreChunks adds a chunk, which is one entry for several tasks.
func TestCountsOfEntriesAreNotExactWhereThereAreChunks(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.group(t)
	pack := wire.AppendItem(wire.AppendItem(nil, []byte("1")), []byte("2"))
	p.add(t, wire.Task{ID: stream.NewChunkID(), Function: "f", Items: 2, Payload: pack})
	got, err := p.Queue(t.Context(), "web")
	if err != nil || got.Waiting != (inspect.Count{N: 1}) || got.Running != (inspect.Count{Exact: true}) {
		t.Errorf("got %+v, %v, want one at least waiting and exactly none running", got, err)
	}
}

func TestQueuesThatAreMissingAreEmpty(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	ctx := t.Context()
	if all, err := p.Queues(ctx); len(all) != 0 || err != nil {
		t.Errorf("got %+v, %v, want no queue", all, err)
	}
	got, err := p.Queue(ctx, "web")
	if err != nil || got.Waiting != (inspect.Count{Exact: true}) || got.Oldest != 0 || got.Name != "web" {
		t.Errorf("got %+v, %v, want an empty queue", got, err)
	}
	p.add(t, wire.Task{ID: taskID(0, 1), Function: "f"}) // and no group
	if got, err = p.Queue(ctx, "web"); err != nil || got.Waiting.N != 1 {
		t.Errorf("got %+v, %v, want one task that waits", got, err)
	}
	if _, err = p.Queue(ctx, "no/name"); err == nil || !strings.Contains(err.Error(), "no/name") {
		t.Errorf("got %v, want a complaint about the name", err)
	}
}

func TestQueuesAreInAlphabeticalOrder(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	var names []any
	for n := range 230 {
		names = append(names, fmt.Sprintf("q%03d", n))
	}
	p.pipe(t, func(pipe redis.Pipeliner) { pipe.SAdd(t.Context(), wire.Queues("wm"), append(names, "no name")...) })
	all, err := p.Queues(t.Context())
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
			p := newPlace(t)
			key = "wm:{web}:" + key
			p.pipe(t, func(pipe redis.Pipeliner) { pipe.Set(t.Context(), key, "text", 0) })
			if _, err := p.Queue(t.Context(), "web"); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("got %v, want an error that names %s", err, key)
			}
			all, err := p.Queues(t.Context(), "web", "other")
			if err != nil || all[0].Error != "" || !strings.Contains(all[1].Error, key) {
				t.Errorf("beside another queue: got %+v, %v, want it to be told of the queue alone", all, err)
			}
		})
	}
}
