package inspect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
)

// batch waits until the queue has a batch of an ID that is as wanted.
func (r *rig) batch(want string, as func(inspect.Batch) bool) (found inspect.Batch) {
	r.t.Helper()
	var seen []inspect.Batch
	redistest.Eventually(r.t, longer, func() bool {
		batches, more, err := r.Batches(r.t.Context(), queue)
		if err != nil || more {
			r.t.Fatalf("more: %v, %v", more, err)
		}
		seen = batches
		i := slices.IndexFunc(batches, as)
		if i >= 0 {
			found = batches[i]
		}
		return i >= 0
	}, want, seen)
	return found
}

func TestABatchTellsWhoseItIsAndHowFar(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client()
	hold := make(chan struct{})
	r.start(group.Config{}, func(ctx context.Context, task group.Task) ([]byte, error) {
		switch string(task.Payload) {
		case `"fail"`:
			return nil, group.Drop(errors.New("no"))
		case `"hold"`:
			select {
			case <-hold:
			case <-ctx.Done():
			}
		}
		return task.Payload, nil
	})
	inputs := slices.Values([]string{"a", "b", "fail", "hold"})
	ctx, cancel := context.WithTimeout(t.Context(), longer)
	defer cancel()
	batch := mapreduce.Map(ctx, client, work, inputs)
	ended := make(chan error, 1)
	go func() {
		for range batch.Results() {
		}
		ended <- batch.Err()
	}()
	got := r.batch("three of four tasks are done", func(b inspect.Batch) bool { return b.Done == 3 })
	host, _ := os.Hostname()
	if got.Sent != 4 || got.Failed != 1 || got.Function != "f" || !got.Alive || got.Durable || got.Host != host || got.PID != os.Getpid() ||
		got.Queue != queue || time.Since(got.Began) > time.Minute || got.Seen.Before(got.Began.Add(-time.Second)) {
		t.Errorf("got %+v", got)
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if batches, _, err := r.Batches(ctx, queue); err != nil || len(batches) != 0 {
		t.Errorf("when it is over: got %+v, %v, want none", batches, err)
	}
}

func TestABatchOfAProcessThatDiedIsNotAlive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ago := time.Now().Add(-time.Minute)
	info, _ := json.Marshal(map[string]any{"host": "h", "pid": 7, "sent": 3, "began": ago.UnixMilli()})
	ok(t, r.redis.ZAdd(t.Context(), r.keys.Sessions(), redis.Z{Score: float64(ago.UnixMilli()), Member: "dead"}).Err())
	ok(t, r.redis.HSet(t.Context(), r.keys.SessionInfo(), "dead", info).Err())
	ok(t, r.redis.ZAdd(t.Context(), r.keys.Sessions(), redis.Z{Score: float64(ago.UnixMilli() - 1), Member: "silent"}).Err())
	batches, _, err := r.Batches(t.Context(), queue)
	ok(t, err)
	if len(batches) != 2 || batches[0].ID != "dead" || batches[0].Alive || batches[0].Host != "h" || batches[0].Sent != 3 || batches[1].Alive {
		t.Errorf("got %+v", batches)
	}
}

func TestADurableBatchIsListedUntilItIsDone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client()
	r.start(group.Config{}, func(_ context.Context, task group.Task) ([]byte, error) { return task.Payload, nil })
	ctx, cancel := context.WithTimeout(t.Context(), longer)
	defer cancel()
	inputs := slices.Values([]string{"a", "b", "c"})
	run := func(stop int) {
		batch := mapreduce.Map(ctx, client, work, inputs, mapreduce.Durable("nightly"), mapreduce.Chunk(1))
		n := 0
		for range batch.Results() {
			if n++; n == stop {
				break
			}
		}
	}
	run(3)
	got := r.batch("a durable batch that was left", func(b inspect.Batch) bool { return b.Durable })
	if got.ID != "nightly" || got.Function != "f" || got.Sent != 3 || got.Done != 2 || time.Since(got.Seen) > time.Minute {
		t.Errorf("got %+v", got)
	}
	run(0)
	if batches, _, err := r.Batches(ctx, queue); err != nil || len(batches) != 0 {
		t.Errorf("when it is done: got %+v, %v, want none", batches, err)
	}
	if n := r.redis.Exists(ctx, r.keys.Batches(), r.keys.Sessions(), r.keys.SessionInfo()).Val(); n != 0 {
		t.Errorf("when all is done %d of the indexes are there, want none", n)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := time.Now().UnixMilli()
	for i := range 300 {
		ok(t, r.redis.ZAdd(t.Context(), r.keys.Sessions(), redis.Z{Score: float64(now - int64(i)), Member: fmt.Sprint(i)}).Err())
		ok(t, r.redis.ZAdd(t.Context(), r.keys.Batches(), redis.Z{Score: float64(now - int64(i)), Member: fmt.Sprint(i)}).Err())
	}
	n := r.commands(func() {
		batches, more, err := r.Batches(t.Context(), queue)
		if err != nil || !more || len(batches) != 200 || batches[0].ID != "0" {
			t.Errorf("got %d batches, more: %v, %v", len(batches), more, err)
		}
	})
	if n > 100 {
		t.Errorf("%d commands of Redis, want 100 at most", n)
	}
	if batches, more, err := r.Batches(t.Context(), "unused"); len(batches) != 0 || more || err != nil {
		t.Errorf("a queue that nobody has used: got %v, %v, %v", batches, more, err)
	}
	if _, _, err := r.Batches(t.Context(), "a:b"); err == nil {
		t.Error("a queue of a wrong name: no error")
	}
}
