package group_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	queue  = "q"
	soon   = 5 * time.Second
	longer = 20 * time.Second
)

var keys = wire.NewKeys("wm", queue)

// rig is a server with a store, and a redis client that sees what lies there.
type rig struct {
	t      testing.TB
	server *redistest.Server
	redis  *redis.Client
	store  *stream.Store
}

func newRig(t testing.TB) *rig {
	t.Helper()
	server := redistest.Start(t)
	r := &rig{t: t, server: server, redis: server.Client(t)}
	r.store = newStore(t, server.Client(t))
	return r
}

func newStore(t testing.TB, client redis.UniversalClient) *stream.Store {
	t.Helper()
	logger := zap.NewNop()
	if testing.Verbose() {
		logger = zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
		if _, bench := t.(*testing.B); bench {
			logger = zap.NewNop()
		}
	}
	store, err := stream.NewStore(client, stream.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// running is a worker that runs until stop or the end of the test.
type running struct {
	*group.Worker
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// start runs a worker; register gives it its handlers.
func start(t testing.TB, store *stream.Store, cfg group.Config, register func(*group.Worker)) *running {
	t.Helper()
	if cfg.Queues == nil {
		cfg.Queues = []group.Queue{{Name: queue}}
	}
	worker, err := group.NewWorker(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	register(worker)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{Worker: worker, t: t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = worker.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-r.done:
		case <-time.After(time.Minute):
			t.Errorf("the worker does not stop")
		}
	})
	return r
}

// stop ends the worker and returns what Run returned.
func (r *running) stop() error {
	r.t.Helper()
	r.cancel()
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		r.t.Fatal("the worker does not stop")
	}
	return r.err
}

// task is one for the function f with a fresh ID.
func task(payload string) wire.Task {
	return wire.Task{ID: stream.NewID(), Function: "f", Attempt: 1, Payload: []byte(payload)}
}

// add puts a task into the queue and returns its entry ID.
func (r *rig) add(task wire.Task) string {
	r.t.Helper()
	return r.addTo(queue, task)
}

func (r *rig) addTo(name string, task wire.Task) string {
	r.t.Helper()
	id, err := r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: wire.NewKeys("wm", name).Tasks(), Values: task.Fields()}).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// addMany puts n tasks into the queue; their payloads are the numbers from 0.
func (r *rig) addMany(n int, reply string) {
	r.t.Helper()
	const chunk = 1000
	for start := 0; start < n; start += chunk {
		pipe := r.redis.Pipeline()
		for i := start; i < min(start+chunk, n); i++ {
			one := task(fmt.Sprint(i))
			one.Reply = reply
			pipe.XAdd(r.t.Context(), &redis.XAddArgs{Stream: keys.Tasks(), Values: one.Fields()})
		}
		if _, err := pipe.Exec(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// later stores a task that is due after d, by the clock of Redis.
func (r *rig) later(task wire.Task, d time.Duration) time.Time {
	r.t.Helper()
	now, err := r.redis.Time(r.t.Context()).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	due := now.Add(d).Truncate(time.Millisecond)
	pipe := r.redis.TxPipeline()
	pipe.HSet(r.t.Context(), keys.Body(), task.ID, task.Body())
	pipe.ZAdd(r.t.Context(), keys.Due(), redis.Z{Score: float64(due.UnixMilli()), Member: task.ID})
	pipe.Publish(r.t.Context(), keys.Control(), fmt.Sprint("due ", due.UnixMilli()))
	if _, err := pipe.Exec(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return due
}

// reply makes a reply stream and returns its ID.
func (r *rig) reply() string {
	r.t.Helper()
	id := stream.NewID()
	if err := r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: keys.Reply(id), Values: []string{"v", "1"}}).Err(); err != nil {
		r.t.Fatal(err)
	}
	return id
}

// addChunks puts n items into the queue, so many in an entry; their payloads are the numbers from 0.
func (r *rig) addChunks(n, size int, reply string) (chunks []wire.Task) {
	r.t.Helper()
	for start := 0; start < n; start += size {
		items := make([]string, min(size, n-start))
		for i := range items {
			items[i] = fmt.Sprint(start + i)
		}
		one := chunk(reply, items...)
		r.add(one)
		chunks = append(chunks, one)
	}
	return chunks
}

// chunk is an entry of items with the given payloads.
func chunk(reply string, payloads ...string) wire.Task {
	one := wire.Task{ID: stream.NewChunkID(), Function: "f", Attempt: 1, Reply: reply, Items: len(payloads)}
	for _, payload := range payloads {
		one.Payload = wire.AppendItem(one.Payload, []byte(payload))
	}
	return one
}

// unpack is what an outcome tells of the items of a chunk, as if each were told by itself.
func (r *rig) unpack(o wire.Outcome) (all []wire.Outcome) {
	r.t.Helper()
	for i := range o.Pack.Items {
		one := wire.Outcome{TaskID: wire.ItemID(o.TaskID, i)}
		one.Kind, one.Payload, _ = o.Pack.Next()
		if one.Kind == wire.KindFailure {
			var err error
			if one.Failure, err = wire.DecodeFailure(one.Payload); err != nil {
				r.t.Fatal(err)
			}
		}
		if one.Kind == wire.KindFailure || one.Kind == wire.KindResult {
			all = append(all, one)
		}
	}
	return all
}

// outcomes reads every outcome in a reply stream, by task ID; moves are left out.
func (r *rig) outcomes(reply string) map[string][]wire.Outcome {
	r.t.Helper()
	entries, err := r.redis.Do(r.t.Context(), "XRANGE", keys.Reply(reply), "-", "+").Slice()
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string][]wire.Outcome{}
	for _, e := range entries {
		fields := e.([]any)[1].([]any)
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == "v" {
				continue
			}
			o, err := wire.DecodeOutcome(fields[i].(string), fields[i+1].(string))
			if err != nil {
				r.t.Fatal(err)
			}
			if o.Kind == wire.KindPack {
				for _, one := range r.unpack(o) {
					all[one.TaskID] = append(all[one.TaskID], one)
				}
			} else if o.Kind != wire.KindMoved {
				all[o.TaskID] = append(all[o.TaskID], o)
			}
		}
	}
	return all
}

