package group_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

func TestOutcomesAreKeptThroughRetriesDelaysDeadLettersAndReplays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client, err := stream.NewClient(r.store, stream.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })
	f := stream.Func[string, string]{Name: "f", Queue: queue}
	var healed atomic.Bool
	start(t, r.store, group.Config{Backoff: group.Backoff{Min: time.Millisecond, Max: 2 * time.Millisecond}}, func(w *group.Worker) {
		group.Handle(w, f, func(ctx context.Context, in string) (string, error) {
			m := group.Meta(ctx)
			switch {
			case in == "third" && m.Attempt < 3, in == "never" && !healed.Load():
				return "", errors.New("not now")
			}
			return in, nil
		})
	})
	ctx, cancel := context.WithTimeout(t.Context(), longer)
	defer cancel()
	id, err := f.Enqueue(ctx, client, "third", stream.Keep(time.Hour), stream.After(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := f.Await(ctx, client, id); out != "third" || err != nil {
		t.Errorf("delayed, and retried twice: got %q, %v", out, err)
	}
	if id, err = f.Enqueue(ctx, client, "never", stream.Keep(time.Hour), stream.MaxAttempts(2)); err != nil {
		t.Fatal(err)
	}
	_, err = f.Await(ctx, client, id)
	if failure, ok := errors.AsType[*stream.TaskError](err); !ok || failure.Reason != wire.ReasonFailed || failure.Attempt != 2 {
		t.Errorf("a dead letter: got %v", err)
	}
	healed.Store(true)
	for letter, err := range reclaim.List(ctx, r.store, queue) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err = reclaim.Replay(ctx, r.store, queue, letter.ID); err != nil {
			t.Fatal(err)
		}
	}
	redistest.Eventually(t, longer, func() bool {
		o, done, err := client.Outcome(ctx, queue, id)
		return err == nil && done && string(o.Payload) == `"never"`
	}, "the outcome of the replayed task is kept")
}
