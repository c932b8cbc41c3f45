package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// ship takes what waits to be sent, as the sender does.
func ship(ctx context.Context, f *flow[int, int]) (parcels []*parcel[int]) {
	f.mu.Lock()
	ready := f.forming != nil || len(f.queue) > 0
	f.mu.Unlock()
	if ready {
		parcels = f.next(ctx)
	}
	return parcels
}

// outcomeIn brings the result of one input, which weighs bytes; its value is the index.
func outcomeIn(t *testing.T, f *flow[int, int], index, bytes int, err error) {
	t.Helper()
	for len(ship(t.Context(), f)) > 0 {
	}
	for id, p := range f.waiting {
		if index < p.first || index >= p.first+len(p.inputs) {
			continue
		}
		if len(p.inputs) > 1 {
			id = wire.ItemID(id, index-p.first)
		}
		found, item := f.find(id)
		if found != p || item != index-p.first || !p.take(item) {
			t.Fatalf("input %d is not waiting", index)
		}
		s := &segment[int, int]{parcel: p, at: item, values: []int{index}, bytes: int64(bytes)}
		if err != nil {
			s.fail(0, err, 1)
		}
		f.resolve(p, s)
		return
	}
	t.Fatalf("input %d is not waiting", index)
}

// handOut is the loop over the results for one of them.
func handOut(ctx context.Context, f *flow[int, int]) (r Result[int, int], ok bool) {
	s := f.take(ctx)
	if s == nil {
		return r, false
	}
	for i := range s.values {
		f.handed(s, i)
	}
	return s.result(0), true
}

// feedInputs admits endless inputs as the feeder does; it returns how many were taken so far.
func feedInputs(ctx context.Context, f *flow[int, int], bytes int) (taken func() int) {
	go func() {
		for id := 0; f.admit(ctx, id, make([]byte, bytes)); id++ {
		}
	}()
	return func() int { return f.progress().Submitted }
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
				n := feedInputs(ctx, f, test.bytes)
				synctest.Wait()
				if got := n(); got != test.want {
					t.Fatalf("%d tasks taken at first, want %d", got, test.want)
				}
				outcomeIn(t, f, 0, test.resultSize, nil)
				synctest.Wait()
				if got := n(); got != test.want {
					t.Fatalf("%d tasks taken while a result waits, want still %d", got, test.want)
				}
				if r, ok := handOut(ctx, f); !ok || r.Index != 0 {
					t.Fatalf("next gave %+v, %v", r, ok)
				}
				synctest.Wait()
				if got := n(); got != test.after {
					t.Fatalf("%d tasks taken once a result was handed out, want %d", got, test.after)
				}
				outcomeIn(t, f, test.after-1, test.resultSize, nil)
				synctest.Wait()
				if got := n(); got != test.held {
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
			f.admit(ctx, id*10, []byte("x"))
		}
		f.finish()
		for _, id := range []int{2, 0, 3, 1} {
			outcomeIn(t, f, id, 1, nil)
		}
		var got []int
		for r, ok := handOut(ctx, f); ok; r, ok = handOut(ctx, f) {
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
		if f.out.Load() != 0 || f.outBytes != 0 || len(f.waiting) != 0 {
			t.Errorf("left over: %d inputs, %d bytes, %d waiting", f.out.Load(), f.outBytes, len(f.waiting))
		}
		if stopped, complete := f.end(); stopped != nil || !complete {
			t.Errorf("ended with %v, complete %v", stopped, complete)
		}
	}
}

func TestFlowTakesASecondOutcomeOfATaskNotAtAll(t *testing.T) {
	t.Parallel()
	f := newFlow[int, int](limits{window: 10, windowBytes: 1000}, time.Now)
	f.admit(t.Context(), 1, []byte("x"))
	p := f.next(t.Context())[0]
	outcomeIn(t, f, 0, 1, nil)
	if p, _ := f.find(p.id); p != nil {
		t.Error("the second outcome of a task was taken")
	}
	if p, _ := f.find("foreign"); p != nil {
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
				f.admit(t.Context(), id, make([]byte, test.bytes))
			}
			f.finish()
			var got []int
			index := 0
			for parcels := f.next(t.Context()); len(parcels) > 0; parcels = f.next(t.Context()) {
				got = append(got, len(parcels))
				for _, p := range parcels {
					if p.first != index || len(p.inputs) != 1 {
						t.Fatalf("got %d inputs from %d, want one, %d", len(p.inputs), p.first, index)
					}
					index++
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
		n := feedInputs(ctx, f, 1)
		synctest.Wait()
		outcomeIn(t, f, 1, 1, &stream.TaskError{Function: "f", TaskID: "one", Message: "first"})
		outcomeIn(t, f, 5, 1, nil)
		synctest.Wait()
		if stopped, _ := f.end(); stopped != nil {
			t.Fatalf("stopped after one failure: %v", stopped)
		}
		outcomeIn(t, f, 3, 1, &stream.TaskError{Function: "f", TaskID: "two", Message: "second"})
		synctest.Wait()
		if got := n(); got != 6 {
			t.Errorf("%d inputs taken, want 6", got)
		}
		var got []int
		for r, ok := handOut(ctx, f); ok; r, ok = handOut(ctx, f) {
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
		if parcels := f.next(ctx); parcels != nil {
			t.Errorf("%d parcels would still be sent", len(parcels))
		}
	})
}

func TestFlowEndsAtOnceWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := newFlow[int, int](limits{window: 2, windowBytes: 1000}, time.Now)
		feedInputs(ctx, f, 1)
		ended := make(chan string, 2)
		go func() {
			for len(f.next(ctx)) > 0 {
			}
			ended <- "sender"
		}()
		go func() {
			_, ok := handOut(ctx, f)
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
