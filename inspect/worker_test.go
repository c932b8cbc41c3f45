package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
)

// lease is the text of a lease.
func lease(info wire.LeaseInfo) string { return "fence " + info.Encode() }

func TestWorkersArePaged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.lay(300)
	r.makeGroup()
	var names []string
	for n := range 75 {
		names = append(names, fmt.Sprintf("host-a-%d-%s", 100+n, taskID(0, n)))
		r.deliver(names[n], int64(n%3))
		if n%5 != 0 {
			r.pipe(func(pipe redis.Pipeliner) {
				pipe.Set(ctx, r.keys.Lease(names[n]), lease(wire.LeaseInfo{Host: "other", PID: n + 1, Functions: []string{"f"}, Started: 1e12}), time.Minute)
			})
		}
	}
	r.deliver(wire.ReleasedConsumer, 3)
	var got []inspect.Worker
	for after, pages := "", 0; pages < 10; pages++ {
		page, err := r.Workers(ctx, queue, after)
		ok(t, err)
		if page.Total != (inspect.Count{N: 75, Exact: true}) || len(page.Workers) > 25 {
			t.Errorf("got %d of %+v", len(page.Workers), page.Total)
		}
		got = append(got, page.Workers...)
		if after = page.Next; after == "" {
			break
		}
	}
	if len(got) != len(names) {
		t.Fatalf("got %d workers, want %d", len(got), len(names))
	}
	for n, worker := range got {
		host, pid := "other", n+1
		if n%5 == 0 {
			host, pid = "host-a", 100+n
		}
		if worker.Name != names[n] || worker.Alive != (n%5 != 0) || worker.Host != host || worker.PID != pid || worker.Pending != int64(max(n%3, 0)) && n%3 != 0 {
			t.Errorf("worker %d: got %+v", n, worker)
		}
		if alive := worker.LeaseLeft > 1 && worker.LeaseLeft <= 60 && worker.Started.UnixMilli() == 1e12 && slices.Equal(worker.Functions, []string{"f"}); alive != worker.Alive {
			t.Errorf("worker %d: got %+v", n, worker)
		}
		if worker.Pending > 0 && (len(worker.Tasks) != 1 || worker.Tasks[0].Worker != names[n] || worker.Tasks[0].ID == "") || worker.Pending == 0 && len(worker.Tasks) > 0 {
			t.Errorf("worker %d with %d pending: its oldest task: %+v", n, worker.Pending, worker.Tasks)
		}
	}
	if _, err := r.Workers(ctx, queue, "no name"); err == nil || !strings.Contains(err.Error(), "no name") {
		t.Errorf("got %v, want a complaint about the name", err)
	}
}

// TestAWorkerAtWork looks at a real worker.
func TestAWorkerAtWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	client := r.client()
	id, err := work.Enqueue(ctx, client, "x")
	ok(t, err)
	began, end := make(chan struct{}), make(chan struct{})
	r.start(group.Config{Concurrency: 3}, func(context.Context, group.Task) ([]byte, error) {
		close(began)
		<-end
		return nil, nil
	})
	<-began
	page, err := r.Workers(ctx, queue, "")
	ok(t, err)
	if len(page.Workers) != 1 {
		t.Fatalf("got %+v", page)
	}
	worker, err := r.Worker(ctx, queue, page.Workers[0].Name)
	ok(t, err)
	if !worker.Alive || worker.PID == 0 || worker.Concurrency != 3 || !slices.Equal(worker.Functions, []string{"f"}) || worker.Version == "" ||
		len(worker.Tasks) != 1 || worker.Tasks[0].ID != id || worker.Tasks[0].Function != "f" || worker.Tasks[0].Worker != worker.Name {
		t.Errorf("got %+v", worker)
	}
	close(end)
}

func TestWorkersThatAreNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	if page, err := r.Workers(ctx, queue, ""); err != nil || len(page.Workers) != 0 || page.Next != "" {
		t.Errorf("got %+v, %v, want no worker", page, err)
	}
	r.lay(3)
	r.makeGroup()
	r.deliver(wire.ReleasedConsumer, 1)
	for _, name := range []string{"someone", wire.ReleasedConsumer, ""} {
		if _, err := r.Worker(ctx, queue, name); !errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("worker %q: got %v, want ErrNotFound", name, err)
		}
	}
	ok(t, r.redis.Set(ctx, r.keys.Tasks(), "text", 0).Err())
	if _, err := r.Workers(ctx, queue, ""); err == nil || !strings.Contains(err.Error(), r.keys.Tasks()) {
		t.Errorf("got %v, want an error that names the key", err)
	}
}
