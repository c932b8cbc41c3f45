package group_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
)

// checkOnce holds that each of n tasks has exactly one outcome, a result.
func checkOnce(t *testing.T, r *rig, reply string, n int) {
	t.Helper()
	all := r.outcomes(reply)
	if len(all) != n {
		t.Errorf("tasks with an outcome: got %d, want %d", len(all), n)
	}
	for id, outcomes := range all {
		if len(outcomes) != 1 || outcomes[0].Kind != '+' {
			t.Errorf("task %s: got %+v, want one result", id, outcomes)
		}
	}
}

// cutEach makes the proxy lose the reply of every second command that matches, n times. Where the command is a read, only one
// that delivers something counts, which a reply cannot tell; so reads are cut by the number of entries that are waiting.
func cutEach(proxy *redistest.Proxy, n int64, match func(request []byte) bool) *atomic.Int64 {
	var seen, cut atomic.Int64
	proxy.CutAfterRequest(func(request []byte) bool {
		if !match(request) || cut.Load() >= n || seen.Add(1)%2 == 0 {
			return false
		}
		cut.Add(1)
		return true
	})
	return &cut
}

func TestLostRepliesOfFetchAndCommit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lose  int64
		match func(request []byte) bool
	}{
		"fetch": {500, func(b []byte) bool {
			return bytes.Contains(b, []byte("xreadgroup")) && bytes.Contains(b, []byte("\r\n>\r\n"))
		}},
		"commit": {500, func(b []byte) bool {
			return bytes.Contains(b, []byte("evalsha")) && bytes.Contains(b, []byte("\r\ndone\r\n"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const some = 400
			tasks := 0
			r := newRig(t)
			proxy := redistest.NewProxy(t, r.server)
			reply := r.reply()
			cut := cutEach(proxy, test.lose, test.match)
			var calls tally
			cfg := group.Config{Concurrency: 2, Lease: time.Minute}
			start(t, newStore(t, proxy.Client(t)), cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) {
				calls.count(task.Payload)
				<-time.After(4 * time.Millisecond) // so that few tasks share a round trip
				return task.Payload, nil
			}))
			for cut.Load() < test.lose && !t.Failed() { // on a slow machine more tasks share a round trip
				r.addMany(some, reply)
				tasks += some
				redistest.Eventually(t, 2*time.Minute, func() bool { return len(r.outcomes(reply)) == tasks || t.Failed() }, "all tasks are done")
			}
			r.empty(longer)
			checkOnce(t, r, reply, tasks)
			t.Logf("lost replies: %d; handler calls: %d of %d tasks", cut.Load(), calls.sum(), tasks)
			if calls.sum() != tasks {
				t.Errorf("handler calls: got %d, want each task once", calls.sum())
			}
		})
	}
}

func TestConnectionsResetUnderLoad(t *testing.T) {
	t.Parallel()
	const tasks = 5000
	r := newRig(t)
	proxy := redistest.NewProxy(t, r.server)
	reply := r.reply()
	r.addMany(tasks, reply)
	start(t, newStore(t, proxy.Client(t)), group.Config{Concurrency: 8}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		return task.Payload, nil
	}))
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range 20 {
		<-ticker.C
		proxy.ResetAll()
	}
	redistest.Eventually(t, time.Minute, func() bool { return len(r.outcomes(reply)) == tasks }, "all tasks are done")
	r.empty(longer)
	checkOnce(t, r, reply, tasks)
}

// TestDamageUnderLoad does to the stream what operators do. No task may be lost nor have two outcomes while the data is there.
func TestDamageUnderLoad(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(ctx context.Context, r *rig, worker string){
		"script flush": func(ctx context.Context, r *rig, _ string) { r.redis.ScriptFlush(ctx) },
		"group destroyed": func(ctx context.Context, r *rig, _ string) {
			r.redis.XGroupDestroy(ctx, keys.Tasks(), "workers")
		},
		"consumer removed": func(ctx context.Context, r *rig, worker string) {
			r.redis.XGroupDelConsumer(ctx, keys.Tasks(), "workers", worker)
		},
		"lease deleted": func(ctx context.Context, r *rig, worker string) { r.redis.Del(ctx, keys.Lease(worker)) },
		"clients killed": func(ctx context.Context, r *rig, _ string) {
			r.redis.ClientKillByFilter(ctx, "TYPE", "normal", "SKIPME", "yes")
		},
		"pubsub killed":   func(ctx context.Context, r *rig, _ string) { r.redis.ClientKillByFilter(ctx, "TYPE", "pubsub") },
		"everything slow": func(ctx context.Context, r *rig, _ string) { r.redis.Do(ctx, "CLIENT", "PAUSE", "30", "ALL") },
	} {
		damageUnderLoad(t, name, damage, 1)
		damageUnderLoad(t, name+", chunks", damage, 30)
	}
}

func damageUnderLoad(t *testing.T, name string, damage func(ctx context.Context, r *rig, worker string), chunk int) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		const tasks = 3000
		r := newRig(t)
		reply := r.reply()
		var workers []*running
		for range 2 {
			workers = append(workers, start(t, newStore(t, r.server.Client(t)), group.Config{Concurrency: 8}, handle(
				func(ctx context.Context, task group.Task) ([]byte, error) {
					select {
					case <-ctx.Done():
						return nil, ctx.Err()
					case <-time.After(time.Millisecond):
						return task.Payload, nil
					}
				})))
		}
		if chunk > 1 {
			r.addChunks(tasks, chunk, reply)
		} else {
			r.addMany(tasks, reply)
		}
		ticker := time.NewTicker(30 * time.Millisecond)
		defer ticker.Stop()
		for i := range 10 {
			<-ticker.C
			damage(t.Context(), r, workers[i%2].Name())
		}
		redistest.Eventually(t, time.Minute, func() bool { return len(r.outcomes(reply)) == tasks }, "all tasks are done")
		r.empty(longer)
		checkOnce(t, r, reply, tasks)
	})
}

func TestWorkGoesOnAfterFlushAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start(t, r.store, group.Config{Concurrency: 4}, handle(nop))
	r.addMany(500, "")
	r.redis.Do(t.Context(), "FLUSHALL")
	one := task("")
	one.Reply = r.reply()
	r.add(one)
	if got := r.outcome(one); got.Kind != '+' {
		t.Errorf("got %+v, want a result", got)
	}
	r.empty(longer)
}

func TestServerRestartsWithoutData(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start(t, r.store, group.Config{Concurrency: 4}, handle(nop))
	r.addMany(100, "")
	r.empty(soon)
	r.server.Restart()
	one := task("")
	one.Reply = r.reply()
	r.add(one)
	if got := r.outcome(one); got.Kind != '+' {
		t.Errorf("got %+v, want a result", got)
	}
}

func TestRunBeginsBeforeRedisDoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	proxy := redistest.NewProxy(t, r.server)
	proxy.Refuse(true)
	start(t, newStore(t, proxy.Client(t)), group.Config{}, handle(nop))
	one := task("")
	one.Reply = r.reply()
	r.add(one)
	<-time.After(300 * time.Millisecond) // it has tried by then
	proxy.Refuse(false)
	r.outcome(one)
}

// TestComputedResultsSurviveAnOutage cuts the worker off while results wait for their commit.
func TestComputedResultsSurviveAnOutage(t *testing.T) {
	t.Parallel()
	const tasks = 50
	r := newRig(t)
	proxy := redistest.NewProxy(t, r.server)
	reply := r.reply()
	var calls tally
	cut := make(chan struct{})
	start(t, newStore(t, proxy.Client(t)), group.Config{Concurrency: tasks}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		calls.count(task.Payload)
		<-cut
		return task.Payload, nil
	}))
	r.addMany(tasks, reply)
	eventually(t, func() bool { return calls.sum() == tasks }, "all run")
	proxy.Refuse(true)
	proxy.ResetAll()
	close(cut)
	<-time.After(500 * time.Millisecond)
	if n := len(r.outcomes(reply)); n != 0 {
		t.Fatalf("%d outcomes were recorded through a broken connection", n)
	}
	proxy.Refuse(false)
	eventually(t, func() bool { return len(r.outcomes(reply)) == tasks }, "all outcomes are in")
	checkOnce(t, r, reply, tasks)
	if calls.sum() != tasks {
		t.Errorf("calls: got %d, want %d: a computed result was thrown away", calls.sum(), tasks)
	}
}

// TestPoisonedReplyDoesNotBlockOthers lets a stranger put something else where a reply stream should be.
func TestPoisonedReplyDoesNotBlockOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	poisoned := task("")
	poisoned.Reply = r.reply()
	r.redis.Set(t.Context(), keys.Reply(poisoned.Reply), "x", 0)
	reply := r.reply()
	r.add(poisoned)
	r.addMany(100, reply)
	start(t, r.store, group.Config{Concurrency: 4}, handle(nop))
	eventually(t, func() bool { return len(r.outcomes(reply)) == 100 }, "the others are done")
	checkOnce(t, r, reply, 100)
}

func TestTrimmedEntriesDoNotStayPending(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gate := make(chan struct{})
	started := make(chan struct{}, 10)
	w := start(t, r.store, group.Config{Concurrency: 10}, handle(func(context.Context, group.Task) ([]byte, error) {
		started <- struct{}{}
		<-gate
		return nil, nil
	}))
	r.addMany(10, "")
	for range 10 {
		<-started
	}
	r.redis.XTrimMaxLen(t.Context(), keys.Tasks(), 0)
	// Two more that this worker never heard of.
	for range 2 {
		r.add(task(""))
		group := &redis.XReadGroupArgs{Group: "workers", Consumer: w.Name(), Streams: []string{keys.Tasks(), ">"}, Count: 1}
		r.redis.XReadGroup(t.Context(), group)
	}
	r.redis.XTrimMaxLen(t.Context(), keys.Tasks(), 0)
	close(gate)
	r.empty(longer)
}

func TestFullRedisDrains(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	reply := r.reply()
	r.addMany(1000, reply)
	r.redis.ConfigSet(t.Context(), "maxmemory", "1mb")
	if err := r.redis.Set(t.Context(), "x", "y", 0).Err(); err == nil {
		t.Fatal("the server is not full")
	}
	start(t, r.store, group.Config{Concurrency: 4}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if task.Attempt == 1 && task.Payload[0] == '7' {
			return nil, fmt.Errorf("again")
		}
		return nil, nil
	}))
	eventually(t, func() bool { return r.redis.XLen(t.Context(), keys.Tasks()).Val() == 0 }, "the stream is empty")
}

// TestStopWithoutRedis ends a worker whose server is gone: it says so, and does not hang.
func TestStopWithoutRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	started := make(chan struct{})
	w := start(t, r.store, group.Config{Drain: 100 * time.Millisecond}, handle(func(ctx context.Context, _ group.Task) ([]byte, error) {
		close(started)
		<-ctx.Done()
		return nil, nil
	}))
	r.add(task(""))
	<-started
	r.server.Kill()
	began := time.Now()
	err := w.stop()
	t.Logf("after %v: %v", time.Since(began), err)
	if err == nil || !strings.Contains(err.Error(), "leave q with 1 tasks whose outcome is not recorded") {
		t.Errorf("Run: got %v, want it to say that an outcome is not recorded", err)
	}
}
