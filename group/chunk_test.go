package group_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// TestItemsEndLikeTasks has every end that a task can have beside each other in one chunk.
func TestItemsEndLikeTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var done, retried, dead, fetched atomic.Int64
	var snoozed atomic.Bool
	cfg := group.Config{Backoff: quick, Concurrency: 4, Hooks: group.Hooks{
		Fetched: func(_ string, n int) { fetched.Add(int64(n)) },
		Done:    func(group.Metadata, time.Duration) { done.Add(1) },
		Retry:   func(group.Metadata, time.Duration, error) { retried.Add(1) },
		Dead:    func(group.Metadata, string, error) { dead.Add(1) },
	}}
	one := chunk(r.reply(), "fine", "fail", "drop", "panic", "goexit", "late", "snooze", "again", "", "large", "fine")
	one.MaxAttempts, one.Timeout, one.Headers = 2, 200*time.Millisecond, map[string]string{"a": "b"}
	start(t, r.store, cfg, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		if task.Headers["a"] != "b" || group.Meta(ctx).ID != task.ID || task.MaxAttempts != 2 || task.Timeout != one.Timeout {
			t.Errorf("metadata %+v", task.Metadata)
		}
		switch string(task.Payload) {
		case "fail":
			return nil, errors.New("no")
		case "drop":
			return nil, group.Drop(errors.New("never"))
		case "panic":
			panic("at the disco")
		case "goexit":
			runtime.Goexit()
		case "late":
			<-ctx.Done()
			return nil, context.Cause(ctx)
		case "snooze":
			if !snoozed.Swap(true) {
				return nil, group.Snooze(time.Millisecond)
			}
		case "again":
			if task.Attempt == 1 {
				return nil, group.RetryAfter(time.Millisecond, errors.New("once"))
			}
		case "large":
			return make([]byte, 5<<20), nil
		}
		return fmt.Append(nil, string(task.Payload), " ", task.Attempt), nil
	}))
	r.add(one)
	eventually(t, func() bool { return len(r.outcomes(one.Reply)) == 11 }, "all items have an outcome")
	r.empty(longer)
	for i, want := range []string{
		"+fine 1", "-2 failed: no", "-1 dropped: never", "-2 failed: panic: at the disco",
		"-2 failed: panic: the handler ended its goroutine with runtime.Goexit", "-2 failed: group: the task's time is over",
		"+snooze 1", "+again 2", "+ 1", "-1 result too large: the result of 5242880 bytes is above the limit of 4194304", "+fine 1",
	} {
		got := r.outcomes(one.Reply)[wire.ItemID(one.ID, i)]
		if len(got) != 1 {
			t.Errorf("item %d: %+v", i, got)
			continue
		}
		text := string(got[0].Kind) + string(got[0].Payload)
		if f := got[0].Failure; f.Reason != "" {
			text = fmt.Sprintf("-%d %s: %s", f.Attempt, f.Reason, f.Message)
		}
		if text != want {
			t.Errorf("item %d: got %q, want %q", i, text, want)
		}
	}
	r.counts(map[string]string{"done": "5", "dead": "6", "retried": "5", "snoozed": "1"})
	eventually(t, func() bool { return done.Load() == 5 && retried.Load() == 6 && dead.Load() == 6 }, "hooks are called for each item")
	if n := fetched.Load(); n != 17 { // with the six that came again
		t.Errorf("fetched: %d", n)
	}
	if len(r.letters()) != 6 || r.redis.Exists(t.Context(), keys.Chunks(), keys.Crashes()).Val() != 0 {
		t.Errorf("%d dead letters; left: %v", len(r.letters()), r.redis.HGetAll(t.Context(), keys.Chunks()).Val())
	}
}

// counts waits for totals.
func (r *rig) counts(want map[string]string) {
	r.t.Helper()
	redistest.Eventually(r.t, soon, func() bool {
		got := r.redis.HGetAll(r.t.Context(), keys.Counts()).Val()
		for name, n := range want {
			if got[name] != n {
				return false
			}
		}
		return true
	}, "the totals are %v", want)
}

