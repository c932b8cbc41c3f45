package reclaim_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

const queue = "web"

// bench is one queue on a server of its own, with workers played by hand.
type bench struct {
	t      *testing.T
	client redis.UniversalClient // straight to the server
	store  *stream.Store
	keys   wire.Keys
	logs   *observer.ObservedLogs
}

func newBench(t *testing.T, client redis.UniversalClient) *bench {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	store, err := stream.NewStore(client, stream.Config{Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	b := &bench{t: t, client: client, store: store, keys: store.Keys(queue), logs: logs}
	b.ok(client.XGroupCreateMkStream(t.Context(), b.keys.Tasks(), store.Group(), "0").Err())
	return b
}

func localBench(t *testing.T) *bench {
	t.Helper()
	return newBench(t, redistest.Start(t).Client(t))
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil && !errors.Is(err, redis.Nil) {
		b.t.Fatal(err)
	}
}

// reclaimer is one for the worker "me".
func (b *bench) reclaimer(lease time.Duration) *reclaim.Reclaimer {
	b.t.Helper()
	r, err := reclaim.New(b.store, queue, "me", reclaim.Config{Lease: lease})
	b.ok(err)
	return r
}

// add stores n tasks and returns their entry IDs.
func (b *bench) add(n int) []string {
	b.t.Helper()
	ids := make([]string, n)
	for i := range n {
		task := wire.Task{ID: stream.NewID(), Function: "f", Attempt: 1, Payload: []byte(fmt.Sprint(i))}
		id, err := b.client.XAdd(b.t.Context(), &redis.XAddArgs{Stream: b.keys.Tasks(), Values: task.Fields()}).Result()
		b.ok(err)
		ids[i] = id
	}
	return ids
}

// deliver adds n tasks and delivers them to a consumer, which makes it.
func (b *bench) deliver(consumer string, n int) []string {
	b.t.Helper()
	ids := b.add(n)
	got, err := b.client.XReadGroup(b.t.Context(), &redis.XReadGroupArgs{
		Group: b.store.Group(), Consumer: consumer, Streams: []string{b.keys.Tasks(), ">"}, Count: int64(n), Block: -1,
	}).Result()
	b.ok(err)
	if len(got) != 1 || len(got[0].Messages) != n {
		b.t.Fatalf("delivered to %s: got %v, want %d entries", consumer, got, n)
	}
	return ids
}

// beat writes the lease of a worker.
func (b *bench) beat(worker string, presence bool, ttl time.Duration) {
	b.t.Helper()
	_, err := b.store.Scripts().Heartbeat(b.t.Context(), []wire.Keys{b.keys}, worker, ttl, fmt.Sprintf(`{"presence":%v}`, presence))
	b.ok(err)
}

// subscribe holds the presence of a worker until it is closed or the test ends.
func (b *bench) subscribe(worker string) (leave func()) {
	b.t.Helper()
	subscribe := b.client.Subscribe
	if cluster, ok := b.client.(*redis.ClusterClient); ok {
		subscribe = cluster.SSubscribe
	}
	subscription := subscribe(b.t.Context(), b.keys.Presence(worker))
	if _, err := subscription.Receive(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	leave = func() { _ = subscription.Close() }
	b.t.Cleanup(leave)
	return leave
}

func (b *bench) look(r *reclaim.Reclaimer) reclaim.Found {
	b.t.Helper()
	found, err := r.Look(b.t.Context())
	b.ok(err)
	return found
}

// findDead looks until exactly one worker is dead, and returns how long that took.
func (b *bench) findDead(r *reclaim.Reclaimer, worker string, within time.Duration) time.Duration {
	b.t.Helper()
	begin := time.Now()
	redistest.Eventually(b.t, within, func() bool {
		found := b.look(r)
		return len(found.Dead) == 1 && found.Dead[0] == worker
	}, "%s is found dead", worker)
	return time.Since(begin)
}

func (b *bench) take(r *reclaim.Reclaimer, want int) []script.Entry {
	b.t.Helper()
	entries, err := r.Take(b.t.Context(), want)
	b.ok(err)
	return entries
}

// consumers are the names the group knows, with what they have pending.
func (b *bench) consumers() map[string]int64 {
	b.t.Helper()
	infos, err := b.client.XInfoConsumers(b.t.Context(), b.keys.Tasks(), b.store.Group()).Result()
	b.ok(err)
	pending := map[string]int64{}
	for _, c := range infos {
		pending[c.Name] = c.Pending
	}
	return pending
}

func (b *bench) count(name string) string {
	b.t.Helper()
	n, err := b.client.HGet(b.t.Context(), b.keys.Counts(), name).Result()
	b.ok(err)
	return n
}

func ids(entries []script.Entry) []string {
	got := make([]string, len(entries))
	for i, e := range entries {
		got[i] = e.ID
	}
	return got
}

// staysAlive looks for as long as d and fails if anybody is found dead.
func (b *bench) staysAlive(ctx context.Context, r *reclaim.Reclaimer, d time.Duration) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(d)
	for {
		select {
		case <-ctx.Done():
			b.t.Fatal(ctx.Err())
		case <-end:
			return
		case <-tick.C:
			if found := b.look(r); len(found.Dead) > 0 {
				b.t.Fatalf("found dead: %v", found.Dead)
			}
		}
	}
}
