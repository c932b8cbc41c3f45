package inspect_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	queue  = "q"
	longer = 20 * time.Second
)

// rig is an inspector, a client and workers on a server of their own.
type rig struct {
	*inspect.Inspector
	t      testing.TB
	server *redistest.Server
	redis  *redis.Client
	store  *stream.Store
	keys   wire.Keys
}

var work = stream.Func[string, string]{Name: "f", Queue: queue}

func newRig(t testing.TB, args ...string) *rig {
	t.Helper()
	server := redistest.Start(t, args...)
	return rigOn(t, server, server.Client(t))
}

func rigOn(t testing.TB, server *redistest.Server, client *redis.Client) *rig {
	t.Helper()
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &rig{Inspector: inspect.New(store), t: t, server: server, redis: server.Client(t), store: store, keys: store.Keys(queue)}
}

// client stores tasks and waits for outcomes.
func (r *rig) client() *stream.Client {
	r.t.Helper()
	client, err := stream.NewClient(r.store, stream.ClientConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = client.Close(context.WithoutCancel(r.t.Context())) })
	return client
}

// start runs a worker with a handler for f until the end of the test, or until stop.
func (r *rig) start(cfg group.Config, handler group.Handler) (stop func()) {
	r.t.Helper()
	cfg.Queues = []group.Queue{{Name: queue}}
	worker, err := group.NewWorker(r.store, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	group.HandleRaw(worker, "f", handler)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("worker: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// fill adds n tasks for f in entries of their own; their payloads are the numbers from 0.
func (r *rig) fill(n int, reply string) (ids []string) {
	r.t.Helper()
	return r.fillAt(n, reply, 0)
}

// fillAt is fill by a client whose clock is off.
func (r *rig) fillAt(n int, reply string, off time.Duration) (ids []string) {
	r.t.Helper()
	now := func() uint64 { return ulid.Timestamp(time.Now().Add(off)) }
	entropy := ulid.Monotonic(rand.Reader, 0)
	const atOnce = 1000
	for start := 0; start < n; start += atOnce {
		pipe := r.redis.Pipeline()
		for i := start; i < min(start+atOnce, n); i++ {
			id := ulid.MustNew(now(), entropy).String()
			task := wire.Task{ID: id, Function: "f", Attempt: 1, Reply: reply, Payload: fmt.Append(nil, i)}
			pipe.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), Values: task.Fields()})
			ids = append(ids, task.ID)
		}
		if _, err := pipe.Exec(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
	return ids
}

// reply makes a reply stream.
func (r *rig) reply() string {
	r.t.Helper()
	id := stream.NewID()
	ok(r.t, r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.keys.Reply(id), Values: []string{"v", "1"}}).Err())
	return id
}

// outcomes reads every outcome of a reply stream: the kinds and reasons each task has.
func (r *rig) outcomes(reply string) map[string][]string {
	r.t.Helper()
	entries := must(r.redis.Do(r.t.Context(), "XRANGE", r.keys.Reply(reply), "-", "+").Slice())(r.t)
	all := map[string][]string{}
	for _, e := range entries {
		fields := e.([]any)[1].([]any)
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == "v" {
				continue
			}
			id := fields[i].(string)
			o := must(wire.DecodeOutcome(id, fields[i+1].(string)))(r.t)
			if o.Kind != wire.KindMoved {
				all[id] = append(all[id], string(o.Kind)+o.Failure.Reason)
			}
		}
	}
	return all
}

// bury adds dead letters, as workers do: the nth has what text says of n.
func (r *rig) bury(n int, text func(n int) (function, reason, failure string)) {
	r.t.Helper()
	const atOnce = 1000
	for start := 0; start < n; start += atOnce {
		pipe := r.redis.Pipeline()
		for i := start; i < min(start+atOnce, n); i++ {
			function, reason, failure := text(i)
			task := wire.Task{ID: stream.NewID(), Function: function, Attempt: 3, Payload: fmt.Appendf(nil, "payload %d", i)}
			pipe.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.keys.Dead(), Values: append(task.Fields(),
				"reason", reason, "error", failure, "worker", "w", "entry", "1-1")})
		}
		if _, err := pipe.Exec(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// commands counts what Redis ran, in scripts too, while do did something.
func (r *rig) commands(do func()) (n int) {
	r.t.Helper()
	if err := r.redis.ConfigResetStat(r.t.Context()).Err(); err != nil {
		r.t.Fatal(err)
	}
	do()
	stats, err := r.redis.Info(r.t.Context(), "commandstats").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(stats) {
		name, rest, ok := strings.Cut(line, ":calls=")
		if calls := 0; ok && !strings.HasPrefix(name, "cmdstat_config") {
			_, _ = fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &calls)
			n += calls
		}
	}
	return n
}

// must is the value of a call that must not fail.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return value
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receive waits for a value, for so long.
func receive[T any](t testing.TB, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(longer):
		t.Fatal("nothing came")
	}
	return value
}
