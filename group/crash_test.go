package group_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
)

// corpse makes a consumer that took everything there is and died: it has no lease and asks for nothing.
func (r *rig) corpse(name string) {
	r.t.Helper()
	r.redis.XGroupCreateMkStream(r.t.Context(), keys.Tasks(), "workers", "0")
	// A lease that was seen once and ran out: rescuers see it come and go.
	r.redis.Set(r.t.Context(), keys.Lease(name), `1.1 {"presence":false}`, 300*time.Millisecond)
	read := &redis.XReadGroupArgs{Group: "workers", Consumer: name, Streams: []string{keys.Tasks(), ">"}, Count: 1000, Block: -1}
	if err := r.redis.XReadGroup(r.t.Context(), read).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// crash counts crashes of an entry that were before, as the reclaim script does.
func (r *rig) crash(entry string, crashes int, alone bool) {
	r.t.Helper()
	r.redis.HSet(r.t.Context(), keys.Crashes(), entry, crashes)
	if alone {
		r.redis.HSet(r.t.Context(), keys.Crashes(), entry+"!", 1)
	}
}

func TestWorkOfADeadWorkerRunsAgainAndCostsNoAttempt(t *testing.T) {
	t.Parallel()
	const tasks = 50
	r := newRig(t)
	reply := r.reply()
	r.addMany(tasks, reply)
	r.corpse("dead")
	var attempts atomic.Int64
	start(t, r.store, group.Config{Concurrency: 8, Lease: time.Second}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		attempts.Add(int64(task.Attempt))
		return nil, nil
	}))
	eventually(t, func() bool { return len(r.outcomes(reply)) == tasks }, "all tasks are done")
	checkOnce(t, r, reply, tasks)
	if n := attempts.Load(); n != tasks {
		t.Errorf("attempts: got %d in sum, want %d", n, tasks)
	}
	redistest.Eventually(t, longer, func() bool {
		all := r.redis.XInfoConsumers(t.Context(), keys.Tasks(), "workers").Val()
		return !slices.ContainsFunc(all, func(c redis.XInfoConsumer) bool { return c.Name == "dead" })
	}, "the dead consumer is gone")
}

// TestSuspectRunsAlone has a task that was in flight in two crashes, among others.
func TestSuspectRunsAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	suspect := task("suspect")
	suspect.Reply = r.reply()
	entry := r.add(suspect)
	r.corpse("dead")
	r.crash(entry, 1, false) // the next claim counts the second one
	for i := range 200 {
		one := task(fmt.Sprint(i))
		one.Reply = suspect.Reply
		r.add(one)
	}
	var running, beside atomic.Int64
	marked := make(chan bool, 1)
	start(t, r.store, group.Config{Concurrency: 8, Lease: 500 * time.Millisecond}, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		if running.Add(1) > 1 && string(task.Payload) == "suspect" {
			beside.Add(1)
		}
		defer running.Add(-1)
		<-time.After(5 * time.Millisecond)
		if string(task.Payload) == "suspect" {
			beside.Add(running.Load() - 1)
			marked <- r.redis.HExists(ctx, keys.Crashes(), entry+"!").Val()
		}
		return nil, nil
	}))
	if !<-marked {
		t.Error("it was not noted that the suspect runs alone")
	}
	eventually(t, func() bool { return len(r.outcomes(suspect.Reply)) == 201 }, "all are done")
	if n := beside.Load(); n != 0 {
		t.Errorf("%d tasks ran beside the suspect", n)
	}
	if n := r.redis.HLen(t.Context(), keys.Crashes()).Val(); n != 0 {
		t.Errorf("crashes are still counted after the end: %d fields", n)
	}
}

func TestCrashLoopEndsInADeadLetter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	killer := task("x")
	killer.Reply = r.reply()
	entry := r.add(killer)
	r.corpse("dead")
	r.crash(entry, 2, true) // the next claim counts the third one, and it ran alone
	start(t, r.store, group.Config{Lease: 500 * time.Millisecond}, handle(func(context.Context, group.Task) ([]byte, error) {
		t.Error("it ran again")
		return nil, nil
	}))
	if got := r.outcome(killer); got.Failure.Reason != wire.ReasonCrash || got.Failure.Attempt != 1 {
		t.Errorf("got %+v, want %q", got.Failure, wire.ReasonCrash)
	}
	if letter := r.letter(); letter["reason"] != wire.ReasonCrash {
		t.Errorf("dead letter: got %v", letter)
	}
}

func TestGhostsRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	reply := r.reply()
	r.addMany(20, reply)
	r.corpse("dead")
	r.redis.XGroupDelConsumer(t.Context(), keys.Tasks(), "workers", "dead")
	start(t, r.store, group.Config{}, handle(nop))
	redistest.Eventually(t, longer, func() bool { return len(r.outcomes(reply)) == 20 }, "all ghosts are done")
	checkOnce(t, r, reply, 20)
}

