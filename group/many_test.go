package group_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
)

const manyQueues = 120 // more than one call of a script takes

// fleet is a server with many queues.
type fleet struct {
	*rig
	queues []group.Queue
	keys   []wire.Keys
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{rig: newRig(t)}
	for i := range manyQueues {
		f.queues = append(f.queues, group.Queue{Name: fmt.Sprint("q", i)})
		f.keys = append(f.keys, wire.NewKeys("wm", f.queues[i].Name))
	}
	return f
}

// put stores a task in a queue; its payload is the number of the queue.
func (f *fleet) put(queue int) {
	f.t.Helper()
	one := task("")
	one.Payload = []byte(fmt.Sprint(queue))
	if err := f.redis.XAdd(f.t.Context(), &redis.XAddArgs{Stream: f.keys[queue].Tasks(), Values: one.Fields()}).Err(); err != nil {
		f.t.Fatal(err)
	}
}

// delay stores a task that is due later, without a message.
func (f *fleet) delay(queue int, due time.Time) {
	f.t.Helper()
	one := task("")
	one.Payload = []byte(fmt.Sprint(queue))
	f.redis.HSet(f.t.Context(), f.keys[queue].Body(), one.ID, one.Body())
	f.redis.ZAdd(f.t.Context(), f.keys[queue].Due(), redis.Z{Score: float64(due.UnixMilli()), Member: one.ID})
}

// seen is a handler that counts calls by queue.
func seen(ran *tally) group.Handler {
	return func(_ context.Context, task group.Task) ([]byte, error) {
		ran.count(task.Payload)
		return nil, nil
	}
}

// of is how many tasks of a queue ran.
func (t *tally) of(queue int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls[fmt.Sprint(queue)]
}

// connections are those that the server has.
func (f *fleet) connections() int {
	return strings.Count(f.redis.ClientList(f.t.Context()).Val(), "\n")
}

// TestManyQueuesInOneWorker holds that everything works on each of many queues, with a few connections and calls.
func TestManyQueuesInOneWorker(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var ran tally
	before := f.connections()
	worker := start(t, f.store, group.Config{Queues: f.queues, Concurrency: 10}, handle(seen(&ran)))
	for i := range f.queues {
		f.put(i)
		f.put(i)
	}
	eventually(t, func() bool { return ran.sum() == 2*manyQueues && ran.distinct() == manyQueues }, "two tasks of each queue run")
	for i, keys := range f.keys {
		if ttl := f.redis.PTTL(t.Context(), keys.Lease(worker.Name())).Val(); ttl < time.Second {
			t.Errorf("queue %d: the lease lasts for %v", i, ttl)
		}
		if n := f.redis.PubSubNumSub(t.Context(), keys.Presence(worker.Name())).Val()[keys.Presence(worker.Name())]; n != 1 {
			t.Errorf("queue %d: presence has %d subscribers, want 1", i, n)
		}
	}
	if used := f.connections() - before; used > 25 {
		t.Errorf("%d connections", used)
	}

	f.redis.HSet(t.Context(), f.keys[7].State(), "paused", "1")
	f.redis.Publish(t.Context(), f.keys[7].Control(), "pause")
	eventually(t, func() bool { // a task that is put while the message is on its way may run
		f.put(7)
		return f.redis.XLen(t.Context(), f.keys[7].Tasks()).Val() > 3
	}, "queue 7 is paused")
	f.put(8)
	eventually(t, func() bool { return ran.of(8) == 3 }, "queue 8 is not")
	f.redis.Del(t.Context(), f.keys[7].State())
	f.redis.Publish(t.Context(), f.keys[7].Control(), "resume")
	eventually(t, func() bool { return f.redis.XLen(t.Context(), f.keys[7].Tasks()).Val() == 0 }, "queue 7 goes on")

	f.delay(55, time.Now().Add(-time.Second))
	eventually(t, func() bool { return ran.of(55) == 3 }, "a task that is due runs although nobody said so")
	if err := worker.stop(); err != nil {
		t.Error(err)
	}
	for i, keys := range f.keys {
		if n := f.redis.Exists(t.Context(), keys.Lease(worker.Name())).Val(); n != 0 {
			t.Errorf("queue %d: the lease is still there", i)
		}
		if consumers := f.redis.XInfoConsumers(t.Context(), keys.Tasks(), "workers").Val(); len(consumers) != 0 {
			t.Errorf("queue %d: consumers left: %v", i, consumers)
		}
	}
}

