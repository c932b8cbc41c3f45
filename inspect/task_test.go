package inspect_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
)

// all pages through the tasks that a filter chooses.
func (r *rig) all(filter inspect.Filter) (tasks []inspect.Task, pages int) {
	r.t.Helper()
	for {
		page, err := r.Tasks(r.t.Context(), queue, filter)
		ok(r.t, err)
		tasks = append(tasks, page.Tasks...)
		pages++
		if page.Next == "" || pages > 500 {
			return tasks, pages
		}
		filter.After = page.Next
	}
}

func ids(tasks []inspect.Task) (ids []string) {
	for _, task := range tasks {
		ids = append(ids, task.ID)
	}
	return ids
}

// lay stores n tasks, every third of the function rare.
func (r *rig) lay(n int) (ids []string) {
	r.t.Helper()
	r.pipe(func(pipe redis.Pipeliner) {
		for i := range n {
			task := wire.Task{ID: taskID(0, i), Function: "f", Payload: fmt.Appendf(nil, "payload %d", i)}
			if i%3 == 0 {
				task.Function = "rare"
			}
			pipe.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), Values: task.Fields()})
			ids = append(ids, task.ID)
		}
	})
	return ids
}

func TestWaitingTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stored := r.lay(300)
	if got, _ := r.all(inspect.Filter{Limit: 7}); !slices.Equal(ids(got), stored) {
		t.Errorf("without a group: got %d tasks, want all %d in their order", len(got), len(stored))
	}
	r.makeGroup()
	r.deliver("a", 10)
	r.deliver(wire.ReleasedConsumer, 20)
	r.deliver("a", 5)
	want := slices.Concat(stored[10:30], stored[35:])
	for _, limit := range []int{0, 1, 3, 20, 21, 200} {
		got, _ := r.all(inspect.Filter{State: inspect.Waiting, Limit: limit})
		if !slices.Equal(ids(got), want) {
			t.Errorf("pages of %d: got %d tasks, want %d: those that were handed back, and those behind what was delivered", limit, len(got), len(want))
		}
	}
	got, _ := r.all(inspect.Filter{Function: "rare"})
	if slices.ContainsFunc(got, func(task inspect.Task) bool { return task.Function != "rare" }) || len(got) != 94 {
		t.Errorf("of one function: got %d tasks, want 94", len(got))
	}
	page, err := r.Tasks(t.Context(), queue, inspect.Filter{})
	ok(t, err)
	first := page.Tasks[0]
	if len(page.Tasks) != 50 || page.Total != (inspect.Count{N: 285, Exact: true}) || first.State != inspect.Waiting || first.Worker != "" ||
		first.Deliveries != 1 || string(first.Payload) != "payload 10" || first.Size != 10 || first.Queue != queue || time.Since(first.Since) > time.Minute {
		t.Errorf("got %d of %+v, the first %+v", len(page.Tasks), page.Total, first)
	}
}

func TestRunningTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stored := r.lay(300)
	r.makeGroup()
	var want, ofB []string
	for i := 0; i < 240; i += 2 { // neighbours are with different workers
		r.deliver("a", 1)
		if i%20 == 0 {
			r.deliver(wire.ReleasedConsumer, 1)
		} else {
			r.deliver("b", 1)
			ofB = append(ofB, stored[i+1])
			want = append(want, stored[i], stored[i+1])
			continue
		}
		want = append(want, stored[i])
	}
	for _, limit := range []int{1, 13, 50, 200} {
		if got, _ := r.all(inspect.Filter{State: inspect.Running, Limit: limit}); !slices.Equal(ids(got), want) {
			t.Errorf("pages of %d: got %d tasks, want %d", limit, len(got), len(want))
		}
		if got, _ := r.all(inspect.Filter{Worker: "b", Limit: limit}); !slices.Equal(ids(got), ofB) {
			t.Errorf("of one worker, pages of %d: got %d tasks, want %d", limit, len(got), len(ofB))
		}
	}
	got, _ := r.all(inspect.Filter{State: inspect.Running, Function: "rare"})
	if slices.ContainsFunc(got, func(task inspect.Task) bool { return task.Function != "rare" }) || len(got) < 70 {
		t.Errorf("of one function: got %d tasks", len(got))
	}

	page, err := r.Tasks(t.Context(), queue, inspect.Filter{State: inspect.Running, Limit: 2})
	ok(t, err)
	second := page.Tasks[0]
	r.pipe(func(pipe redis.Pipeliner) { pipe.HSet(t.Context(), r.keys.Crashes(), second.Entry, 2) })
	r.pipe(func(pipe redis.Pipeliner) { pipe.XDel(t.Context(), r.keys.Tasks(), page.Tasks[1].Entry) }) // by hand
	page, err = r.Tasks(t.Context(), queue, inspect.Filter{State: inspect.Running, Limit: 3})
	ok(t, err)
	if got := page.Tasks[0]; got.Crashes != 2 || got.Worker != "a" || got.Deliveries != 1 || got.State != inspect.Running {
		t.Errorf("got %+v", got)
	}
	if got := page.Tasks[1]; got.Reason != "deleted" || got.Worker != "a" || page.Tasks[2].ID != want[2] {
		t.Errorf("an entry that is gone: got %+v, then %s", got, page.Tasks[2].ID)
	}
}

func TestDelayedTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var want []string
	soon := time.Now().Add(time.Hour).UnixMilli()
	r.pipe(func(pipe redis.Pipeliner) {
		for i := range 700 { // 350 of them at the same time
			task := wire.Task{ID: taskID(0, i), Function: "f", Payload: []byte("1")}
			pipe.ZAdd(t.Context(), r.keys.Due(), redis.Z{Score: float64(soon) + float64(max(0, i-350))/1000, Member: task.ID})
			pipe.HSet(t.Context(), r.keys.Body(), task.ID, task.Body())
			want = append(want, task.ID)
		}
	})
	for _, limit := range []int{1, 7, 200} {
		if limit == 1 && testing.Short() {
			continue
		}
		filter := inspect.Filter{State: inspect.Delayed, Limit: limit}
		if limit == 1 {
			page, err := r.Tasks(t.Context(), queue, filter)
			ok(t, err)
			if due := page.Tasks[0].Due; due.UnixMilli() != soon || page.Total.N != 700 {
				t.Errorf("due %v, want %v", due, time.UnixMilli(soon))
			}
			continue
		}
		if got, _ := r.all(filter); !slices.Equal(ids(got), want) {
			t.Errorf("pages of %d: got %d tasks, want all %d in their order", limit, len(got), len(want))
		}
	}
	page, err := r.Tasks(t.Context(), queue, inspect.Filter{State: inspect.Delayed, Limit: 100})
	ok(t, err)
	r.pipe(func(pipe redis.Pipeliner) { // the tasks before the next page are moved to the stream meanwhile
		for _, id := range want[:100] {
			pipe.ZRem(t.Context(), r.keys.Due(), id)
			pipe.HDel(t.Context(), r.keys.Body(), id)
		}
		pipe.HDel(t.Context(), r.keys.Body(), want[100])
	})
	page, err = r.Tasks(t.Context(), queue, inspect.Filter{State: inspect.Delayed, Limit: 2, After: page.Next})
	ok(t, err)
	if !slices.Equal(ids(page.Tasks), want[100:102]) || page.Tasks[0].Reason != wire.ReasonMalformed || page.Tasks[1].Function != "f" {
		t.Errorf("after what was on the page before is gone: got %+v, want tasks 100 and 101, the first without a body", page.Tasks)
	}
}

func TestDeadTasks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.bury(300, func(n int) (string, string, string) { return fmt.Sprint("f", n%2), "failed", fmt.Sprint("error ", n) })
	got, _ := r.all(inspect.Filter{State: inspect.Dead, Limit: 9})
	if len(got) != 300 || got[0].LastError != "error 299" || got[0].Reason != "failed" || got[0].Worker != "w" || got[0].Entry != "1-1" ||
		got[0].Attempt != 3 || got[0].Letter == "" || got[299].LastError != "error 0" {
		t.Errorf("got %d, the first %+v", len(got), got[0])
	}
	if got, _ = r.all(inspect.Filter{State: inspect.Dead, Function: "f1"}); len(got) != 150 {
		t.Errorf("of one function: got %d, want 150", len(got))
	}
}

