package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athoune/worker-machine/stream"
)

// taskOf is a task of so many bytes; its ID is only a number.
func taskOf(id, bytes int) stream.Task {
	return stream.Task{ID: strconv.Itoa(id), Payload: make([]byte, bytes)}
}

// outcomeIn brings the result of one task, which weighs bytes; its value is the ID.
func outcomeIn(t *testing.T, f *flow[int, int], id, bytes int, err error) {
	t.Helper()
	it, ok := f.claim(strconv.Itoa(id), bytes)
	if !ok {
		t.Fatalf("task %d is not waiting", id)
	}
	f.resolve([]arrival[int, int]{{result: Result[int, int]{Index: it.index, Input: it.input, Value: id, Err: err}, bytes: it.bytes}})
}

// feedTasks admits endless tasks as the feeder does; the count of admitted ones is returned.
func feedTasks(ctx context.Context, f *flow[int, int], bytes int) *atomic.Int32 {
	var n atomic.Int32
	go func() {
		for id := 0; f.admit(ctx, id, taskOf(id, bytes)); id++ {
			n.Add(1)
			if !f.awaitPlace(ctx) {
				return
			}
		}
	}()
	return &n
}

func TestFlowTakesNoMoreThanTheWindow(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		limits     limits
		bytes      int // of one task
		resultSize int
		want       int // taken at first
		after      int // taken when one result is handed out
		held       int // taken when one more result has come in and waits
	}{
		"count":                             {limits{window: 10, windowBytes: 1 << 20}, 10, 10, 10, 11, 11},
		"bytes":                             {limits{window: 100, windowBytes: 1000}, 300, 10, 3, 4, 4},
		"a payload above all goes alone":    {limits{window: 100, windowBytes: 100}, 300, 10, 1, 2, 2},
		"a window of one":                   {limits{window: 1, windowBytes: 100}, 0, 10, 1, 2, 2},
		"a result that waits weighs itself": {limits{window: 100, windowBytes: 1000}, 300, 900, 3, 4, 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				f := newFlow[int, int](test.limits, time.Now)
				n := feedTasks(ctx, f, test.bytes)
				synctest.Wait()
				if got := int(n.Load()); got != test.want {
					t.Fatalf("%d tasks taken at first, want %d", got, test.want)
				}
				outcomeIn(t, f, 0, test.resultSize, nil)
				synctest.Wait()
				if got := int(n.Load()); got != test.want {
					t.Fatalf("%d tasks taken while a result waits, want still %d", got, test.want)
				}
				if r, ok := f.next(ctx); !ok || r.Index != 0 {
					t.Fatalf("next gave %+v, %v", r, ok)
				}
				synctest.Wait()
				if got := int(n.Load()); got != test.after {
					t.Fatalf("%d tasks taken once a result was handed out, want %d", got, test.after)
				}
				outcomeIn(t, f, test.after-1, test.resultSize, nil)
				synctest.Wait()
				if got := int(n.Load()); got != test.held {
					t.Fatalf("%d tasks taken while a result waits again, want %d", got, test.held)
				}
				cancel()
			})
		})
	}
}

func TestFlowHandsOutInOrder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, ordered := range []bool{false, true} {
		f := newFlow[int, int](limits{window: 10, windowBytes: 1000, ordered: ordered}, time.Now)
		for id := range 4 {
			f.admit(ctx, id*10, taskOf(id, 1))
		}
		f.finish()
		for _, id := range []int{2, 0, 3, 1} {
			outcomeIn(t, f, id, 1, nil)
		}
		var got []int
		for r, ok := f.next(ctx); ok; r, ok = f.next(ctx) {
			if r.Input != r.Index*10 {
				t.Errorf("index %d has input %d", r.Index, r.Input)
			}
			got = append(got, r.Index)
		}
		want := []int{2, 0, 3, 1}
		if ordered {
			want = []int{0, 1, 2, 3}
		}
		if !slices.Equal(got, want) {
			t.Errorf("ordered %v: got %v, want %v", ordered, got, want)
		}
		if f.out != 0 || f.outBytes != 0 || len(f.waiting) != 0 {
			t.Errorf("left over: %d inputs, %d bytes, %d waiting", f.out, f.outBytes, len(f.waiting))
		}
		if stopped, complete := f.end(); stopped != nil || !complete {
			t.Errorf("ended with %v, complete %v", stopped, complete)
		}
	}
}