// TestWorkOfADeadWorkerInManyQueues kills a worker that has a task of each queue, by closing all its connections for good.
func TestWorkOfADeadWorkerInManyQueues(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	proxy := redistest.NewProxy(t, f.server)
	var first, ran tally
	start(t, newStore(t, proxy.Client(t)), group.Config{Queues: f.queues, Concurrency: manyQueues, Drain: time.Millisecond}, handle(
		func(ctx context.Context, task group.Task) ([]byte, error) {
			first.count(task.Payload)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}))
	for i := range f.queues {
		f.put(i)
	}
	eventually(t, func() bool { return first.sum() == manyQueues }, "a task of each queue runs on the first worker")
	second := start(t, f.store, group.Config{Queues: f.queues, Concurrency: manyQueues}, handle(seen(&ran)))
	eventually(t, func() bool { return f.redis.Exists(t.Context(), f.keys[0].Lease(second.Name())).Val() == 1 }, "the second worker is there")
	proxy.Refuse(true)
	proxy.ResetAll()
	cut := time.Now()
	eventually(t, func() bool { return ran.distinct() == manyQueues }, "all run on the second worker")
	t.Logf("all %d tasks of %d queues ran again within %v", manyQueues, manyQueues, time.Since(cut))
}

// TestWaitingQueuesAreReadInTheirOrder holds strict order and bounds over many queues: a worker takes no more than it has slots for.
func TestWaitingQueuesAreReadInTheirOrder(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, i := range []int{90, 3, 50} {
		for range 5 {
			f.put(i)
		}
	}
	gate := make(chan struct{})
	var mu sync.Mutex
	var order []string
	start(t, f.store, group.Config{Queues: f.queues, Concurrency: 1, Strict: true}, handle(
		func(_ context.Context, task group.Task) ([]byte, error) {
			<-gate
			mu.Lock()
			defer mu.Unlock()
			order = append(order, string(task.Payload))
			return nil, nil
		}))
	eventually(t, func() bool {
		pending, err := f.redis.XPending(t.Context(), f.keys[3].Tasks(), "workers").Result()
		return err == nil && pending.Count == 1
	}, "a task of the first queue is taken in hand")
	for _, i := range []int{50, 90} {
		if pending, err := f.redis.XPending(t.Context(), f.keys[i].Tasks(), "workers").Result(); err == nil && pending.Count > 0 {
			t.Errorf("queue %d: %d tasks are in hand, and there is no slot for them", i, pending.Count)
		}
	}
	close(gate)
	eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(order) == 15
	}, "all run")
	last := map[string]int{}
	begun := map[string]int{}
	for i, queue := range order {
		if _, ok := begun[queue]; !ok {
			begun[queue] = i
		}
		last[queue] = i
	}
	// What waits for a slot while short tasks run is read ahead, so neighbours may overlap; the first queue is through before the last begins.
	if last["3"] > begun["90"] {
		t.Errorf("order %v: queue 90 began before queue 3 was through", order)
	}
}

// TestWorkersDoNotAllAskForEachDueTask has ten workers and tasks that become due one after the other.
func TestWorkersDoNotAllAskForEachDueTask(t *testing.T) {
	t.Parallel()
	const workers, tasks, apart = 10, 150, 20 * time.Millisecond
	f := newFleet(t)
	var ran tally
	for range workers {
		start(t, f.store, group.Config{Queues: f.queues[:1]}, handle(seen(&ran)))
	}
	begin := time.Now().Add(2 * time.Second)
	for i := range tasks {
		f.delay(0, begin.Add(time.Duration(i)*apart))
	}
	before := commands(t, f.redis)["zrangebyscore"]
	eventually(t, func() bool { return ran.sum() == tasks }, "all run")
	asked := commands(t, f.redis)["zrangebyscore"] - before
	t.Logf("%d workers asked %d times for %d tasks", workers, asked, tasks)
	if asked > workers*tasks/2 {
		t.Errorf("%d workers asked %d times for %d tasks", workers, asked, tasks)
	}
}
