package group_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/wire"
)

// stopped is what tests see of a handler whose context ended.
type stopped struct {
	payload string
	cause   error
}

// TestARunningTaskIsCancelled cancels a task whose handler then returns one thing or another.
func TestARunningTaskIsCancelled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(ctx context.Context) ([]byte, error)
		want string
	}{
		"its cause":  {func(ctx context.Context) ([]byte, error) { return nil, context.Cause(ctx) }, "-1 cancelled: it was cancelled while it ran"},
		"an error":   {func(context.Context) ([]byte, error) { return nil, errors.New("no") }, "-1 cancelled: it was cancelled while it ran"},
		"a snooze":   {func(context.Context) ([]byte, error) { return nil, group.Snooze(time.Hour) }, "-1 cancelled: it was cancelled while it ran"},
		"a drop":     {func(context.Context) ([]byte, error) { return nil, group.Drop(errors.New("no")) }, "-1 cancelled: it was cancelled while it ran"},
		"a panic":    {func(context.Context) ([]byte, error) { panic("no") }, "-1 cancelled: it was cancelled while it ran"},
		"its result": {func(context.Context) ([]byte, error) { return []byte("fine"), nil }, "+fine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			begun, over, hooked := make(chan struct{}, 1), make(chan stopped, 1), make(chan group.Metadata, 1)
			cfg := group.Config{Hooks: group.Hooks{Cancelled: func(m group.Metadata) { hooked <- m }}}
			start(t, r.store, cfg, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
				begun <- struct{}{}
				<-ctx.Done()
				over <- stopped{string(task.Payload), context.Cause(ctx)}
				return c.end(ctx)
			}))
			one := task("x")
			one.Reply, one.Unique = r.reply(), "hash"
			r.redis.Set(t.Context(), keys.Unique("hash"), one.ID, 0)
			r.add(one)
			<-begun
			if err := r.store.Scripts().Stop(t.Context(), keys, one.ID); err != nil {
				t.Fatal(err)
			}
			if got := <-over; !errors.Is(got.cause, group.ErrCancelled) {
				t.Errorf("the context ended with %v", got.cause)
			}
			if got := said(r.outcome(one)); got != c.want {
				t.Errorf("got outcome %q, want %q", got, c.want)
			}
			r.empty(longer)
			cancelled := c.want[0] == '-'
			if n := r.redis.HGet(t.Context(), keys.Counts(), "cancelled").Val(); (n == "1") != cancelled {
				t.Errorf("%q are counted as cancelled", n)
			}
			if cancelled {
				eventually(t, func() bool { return len(hooked) == 1 && (<-hooked).ID == one.ID }, "the hook heard of the task")
			}
			if n := r.redis.Exists(t.Context(), keys.Unique("hash"), keys.Dead()).Val(); n != 0 {
				t.Error("its lock or a dead letter is left")
			}
		})
	}
}

// said is an outcome in words.
func said(o wire.Outcome) string {
	if o.Kind == wire.KindFailure {
		return fmt.Sprintf("-%d %s: %s", o.Failure.Attempt, o.Failure.Reason, o.Failure.Message)
	}
	return string(o.Kind) + string(o.Payload)
}

// noteStop cancels tasks as the script stop does, but says nothing.
func (r *rig) noteStop(ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		r.redis.ZAdd(r.t.Context(), keys.Cancels(), redis.Z{Score: float64(time.Now().UnixMilli()), Member: id})
	}
	if err := r.redis.HSet(r.t.Context(), keys.State(), "stops", fmt.Sprint(time.Now().UnixNano())).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// TestACancelIsNoticedThatWasNotHeard cancels twice without a word: tasks that run for long, and one that came after the first time.
func TestACancelIsNoticedThatWasNotHeard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun, over := make(chan struct{}, 3), make(chan stopped, 3)
	start(t, r.store, group.Config{Lease: 600 * time.Millisecond, Concurrency: 4}, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		begun <- struct{}{}
		<-ctx.Done()
		over <- stopped{string(task.Payload), context.Cause(ctx)}
		return nil, context.Cause(ctx)
	}))
	first, items := task("1"), chunk(r.reply(), "2")
	first.Reply = r.reply()
	r.add(first)
	r.add(items)
	<-begun
	<-begun
	for _, step := range []struct {
		id      string
		payload string
	}{{first.ID, "1"}, {wire.ItemID(items.ID, 0), "2"}} {
		r.noteStop(step.id)
		select {
		case got := <-over:
			if got.payload != step.payload || !errors.Is(got.cause, group.ErrCancelled) {
				t.Errorf("got %+v, want that of %s", got, step.payload)
			}
		case <-time.After(longer):
			t.Fatalf("task %s was not stopped", step.payload)
		}
	}
	if got := said(r.outcome(first)); got != "-1 cancelled: it was cancelled while it ran" {
		t.Errorf("got %q", got)
	}
	r.empty(longer)
}