func TestFlowTakesASecondOutcomeOfATaskNotAtAll(t *testing.T) {
	t.Parallel()
	f := newFlow[int, int](limits{window: 10, windowBytes: 1000}, time.Now)
	f.admit(t.Context(), 1, taskOf(0, 1))
	outcomeIn(t, f, 0, 1, nil)
	if _, ok := f.claim("0", 1); ok {
		t.Error("the second outcome of a task was taken")
	}
	if _, ok := f.claim("foreign", 1); ok {
		t.Error("the outcome of a foreign task was taken")
	}
}

func TestFlowGathersTasksForOneSend(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tasks, bytes int
		want         []int
	}{
		"one goes alone":                    {1, 10, []int{1}},
		"by count":                          {600, 10, []int{256, 256, 88}},
		"by bytes":                          {5, 100 << 10, []int{2, 2, 1}},
		"one above the bytes goes all same": {2, 1 << 20, []int{1, 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlow[int, int](limits{window: 1000, windowBytes: 1 << 30}, time.Now)
			for id := range test.tasks {
				f.admit(t.Context(), id, taskOf(id, test.bytes))
			}
			f.finish()
			var got []int
			id := 0
			for tasks := f.chunk(t.Context()); len(tasks) > 0; tasks = f.chunk(t.Context()) {
				got = append(got, len(tasks))
				for _, task := range tasks {
					if task.ID != strconv.Itoa(id) {
						t.Fatalf("got task %s, want %d", task.ID, id)
					}
					id++
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("sends of %v, want %v", got, test.want)
			}
		})
	}
}

func TestFlowStopsAfterFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		f := newFlow[int, int](limits{window: 6, windowBytes: 1000, ordered: true, failures: 2}, time.Now)
		n := feedTasks(ctx, f, 1)
		synctest.Wait()
		outcomeIn(t, f, 1, 1, &stream.TaskError{Function: "f", TaskID: "one", Message: "first"})
		outcomeIn(t, f, 5, 1, nil)
		synctest.Wait()
		if stopped, _ := f.end(); stopped != nil {
			t.Fatalf("stopped after one failure: %v", stopped)
		}
		outcomeIn(t, f, 3, 1, &stream.TaskError{Function: "f", TaskID: "two", Message: "second"})
		synctest.Wait()
		if got := n.Load(); got != 6 {
			t.Errorf("%d inputs taken, want 6", got)
		}
		var got []int
		for r, ok := f.next(ctx); ok; r, ok = f.next(ctx) {
			got = append(got, r.Index)
		}
		if want := []int{1, 3, 5}; !slices.Equal(got, want) {
			t.Errorf("handed out %v, want %v", got, want)
		}
		stopped, complete := f.end()
		var failures *FailuresError
		var task *stream.TaskError
		if complete || !errors.As(stopped, &failures) || failures.Limit != 2 || len(failures.Errs) != 2 {
			t.Errorf("ended with %v, complete %v", stopped, complete)
		}
		if !errors.As(stopped, &task) || task.TaskID != "one" {
			t.Errorf("found task error %v in %v", task, stopped)
		}
		if tasks := f.chunk(ctx); tasks != nil {
			t.Errorf("%d tasks would still be sent", len(tasks))
		}
	})
}

func TestFlowEndsAtOnceWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFlow[int, int](limits{window: 2, windowBytes: 1000}, time.Now)
		feedTasks(ctx, f, 1)
		ended := make(chan string, 2)
		go func() {
			for len(f.chunk(ctx)) > 0 {
			}
			ended <- "sender"
		}()
		go func() {
			_, ok := f.next(ctx)
			ended <- fmt.Sprint("loop ", ok)
		}()
		synctest.Wait()
		cancel()
		got := []string{<-ended, <-ended}
		slices.Sort(got)
		if want := []string{"loop false", "sender"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestFailuresErrorNamesTheTasks(t *testing.T) {
	t.Parallel()
	err := &FailuresError{Limit: 3, Errs: []error{errors.New("task A: no"), errors.New("task B: no")}}
	if got, want := err.Error(), "mapreduce: stopped after 3 failed: task A: no; task B: no; and 1 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