// TestChunksOfADeadWorkerRunSplit has items run elsewhere, one by one, at no cost of an attempt.
func TestChunksOfADeadWorkerRunSplit(t *testing.T) {
	t.Parallel()
	const items = 200
	r := newRig(t)
	reply := r.reply()
	r.addChunks(items, 50, reply)
	r.corpse("dead")
	var attempts atomic.Int64
	entries := make(chan string, items)
	start(t, r.store, group.Config{Concurrency: 8, Lease: time.Second}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		attempts.Add(int64(task.Attempt))
		entries <- task.Entry
		return nil, nil
	}))
	eventually(t, func() bool { return len(r.outcomes(reply)) == items }, "all items are done")
	r.empty(longer)
	checkOnce(t, r, reply, items)
	seen := map[string]bool{}
	for range items {
		seen[<-entries] = true
	}
	if len(seen) != items || attempts.Load() != items {
		t.Errorf("%d entries of %d items, %d attempts", len(seen), items, attempts.Load())
	}
}

// TestLostRepliesOfChunks loses answers of the script that records items, and of reads.
func TestLostRepliesOfChunks(t *testing.T) {
	t.Parallel()
	for name, match := range map[string]func(request []byte) bool{
		"scatter": func(b []byte) bool { return bytes.Contains(b, []byte("evalsha")) && bytes.Contains(b, []byte("done=")) },
		"fetch": func(b []byte) bool {
			return bytes.Contains(b, []byte("xreadgroup")) && bytes.Contains(b, []byte("\r\n>\r\n"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const items = 2000
			r := newRig(t)
			proxy := redistest.NewProxy(t, r.server)
			reply := r.reply()
			cut := cutEach(proxy, 100, match)
			var calls tally
			cfg := group.Config{Concurrency: 2, Lease: time.Minute, Backoff: quick}
			start(t, newStore(t, proxy.Client(t)), cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) {
				calls.count(task.Payload)
				if bytes.HasSuffix(task.Payload, []byte("7")) && task.Attempt == 1 {
					return nil, errors.New("once")
				}
				if bytes.HasSuffix(task.Payload, []byte("00")) {
					<-time.After(80 * time.Millisecond) // so that what is told so far is told before
				}
				return task.Payload, nil
			}))
			r.addChunks(items, 20, reply)
			redistest.Eventually(t, time.Minute, func() bool { return len(r.outcomes(reply)) == items }, "all items are done")
			r.empty(longer)
			checkOnce(t, r, reply, items)
			if want := items + items/10; calls.sum() != want {
				t.Errorf("handler calls: got %d, want %d", calls.sum(), want)
			}
			if cut.Load() < 4 {
				t.Errorf("only %d replies were lost", cut.Load())
			}
		})
	}
}

func TestConnectionsResetWhileChunksRun(t *testing.T) {
	t.Parallel()
	const items = 20_000
	r := newRig(t)
	proxy := redistest.NewProxy(t, r.server)
	reply := r.reply()
	r.addChunks(items, 100, reply)
	start(t, newStore(t, proxy.Client(t)), group.Config{Concurrency: 8}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if bytes.HasSuffix(task.Payload, []byte("00")) {
			<-time.After(10 * time.Millisecond)
		}
		return task.Payload, nil
	}))
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range 20 {
		<-ticker.C
		proxy.ResetAll()
	}
	redistest.Eventually(t, time.Minute, func() bool { return len(r.outcomes(reply)) == items }, "all items are done")
	r.empty(longer)
	checkOnce(t, r, reply, items)
}

// TestASlowItemHoldsUpNobody has one item of a chunk block: the outcomes of the others are told, and what waits behind it runs elsewhere.
func TestASlowItemHoldsUpNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := chunk(r.reply(), "0", "1", "slow", "3", "4", "5")
	begun, end := make(chan struct{}), make(chan struct{})
	cfg := group.Config{Concurrency: 1}
	first := start(t, r.store, cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if string(task.Payload) == "slow" {
			close(begun)
			<-end
		}
		return []byte("first"), nil
	}))
	r.add(one)
	<-begun
	start(t, newStore(t, r.server.Client(t)), cfg, handle(func(context.Context, group.Task) ([]byte, error) { return []byte("second"), nil }))
	eventually(t, func() bool { return len(r.outcomes(one.Reply)) == 5 }, "all but the slow one are done")
	for i, want := range []string{"first", "first", "", "second", "second", "second"} {
		got := r.outcomes(one.Reply)[wire.ItemID(one.ID, i)]
		if want == "" && len(got) != 0 || want != "" && (len(got) != 1 || string(got[0].Payload) != want) {
			t.Errorf("item %d: %+v, want %q", i, got, want)
		}
	}
	if note := r.redis.HVals(t.Context(), keys.Chunks()).Val(); len(note) != 1 || note[0] != "0-1,3-5" {
		t.Errorf("noted as settled: %q", note)
	}
	close(end)
	eventually(t, func() bool { return len(r.outcomes(one.Reply)) == 6 }, "the slow one is done")
	r.empty(longer)
	checkOnce(t, r, one.Reply, 6)
	if n := r.redis.Exists(t.Context(), keys.Chunks()).Val(); n != 0 {
		t.Error("the note is left")
	}
	if err := first.stop(); err != nil {
		t.Error(err)
	}
}

