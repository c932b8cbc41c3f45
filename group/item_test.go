package group_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/wire"
)

// TestContextsOfItemsEndWithTheirHandlers leaves contexts behind that were asked for something, and one that never was: each ends with
// its own handler, not before, and knows its own item after that too.
func TestContextsOfItemsEndWithTheirHandlers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type left struct {
		ctx, child context.Context
		id         string
	}
	behind := make(chan left, 5)
	start(t, r.store, group.Config{Concurrency: 1}, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		l := left{ctx: ctx, id: task.ID}
		switch string(task.Payload) {
		case "child":
			var cancel context.CancelFunc
			l.child, cancel = context.WithCancel(ctx)
			context.AfterFunc(l.child, cancel)
		case "done":
			select {
			case <-ctx.Done():
				t.Error("done before the handler has returned")
			default:
			}
		case "failed":
			defer func() { behind <- l }()
			return nil, group.Drop(errors.New("no"))
		case "meta":
			if m := group.Meta(ctx); m.ID != task.ID || m.Attempt != 1 || m.Entry != task.Entry {
				t.Errorf("metadata %+v, not %+v", m, task.Metadata)
			}
		}
		if err := ctx.Err(); err != nil {
			t.Errorf("%s: %v before the handler has returned", task.Payload, err)
		}
		behind <- l
		return nil, nil
	}))
	one := chunk(r.reply(), "untouched", "child", "done", "failed", "meta")
	r.add(one)
	eventually(t, func() bool { return len(r.outcomes(one.Reply)) == 5 }, "all items have an outcome")
	r.empty(longer)
	for i := range 5 {
		l := <-behind
		want := wire.ItemID(one.ID, i)
		if l.ctx.Err() == nil || l.id != want || group.Meta(l.ctx).ID != want {
			t.Errorf("item %d: %v, %s and %s", i, l.ctx.Err(), l.id, group.Meta(l.ctx).ID)
		}
		if text := fmt.Sprint(context.Cause(l.ctx)); text != "group: the handler has returned" {
			t.Errorf("item %d: the cause is %q", i, text)
		}
		if l.child != nil {
			select {
			case <-l.child.Done():
			case <-time.After(longer):
				t.Error("a child of the context goes on")
			}
		}
	}
}