// TestACancelledTaskDoesNotStartElsewhere has tasks that were cancelled while a worker had them that is gone.
func TestACancelledTaskDoesNotStartElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	one, items := task("0"), chunk(r.reply(), "1", "2")
	one.Reply = r.reply()
	r.redis.XGroupCreateMkStream(ctx, keys.Tasks(), "workers", "0")
	r.add(one)
	r.add(items)
	if err := r.redis.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: "workers", Consumer: wire.ReleasedConsumer, Streams: []string{keys.Tasks(), ">"}, Count: 10,
	}).Err(); err != nil {
		t.Fatal(err)
	}
	r.noteStop(one.ID, wire.ItemID(items.ID, 1))
	var ran tally
	start(t, r.store, group.Config{}, handle(seen(&ran)))
	if got := said(r.outcome(one)); got != "-1 cancelled: it was cancelled before it started" {
		t.Errorf("the task: got %q", got)
	}
	eventually(t, func() bool { return len(r.outcomes(items.Reply)) == 2 }, "both items have an outcome")
	if got := said(r.outcomes(items.Reply)[wire.ItemID(items.ID, 1)][0]); got != "-1 cancelled: it was cancelled before it started" {
		t.Errorf("the item: got %q", got)
	}
	if ran.sum() != 1 || ran.calls["1"] != 1 {
		t.Errorf("ran: %v", ran.calls)
	}
}

// TestItemsAreCancelled cancels an item that runs, one that waits, and then the chunk.
func TestItemsAreCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun, finish := make(chan string, 8), make(chan struct{})
	start(t, r.store, group.Config{Concurrency: 1}, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		begun <- string(task.Payload)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-finish:
			return task.Payload, nil
		}
	}))
	stop := func(id string) {
		t.Helper()
		if err := r.store.Scripts().Stop(t.Context(), keys, id); err != nil {
			t.Fatal(err)
		}
	}
	items := chunk(r.reply(), "0", "1", "2")
	outcome := func(i int) string { return wire.ItemID(items.ID, i) }
	r.add(items)
	if got := <-begun; got != "0" {
		t.Fatal(got)
	}
	stop(outcome(2))
	stop(outcome(0))
	eventually(t, func() bool { return len(begun) == 1 }, "the next item began")
	if got := <-begun; got != "1" {
		t.Errorf("item %s began, want 1", got)
	}
	close(finish)
	eventually(t, func() bool { return len(r.outcomes(items.Reply)) == 3 }, "all have an outcome")
	for i, want := range []string{"-1 cancelled: it was cancelled while it ran", "+1", "-1 cancelled: it was cancelled before it started"} {
		if got := said(r.outcomes(items.Reply)[outcome(i)][0]); got != want {
			t.Errorf("item %d: got %q, want %q", i, got, want)
		}
	}
	r.empty(longer)
}

// TestAChunkIsCancelled cancels all items of a chunk at once.
func TestAChunkIsCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun := make(chan struct{}, 8)
	start(t, r.store, group.Config{Concurrency: 2}, handle(func(ctx context.Context, _ group.Task) ([]byte, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}))
	items := chunk(r.reply(), "0", "1", "2", "3")
	r.add(items)
	<-begun
	<-begun
	for i := range 4 { // what waited is maybe with the other slot, or a task of its own by now
		if err := r.store.Scripts().Stop(t.Context(), keys, items.ID, wire.ItemID(items.ID, i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return len(r.outcomes(items.Reply)) == 4 }, "all have an outcome")
	for id, got := range r.outcomes(items.Reply) {
		if got[0].Failure.Reason != wire.ReasonCancelled {
			t.Errorf("item %s: got %q", id, said(got[0]))
		}
	}
	r.empty(longer)
}