// TestAWorkerThatDiesInAChunkHasToldSome checks that nobody runs again what was told before: the raw replies hold each item once.
func TestAWorkerThatDiesInAChunkHasToldSome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	proxy := redistest.NewProxy(t, r.server)
	one := chunk(r.reply(), "0", "slow", "2", "3")
	begun := make(chan struct{}, 1)
	cfg := group.Config{Concurrency: 1, Lease: 500 * time.Millisecond}
	end := make(chan struct{})
	first := start(t, newStore(t, proxy.Client(t)), cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if string(task.Payload) == "slow" {
			begun <- struct{}{}
			<-end // it does not listen
		}
		return []byte("first"), nil
	}))
	r.add(one)
	<-begun
	eventually(t, func() bool {
		return r.redis.HLen(t.Context(), keys.Chunks()).Val() == 1 && len(r.outcomes(one.Reply)) >= 1
	}, "some are told")
	proxy.Blackhole(true) // as good as dead
	start(t, r.store, group.Config{Lease: 500 * time.Millisecond}, handle(func(context.Context, group.Task) ([]byte, error) {
		return []byte("second"), nil
	}))
	eventually(t, func() bool { return len(r.outcomes(one.Reply)) == 4 }, "all are done")
	proxy.Blackhole(false)
	close(end)
	if err := first.stop(); err != nil { // its result came too late
		t.Errorf("Run: %v", err)
	}
	r.empty(longer)
	checkOnce(t, r, one.Reply, 4)
	if got := r.outcomes(one.Reply)[wire.ItemID(one.ID, 1)][0]; string(got.Payload) != "second" {
		t.Errorf("the slow one has the result %q", got.Payload)
	}
}

// TestDrainInAChunk stops a worker: what is done is told, what is not is handed over at once, and no attempt is lost.
func TestDrainInAChunk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	reply := r.reply()
	started := make(chan string, 100)
	goOn := make(chan struct{})
	cfg := group.Config{Concurrency: 3, Drain: 200 * time.Millisecond}
	first := start(t, r.store, cfg, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		started <- string(task.Payload)
		switch string(task.Payload) {
		case "gives up":
			<-ctx.Done()
			return nil, context.Cause(ctx)
		case "ends late":
			<-ctx.Done()
		case "is deaf":
			<-t.Context().Done()
		}
		<-goOn
		return []byte("first"), nil
	}))
	r.add(chunk(reply, "gives up", "ends late", "is deaf", "3", "4", "5"))
	for range 3 {
		<-started
	}
	close(goOn)
	if err := first.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if all := r.outcomes(reply); len(all) != 1 {
		t.Errorf("after the drain %d have an outcome, want the one that ended late", len(all))
	}
	var attempts, calls atomic.Int64
	start(t, newStore(t, r.server.Client(t)), group.Config{}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		attempts.Add(int64(task.Attempt))
		calls.Add(1)
		return []byte("second"), nil
	}))
	eventually(t, func() bool { return len(r.outcomes(reply)) == 6 }, "all are done")
	r.empty(longer)
	checkOnce(t, r, reply, 6)
	if attempts.Load() != 5 || calls.Load() != 5 {
		t.Errorf("%d attempts in %d calls, want 5 of the 5 that were left", attempts.Load(), calls.Load())
	}
	if n := r.redis.Exists(t.Context(), keys.Chunks()).Val(); n != 0 {
		t.Errorf("left: %v", r.redis.HGetAll(t.Context(), keys.Chunks()).Val())
	}
}