// TestManyGhostsRunInARow has far more ghosts than slots: after the first of them the others are not waited for.
func TestManyGhostsRunInARow(t *testing.T) {
	t.Parallel()
	const many = 800
	r := newRig(t)
	reply := r.reply()
	r.addMany(many, reply)
	r.corpse("dead")
	r.redis.XGroupDelConsumer(t.Context(), keys.Tasks(), "workers", "dead")
	start(t, r.store, group.Config{Concurrency: 4}, handle(nop))
	redistest.Eventually(t, longer, func() bool { return len(r.outcomes(reply)) == many }, "all ghosts are done")
	checkOnce(t, r, reply, many)
}

// TestDeliveryNobodySaw is what a read leaves that Redis answered to a dead socket.
func TestDeliveryNobodySaw(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := start(t, r.store, group.Config{}, handle(nop))
	first := task("")
	first.Reply = r.reply()
	r.add(first)
	r.outcome(first)
	r.redis.Do(t.Context(), "CLIENT", "PAUSE", "0") // nothing; the add and the read below must be one
	lost := task("")
	lost.Reply = first.Reply
	pipe := r.redis.TxPipeline()
	pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Tasks(), Values: lost.Fields()})
	pipe.Do(t.Context(), "XREADGROUP", "GROUP", "workers", w.Name(), "COUNT", "10", "STREAMS", keys.Tasks(), ">")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.outcome(lost); got.Kind != '+' {
		t.Errorf("got %+v, want a result", got)
	}
}

// TestSelfFence cuts a worker off from Redis: its handlers end by the time others may run their tasks, and what they fail with is
// not recorded.
func TestSelfFence(t *testing.T) {
	t.Parallel()
	const lease = 600 * time.Millisecond
	r := newRig(t)
	proxy := redistest.NewProxy(t, r.server)
	started, cause := make(chan time.Time, 1), make(chan error, 1)
	var leaseLost atomic.Int64
	cfg := group.Config{Lease: lease, Backoff: quick, Hooks: group.Hooks{LeaseLost: func(string) { leaseLost.Add(1) }}}
	start(t, newStore(t, proxy.Client(t)), cfg, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		if string(task.Payload) == "after" {
			return nil, nil
		}
		started <- time.Now()
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil, errors.New("must not be recorded")
	}))
	one := task("")
	one.Reply, one.MaxAttempts = r.reply(), 1
	r.add(one)
	<-started
	proxy.Blackhole(true)
	cut := time.Now()
	if err := <-cause; !errors.Is(err, group.ErrLeaseLost) {
		t.Errorf("cause: got %v, want ErrLeaseLost", err)
	}
	if took := time.Since(cut); took > lease+200*time.Millisecond {
		t.Errorf("the handler was cancelled after %v, want at most a lease of %v", took, lease)
	}
	if leaseLost.Load() == 0 {
		t.Error("the hook was not called")
	}
	other := start(t, r.store, group.Config{Lease: lease}, handle(nop))
	if got := r.outcome(one); got.Kind != '+' {
		t.Errorf("outcome: got %+v, want the other worker's result", got)
	}
	proxy.Blackhole(false)
	if err := other.stop(); err != nil {
		t.Errorf("Run of the other: got %v", err)
	}
	after := task("after")
	after.Reply = one.Reply
	r.add(after)
	if got := r.outcome(after); got.Kind != '+' { // the first one goes on
		t.Errorf("a task after the cut: got %+v, want a result", got)
	}
	if n := len(r.outcomes(one.Reply)[one.ID]); n != 1 || len(r.letters()) != 0 {
		t.Errorf("got %d outcomes and %d dead letters, want 1 and 0", n, len(r.letters()))
	}
}

// TestZombie has a worker whose lease others ended while its handler went on: a late failure is refused, the second success too.
func TestZombie(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]error{"late failure": errors.New("late"), "late success": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			started, goOn, refused := make(chan struct{}), make(chan struct{}), make(chan group.Metadata, 1)
			cfg := group.Config{Lease: time.Minute, Hooks: group.Hooks{Late: func(m group.Metadata) { refused <- m }}}
			start(t, r.store, cfg, handle(func(context.Context, group.Task) ([]byte, error) {
				close(started)
				<-goOn
				return []byte("zombie"), late
			}))
			one := task("")
			one.Reply = r.reply()
			entry := r.add(one)
			<-started
			// Another worker takes the entry, and its success is recorded.
			r.redis.XClaim(t.Context(), &redis.XClaimArgs{Stream: keys.Tasks(), Group: "workers", Consumer: "other", Messages: []string{entry}})
			if late == nil {
				r.redis.XAck(t.Context(), keys.Tasks(), "workers", entry)
				r.redis.XDel(t.Context(), keys.Tasks(), entry)
			}
			close(goOn)
			if m := <-refused; m.ID != one.ID {
				t.Errorf("refused: got %+v, want task %s", m, one.ID)
			}
			if got := r.outcomes(one.Reply); len(got) != 0 {
				t.Errorf("outcomes: got %+v, want none of the zombie", got)
			}
			if n := r.redis.ZCard(t.Context(), keys.Due()).Val(); n != 0 || len(r.letters()) != 0 {
				t.Errorf("got %d retries and %d dead letters, want none", n, len(r.letters()))
			}
		})
	}
}

