package integration

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestKilledWorkerOnACluster kills a worker with a hundred running tasks on a cluster of three nodes, where presence is a sharded
// channel.
func TestKilledWorkerOnACluster(t *testing.T) {
	t.Parallel()
	beside(t)
	cluster := redistest.StartCluster(t, 3)
	client := cluster.Client(t)
	b := &backend{Cluster: cluster.Addrs(), client: client, store: openStore(t, client, "")}
	tr := startTrouble(t, b, hold)
	killed := time.Now()
	tr.victim.signal(syscall.SIGKILL)
	took := tr.takenOver().Sub(killed)
	t.Logf("kill -9 of a worker on a cluster: its %d tasks run again elsewhere after %v", load, took)
	if took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	tr.finish(tr.others...)
	tr.settle(tr.others...)
}

// TestReplicas waits for a replica, and says so when it does not confirm.
func TestReplicas(t *testing.T) {
	t.Parallel()
	beside(t)
	master := redistest.StartTCP(t)
	replica := redistest.StartReplica(t, master)
	b := newBackend(t, master.Network, master.Addr)
	client := openClient(t, b.store, stream.ClientConfig{})
	if _, err := square.Enqueue(t.Context(), client, 1, stream.Replicas(1)); err != nil {
		t.Fatalf("with a replica: %v", err)
	}
	key := b.store.Keys(queue).Tasks()
	if n := replica.Client(t).XLen(t.Context(), key).Val(); n != 1 {
		t.Errorf("the replica has %d tasks when the call returns, want 1", n)
	}
	replica.Stop()
	_, err := square.Enqueue(t.Context(), client, 2, stream.Replicas(1))
	if !errors.Is(err, stream.ErrNotReplicated) {
		t.Errorf("with a frozen replica: got %v, want ErrNotReplicated", err)
	}
	replica.Cont()
	if n := b.client.XLen(t.Context(), key).Val(); n != 2 {
		t.Errorf("%d tasks are stored, want 2", n)
	}
	if _, err := square.Enqueue(t.Context(), client, 3, stream.Replicas(1)); err != nil {
		t.Errorf("with the replica back: %v", err)
	}
}

// TestFailover kills the master in the middle of a batch; a sentinel makes its replica the master, and the batch ends with one
// result per input.
func TestFailover(t *testing.T) {
	t.Parallel()
	beside(t)
	master := redistest.StartTCP(t)
	redistest.StartReplica(t, master)
	sentinel := redistest.StartSentinel(t, master)
	open := func() (*redis.Client, *stream.Store) {
		client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: redistest.MasterName, SentinelAddrs: []string{sentinel.Addr}})
		t.Cleanup(func() { _ = client.Close() })
		return client, openStore(t, client, "")
	}
	var ran record
	for range 2 {
		client, store := open()
		worker := &rig{backend: &backend{client: client, store: store}, t: t}
		worker.work(group.Config{Concurrency: 4}, squares(&ran))
	}
	_, store := open()
	client := openClient(t, store, stream.ClientConfig{RetryFor: patience})
	const tasks = 4000
	results, n := make([]int, tasks), 0
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	batch := mapreduce.Map(ctx, client, square, numbers(tasks), mapreduce.Window(200))
	var began time.Time
	for r := range batch.Results() {
		if r.Err != nil || r.Value != r.Index*r.Index {
			t.Fatalf("task %d: got %d, %v", r.Index, r.Value, r.Err)
		}
		results[r.Index]++
		if n++; n == tasks/2 {
			master.Kill()
			began = time.Now()
		}
	}
	must(t, batch.Err())
	t.Logf("the second half of the batch took %v from the death of the master", time.Since(began))
	for i, times := range results {
		if times != 1 {
			t.Errorf("task %d has %d results", i, times)
		}
	}
}