// TestCancelledChunk says while an item runs that the caller left: the others do not start.
func TestCancelledChunk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := chunk(r.reply(), "0", "1", "2")
	begun, end := make(chan struct{}, 3), make(chan struct{})
	var gone atomic.Int64
	cfg := group.Config{Concurrency: 1, Hooks: group.Hooks{Cancelled: func(group.Metadata) { gone.Add(1) }}}
	start(t, r.store, cfg, handle(func(context.Context, group.Task) ([]byte, error) {
		begun <- struct{}{}
		<-end
		return nil, nil
	}))
	r.add(one)
	<-begun
	r.redis.Publish(t.Context(), keys.Control(), "cancel "+one.ID)
	eventually(t, func() bool {
		return r.redis.HGet(t.Context(), keys.Counts(), "cancelled").Val() == "2" || len(begun) > 0 || r.redis.HLen(t.Context(), keys.Chunks()).Val() > 0
	}, "the others are cancelled or shared")
	close(end)
	eventually(t, func() bool { return len(r.outcomes(one.Reply)) == 3 }, "all have an outcome")
	r.empty(longer)
}

func TestChunksThatAreNoneAreBuried(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bad := chunk(r.reply(), "0", "1")
	bad.Payload = append(bad.Payload, 'x')
	start(t, r.store, group.Config{}, handle(nop))
	r.add(bad)
	if letter := r.letter(); letter["reason"] != wire.ReasonMalformed || !strings.Contains(fmt.Sprint(letter["error"]), "a chunk of 2 items with 1 bytes more") {
		t.Errorf("the dead letter is %v", letter)
	}
	if got := r.outcomes(bad.Reply)[bad.ID]; len(got) != 1 || got[0].Failure.Reason != wire.ReasonMalformed {
		t.Errorf("outcomes: %+v", got)
	}
}

func TestItemsOfAnUnknownFunctionAreDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := chunk(r.reply(), "0", "1", "2")
	one.Function, one.MaxAttempts = "nobody", 2
	start(t, r.store, group.Config{Backoff: quick}, handle(nop))
	r.add(one)
	eventually(t, func() bool { return len(r.outcomes(one.Reply)) == 3 && len(r.letters()) == 3 }, "all are dead letters")
	for id, got := range r.outcomes(one.Reply) {
		if len(got) != 1 || got[0].Failure.Reason != wire.ReasonUnknown || got[0].Failure.Attempt != 2 {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

// TestLargeResultsAreToldEarly has a chunk whose results are large: they are not all held until the last one is there.
func TestLargeResultsAreToldEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	reply := r.reply()
	items := make([]string, 20)
	end := make(chan struct{})
	items[19] = "last"
	start(t, r.store, group.Config{Concurrency: 1}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if string(task.Payload) == "last" {
			<-end
		}
		return make([]byte, 512<<10), nil
	}))
	r.add(chunk(reply, items...))
	eventually(t, func() bool { return len(r.outcomes(reply)) >= 19 }, "all but the last are told")
	close(end)
	eventually(t, func() bool { return len(r.outcomes(reply)) == 20 }, "all are told")
	r.empty(longer)
	checkOnce(t, r, reply, 20)
	entries, err := r.redis.XRange(t.Context(), keys.Reply(reply), "-", "+").Result()
	if err != nil || len(entries) < 4 {
		t.Errorf("%d reply entries, %v", len(entries), err)
	}
}

// TestAStuckItemLosesItsSlot has a handler that does not return in time: the items behind it run.
func TestAStuckItemLosesItsSlot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one := chunk(r.reply(), "stuck", "1", "2")
	one.Timeout, one.MaxAttempts = 10*time.Millisecond, 1
	start(t, r.store, group.Config{Concurrency: 1}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if string(task.Payload) == "stuck" {
			<-t.Context().Done()
		}
		return nil, nil
	}))
	r.add(one)
	eventually(t, func() bool { return len(r.outcomes(one.Reply)) == 3 }, "all have an outcome")
	got := r.outcomes(one.Reply)
	if f := got[wire.ItemID(one.ID, 0)][0].Failure; !strings.Contains(f.Message, "did not return within") {
		t.Errorf("the stuck one: %+v", f)
	}
	next := task("next")
	next.Reply = one.Reply
	r.add(next)
	if o := r.outcome(next); o.Kind != wire.KindResult {
		t.Errorf("a task after it: %+v", o)
	}
	r.empty(longer)
}

func BenchmarkItems(b *testing.B) {
	const size = 500
	r := newRig(b)
	payloads := make([]string, size)
	for i := range payloads {
		payloads[i] = "0123456789abcdef"
	}
	done := make(chan struct{})
	var n atomic.Int64
	start(b, r.store, group.Config{}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if n.Add(1) == int64(b.N)*size {
			close(done)
		}
		return task.Payload, nil
	}))
	reply := stream.NewID()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		r.add(chunk(reply, payloads...))
	}
	<-done
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/item")
}