// TestHandlersOfTakenEntriesAreCancelled ends a worker's lease by hand, as a peer that takes it for dead does.
func TestHandlersOfTakenEntriesAreCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	causes := make(chan error, 2)
	started := make(chan struct{}, 2)
	w := start(t, r.store, group.Config{Lease: time.Second}, handle(func(ctx context.Context, _ group.Task) ([]byte, error) {
		started <- struct{}{}
		select {
		case <-ctx.Done():
			causes <- context.Cause(ctx)
			return nil, ctx.Err()
		case <-time.After(1500 * time.Millisecond):
			causes <- nil
			return nil, nil
		}
	}))
	taken, kept := task(""), task("")
	kept.Reply = r.reply()
	entry := r.add(taken)
	r.add(kept)
	<-started
	<-started
	claim := &redis.XClaimArgs{Stream: keys.Tasks(), Group: "workers", Consumer: "other", Messages: []string{entry}}
	r.redis.XClaim(t.Context(), claim)
	r.redis.Set(t.Context(), keys.Lease("other"), `1.1 {"presence":false}`, time.Minute)
	r.redis.Del(t.Context(), keys.Lease(w.Name()))
	if err := <-causes; !errors.Is(err, group.ErrLeaseLost) {
		t.Errorf("the entry that was taken: got cause %v, want ErrLeaseLost", err)
	}
	if err := <-causes; err != nil {
		t.Errorf("the entry that was kept: got cause %v, want none", err)
	}
	if got := r.outcome(kept); got.Kind != '+' {
		t.Errorf("got %+v, want a result", got)
	}
}

// TestPresence cuts a worker's connections as a kill -9 does: its work runs elsewhere long before its lease is over.
func TestPresence(t *testing.T) {
	t.Parallel()
	const tasks = 100
	r := newRig(t)
	proxy := redistest.NewProxy(t, r.server)
	reply := r.reply()
	started := make(chan struct{}, tasks)
	hang := func(ctx context.Context, _ group.Task) ([]byte, error) {
		started <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	again := make(chan time.Time, tasks)
	cfg := group.Config{Concurrency: tasks, Drain: time.Millisecond}
	start(t, newStore(t, proxy.Client(t)), cfg, handle(hang))
	r.addMany(tasks, reply)
	for range tasks {
		<-started
	}
	start(t, r.store, cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if task.Attempt != 1 {
			t.Errorf("attempt: got %d, want 1", task.Attempt)
		}
		again <- time.Now()
		return nil, nil
	}))
	<-time.After(1200 * time.Millisecond) // it has looked at itself by then
	proxy.Refuse(true)
	cut := time.Now()
	proxy.ResetAll()
	var last time.Duration
	for range tasks {
		last = (<-again).Sub(cut)
	}
	t.Logf("all ran again %v after the connections were cut", last)
	if last > 2*time.Second {
		t.Errorf("it took %v until all ran again, want less than 2s of a lease of 10s", last)
	}
	eventually(t, func() bool { return len(r.outcomes(reply)) == tasks }, "all outcomes are in")
	checkOnce(t, r, reply, tasks)
	proxy.Refuse(false)
}

// TestFailureAfterALostLeaseIsNotRecorded cuts a worker off for longer than its lease while nobody else is there: what its handler
// fails with then must not use up the task's only attempt.
func TestFailureAfterALostLeaseIsNotRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	proxy := redistest.NewProxy(t, r.server)
	started := make(chan int, 2)
	var calls atomic.Int64
	start(t, newStore(t, proxy.Client(t)), group.Config{Lease: 500 * time.Millisecond}, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		started <- task.Attempt
		if calls.Add(1) == 1 {
			<-ctx.Done()
			return nil, errors.New("must not be recorded")
		}
		return nil, nil
	}))
	one := task("")
	one.Reply, one.MaxAttempts = r.reply(), 1
	r.add(one)
	<-started
	proxy.Refuse(true)
	proxy.ResetAll()
	<-time.After(700 * time.Millisecond)
	proxy.Refuse(false)
	if got := r.outcome(one); got.Kind != '+' {
		t.Errorf("got %+v, want a result of the second run", got)
	}
	if attempt := <-started; attempt != 1 {
		t.Errorf("attempt of the second run: got %d, want 1", attempt)
	}
}
