package stream_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// heard is what hooks were called with.
type heard struct {
	mu      sync.Mutex
	scripts map[string]int
	errs    []error
	stored  []int
	sent    []stream.Sending
	ended   []error
}

func (h *heard) hooks() stream.Hooks {
	h.scripts = make(map[string]int)
	return stream.Hooks{
		Script: func(name string, took time.Duration, err error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.scripts[name]++
			if err != nil || took <= 0 {
				h.errs = append(h.errs, err)
			}
		},
		Stored: func(queue string, tasks int) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if queue == "q" {
				h.stored = append(h.stored, tasks)
			}
		},
		Sending: func(_ context.Context, s stream.Sending) (map[string]string, func(error)) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.sent = append(h.sent, s)
			return map[string]string{"trace": "t", "own": "hook", "bad name": "x"}, func(err error) {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.ended = append(h.ended, err)
			}
		},
	}
}

func TestHooksHearOfEachCall(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	var h heard
	store, err := stream.NewStore(rdb, stream.Config{Hooks: h.hooks()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	client, err := stream.NewClient(store, stream.ClientConfig{RetryFor: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })
	id, err := echo.Enqueue(t.Context(), client, "a", stream.Header("own", "mine"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := echo.EnqueueAll(t.Context(), client, slices.Values([]string{"b", "c", "d"})); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	seen := make(chan map[string]string, 10)
	startWorker(t, rdb, func(task stream.Task) ([]byte, error) {
		seen <- task.Headers
		if string(task.Payload) == `"fail"` {
			return nil, errHandler
		}
		return task.Payload, nil
	})
	if _, err = echo.Call(t.Context(), client, "fail"); err == nil {
		t.Error("the call does not fail")
	}
	for i := range 5 {
		want := map[string]string{"trace": "t", "own": "hook"}
		if i == 0 {
			want["own"] = "mine"
		}
		if got := <-seen; !maps.Equal(got, want) {
			t.Errorf("headers of task %d: got %v, want %v", i, got, want)
		}
	}
	h.check(t, id)
	server.Stop()
	defer server.Cont()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err = echo.Enqueue(ctx, client, "x"); err == nil {
		t.Error("a frozen Redis stores a task")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if last := h.ended[len(h.ended)-1]; last == nil {
		t.Error("the end of an enqueue that failed has no error")
	}
}

func (h *heard) check(t *testing.T, id string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	want := []stream.Sending{
		{Verb: "enqueue", Queue: "q", Function: "echo", TaskID: id},
		{Verb: "enqueue all", Queue: "q", Function: "echo"},
		{Verb: "call", Queue: "q", Function: "echo", TaskID: h.sent[len(h.sent)-1].TaskID},
	}
	if !slices.Equal(h.sent, want) || h.sent[2].TaskID == "" {
		t.Errorf("sending: got %+v, want %+v", h.sent, want)
	}
	failure, ok := errors.AsType[*stream.TaskError](h.ended[2])
	if len(h.ended) != 3 || h.ended[0] != nil || h.ended[1] != nil || !ok || failure.Reason != wire.ReasonFailed {
		t.Errorf("ends: got %v", h.ended)
	}
	sum := 0
	for _, n := range h.stored {
		sum += n
	}
	if sum != 5 {
		t.Errorf("stored: got %v, want 5 in all", h.stored)
	}
	if h.scripts["enqueue"]+h.scripts["append"] < 3 || h.scripts["session"] < 1 || len(h.errs) != 0 {
		t.Errorf("scripts: got %v, errors %v", h.scripts, h.errs)
	}
}

func TestJoinedHooksAreAllCalled(t *testing.T) {
	t.Parallel()
	var a, b heard
	third := stream.Hooks{Sending: func(context.Context, stream.Sending) (map[string]string, func(error)) {
		return map[string]string{"own": "third", "more": "m"}, nil
	}}
	joined := stream.JoinHooks(a.hooks(), stream.Hooks{}, b.hooks(), third)
	joined.Script("s", time.Second, nil)
	joined.Stored("q", 2)
	headers, done := joined.Sending(t.Context(), stream.Sending{Verb: "map"})
	done(errHandler)
	for name, h := range map[string]*heard{"first": &a, "second": &b} {
		if h.scripts["s"] != 1 || !slices.Equal(h.stored, []int{2}) || len(h.sent) != 1 || !slices.Equal(h.ended, []error{errHandler}) {
			t.Errorf("%s: got %+v", name, h)
		}
	}
	if headers["own"] != "hook" || headers["more"] != "m" {
		t.Errorf("headers: got %v, want the first of each name", headers)
	}
	if none := stream.JoinHooks(stream.Hooks{}, stream.Hooks{}); none.Script != nil || none.Stored != nil || none.Sending != nil {
		t.Error("no hooks make some")
	}
}