// TestEntriesThatAreNoTasksAreListed adds by hand what a worker would make dead letters of.
func TestEntriesThatAreNoTasksAreListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeGroup()
	last := taskID(0, 1)
	for _, values := range [][]string{
		{"hello", "world"}, {"v1", "no header\n1"}, {"v1", "nothing at all"}, {"v9", "later\n1"}, {"a", "1", "b", strings.Repeat("x", 1<<20)}, {"v1", last + " f\n1"},
	} {
		ok(t, r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), Values: values}).Err())
	}
	check := func(state inspect.State) {
		got, _ := r.all(inspect.Filter{State: state})
		var reasons []string
		for _, task := range got {
			reasons = append(reasons, task.Reason)
			if task.Entry == "" || task.State != state || task.Reason != "" && task.Raw == "" || len(task.Raw) > 5000 {
				t.Errorf("got %s of state %s, %s, %.100s", task.Entry, task.State, task.Reason, task.Raw)
			}
		}
		if want := []string{"malformed", "malformed", "malformed", "newer version", "malformed", ""}; !slices.Equal(reasons, want) {
			t.Errorf("%s: got %q, want %q", state, reasons, want)
		}
		if got[0].Raw != `"hello" "world"` || got[4].Size != 1<<20+1 || got[5].ID != last {
			t.Errorf("%s: got %s, a size of %d, %s", state, got[0].Raw, got[4].Size, got[5].ID)
		}
	}
	check(inspect.Waiting)
	r.deliver("a", 10)
	check(inspect.Running)
}

// TestPayloadsOfListsAreCut stores what is too large for a page.
func TestPayloadsOfListsAreCut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n, size = 60, 1 << 20
	for i := range n {
		r.add(wire.Task{ID: taskID(0, i), Function: "f", Payload: []byte(strings.Repeat("p", size))})
	}
	got, pages := r.all(inspect.Filter{Limit: 200})
	if len(got) != n || pages < 2 {
		t.Errorf("got %d tasks in %d pages, want %d in several: 60 MB at once are too much", len(got), pages, n)
	}
	for _, task := range got {
		if task.Size != size || len(task.Payload) != 4096 {
			t.Fatalf("got a size of %d and %d bytes, want %d and 4096", task.Size, len(task.Payload), size)
		}
	}
}

func TestBadFiltersAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.lay(10)
	page, err := r.Tasks(t.Context(), queue, inspect.Filter{Limit: 3})
	ok(t, err)
	for name, c := range map[string]struct {
		filter inspect.Filter
		want   string
	}{
		"a state that is none":           {inspect.Filter{State: "sleeping"}, "sleeping"},
		"a state that is not listed":     {inspect.Filter{State: inspect.Done}, "done"},
		"a limit that is too large":      {inspect.Filter{Limit: 201}, "201"},
		"a limit below nothing":          {inspect.Filter{Limit: -1}, "-1"},
		"a function that is no name":     {inspect.Filter{Function: "a b"}, "a b"},
		"a worker that is no name":       {inspect.Filter{Worker: "a b"}, "a b"},
		"a worker of waiting tasks":      {inspect.Filter{State: inspect.Waiting, Worker: "a"}, "running"},
		"a cursor that is no base64":     {inspect.Filter{After: "!"}, "Next"},
		"a cursor of nothing":            {inspect.Filter{After: "eA"}, "Next"},
		"the cursor of another state":    {inspect.Filter{State: inspect.Delayed, After: page.Next}, "Next"},
		"a cursor with a command inside": {inspect.Filter{After: "d24rIC0K"}, "Next"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := r.Tasks(t.Context(), queue, c.filter)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if c.filter.After != "" && !errors.Is(err, inspect.ErrCursor) {
				t.Errorf("got %v, want ErrCursor", err)
			}
		})
	}
	if _, err := r.Tasks(t.Context(), "no/name", inspect.Filter{}); err == nil {
		t.Error("a bad name of a queue is no error")
	}
}

func TestTasksOfAnEmptyQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, state := range []inspect.State{inspect.Waiting, inspect.Running, inspect.Delayed, inspect.Dead} {
		page, err := r.Tasks(t.Context(), queue, inspect.Filter{State: state})
		if err != nil || len(page.Tasks) != 0 || page.Tasks == nil || page.Next != "" || page.Total != (inspect.Count{Exact: true}) {
			t.Errorf("%s: got %+v, %v", state, page, err)
		}
	}
	for state, key := range map[inspect.State]string{
		inspect.Waiting: r.keys.Tasks(), inspect.Running: r.keys.Crashes(), inspect.Delayed: r.keys.Due(), inspect.Dead: r.keys.Dead(),
	} {
		if state == inspect.Running {
			continue
		}
		ok(t, r.redis.Set(t.Context(), key, "text", 0).Err())
		if _, err := r.Tasks(t.Context(), queue, inspect.Filter{State: state}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: got %v, want an error that names %s", state, err, key)
		}
		ok(t, r.redis.Del(t.Context(), key).Err())
	}
}