// outcome waits for the outcome of one task.
func (r *rig) outcome(task wire.Task) wire.Outcome {
	r.t.Helper()
	var got wire.Outcome
	redistest.Eventually(r.t, longer, func() bool {
		all := r.outcomes(task.Reply)[task.ID]
		if len(all) > 0 {
			got = all[0]
		}
		return len(all) > 0
	}, "the outcome of task %s is in", task.ID)
	return got
}

// empty waits until the queue holds nothing: no entry, nothing pending, nothing due.
func (r *rig) empty(timeout time.Duration) {
	r.t.Helper()
	redistest.Eventually(r.t, timeout, func() bool {
		ctx := r.t.Context()
		pending, err := r.redis.XPending(ctx, keys.Tasks(), "workers").Result()
		return err == nil && pending.Count == 0 && r.redis.XLen(ctx, keys.Tasks()).Val() == 0 && r.redis.ZCard(ctx, keys.Due()).Val() == 0
	}, "the queue is empty")
}

// letters are the dead letters, as field -> value.
func (r *rig) letters() []map[string]any {
	r.t.Helper()
	rows, err := r.redis.XRange(r.t.Context(), keys.Dead(), "-", "+").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	var letters []map[string]any
	for _, row := range rows {
		letters = append(letters, row.Values)
	}
	return letters
}

// letter waits for the first dead letter.
func (r *rig) letter() map[string]any {
	r.t.Helper()
	redistest.Eventually(r.t, longer, func() bool { return len(r.letters()) > 0 }, "there is a dead letter")
	return r.letters()[0]
}

// tally counts calls by payload.
type tally struct {
	mu    sync.Mutex
	calls map[string]int
	total int
}

func (t *tally) count(payload []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls == nil {
		t.calls = map[string]int{}
	}
	t.calls[string(payload)]++
	t.total++
}

func (t *tally) distinct() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.calls)
}

func (t *tally) sum() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// quick is a backoff for tests that wait for it.
var quick = group.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}

// handle registers a raw handler for the function f.
func handle(handler group.Handler) func(*group.Worker) {
	return func(w *group.Worker) { group.HandleRaw(w, "f", handler) }
}

func eventually(t testing.TB, condition func() bool, what string) {
	t.Helper()
	redistest.Eventually(t, longer, condition, what)
}
