package group_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

func TestResultIsCommittedAndEntryIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	upper := stream.Func[string, string]{Name: "f", Queue: queue}
	w := start(t, r.store, group.Config{}, func(w *group.Worker) {
		group.Handle(w, upper, func(_ context.Context, in string) (string, error) { return strings.ToUpper(in), nil })
	})
	one := task(`"linux"`)
	one.Reply = r.reply()
	r.add(one)
	if got := r.outcome(one); got.Kind != wire.KindResult || string(got.Payload) != `"LINUX"` {
		t.Errorf("outcome: got %c %s, want the result \"LINUX\"", got.Kind, got.Payload)
	}
	r.empty(soon)
	if err := w.stop(); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	if n := r.redis.Exists(t.Context(), keys.Lease(w.Name())).Val(); n != 0 {
		t.Errorf("the lease is still there after Run")
	}
	if all := r.redis.XInfoConsumers(t.Context(), keys.Tasks(), "workers").Val(); len(all) != 0 {
		t.Errorf("consumers after Run: got %v, want none", all)
	}
	if names := r.redis.SMembers(t.Context(), wire.Queues("wm")).Val(); len(names) != 1 || names[0] != queue {
		t.Errorf("registered queues: got %q, want %q", names, queue)
	}
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	// decide answers for the given attempt; the last answer of a task is a success unless it is dead by then.
	for name, test := range map[string]struct {
		decide   func(attempt int) error
		calls    int
		reason   string // of the dead letter, "" for a result
		attempt  int    // of the last call
		contains string // in the error of the dead letter
	}{
		"success":                {func(int) error { return nil }, 1, "", 1, ""},
		"failure then success":   {func(n int) error { return pick(n == 1, boom) }, 2, "", 2, ""},
		"failures to the end":    {func(int) error { return boom }, 3, wire.ReasonFailed, 3, "boom"},
		"drop":                   {func(int) error { return group.Drop(boom) }, 1, wire.ReasonDropped, 1, "boom"},
		"wrapped drop buries":    {func(int) error { return fmt.Errorf("x: %w", group.Drop(boom)) }, 1, wire.ReasonDropped, 1, "x: boom"},
		"retry after":            {func(n int) error { return pick(n == 1, group.RetryAfter(time.Millisecond, boom)) }, 2, "", 2, ""},
		"retry after to the end": {func(int) error { return group.RetryAfter(0, boom) }, 3, wire.ReasonFailed, 3, "boom"},
		"panic":                  {func(int) error { panic("oh no") }, 3, wire.ReasonFailed, 3, "worker_test.go"},
		"panic with an error":    {func(int) error { panic(boom) }, 3, wire.ReasonFailed, 3, "panic: boom"},
		"goexit":                 {func(int) error { runtime.Goexit(); return nil }, 3, wire.ReasonFailed, 3, "Goexit"},
		"goexit once":            {func(n int) error { return goexit(n == 1) }, 2, "", 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			calls, last := 0, group.Metadata{}
			start(t, r.store, group.Config{Concurrency: 1, Backoff: quick}, handle(func(ctx context.Context, _ group.Task) ([]byte, error) {
				calls++
				last = group.Meta(ctx)
				return []byte("fine"), test.decide(last.Attempt)
			}))
			one := task("")
			one.Reply, one.MaxAttempts = r.reply(), 3
			r.add(one)
			got := r.outcome(one)
			r.empty(soon)
			if calls != test.calls || last.Attempt != test.attempt || last.MaxAttempts != 3 {
				t.Errorf("got %d calls, last attempt %d of %d; want %d, %d of 3", calls, last.Attempt, last.MaxAttempts, test.calls, test.attempt)
			}
			if test.reason == "" {
				if got.Kind != wire.KindResult || string(got.Payload) != "fine" {
					t.Errorf("outcome: got %+v, want a result", got)
				}
				return
			}
			if got.Failure.Reason != test.reason || got.Failure.Attempt != test.attempt || got.Failure.Function != "f" {
				t.Errorf("failure: got %+v, want reason %q, attempt %d, function f", got.Failure, test.reason, test.attempt)
			}
			letter := r.letter()
			if letter["reason"] != test.reason || !strings.Contains(fmt.Sprint(letter["error"]), test.contains) {
				t.Errorf("dead letter: got reason %q, error %q; want %q, %q", letter["reason"], letter["error"], test.reason, test.contains)
			}
		})
	}
}

func pick(fails bool, err error) error {
	if fails {
		return err
	}
	return nil
}

func goexit(really bool) error {
	if really {
		runtime.Goexit()
	}
	return nil
}

func TestSnoozeCostsNoAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	calls := 0
	start(t, r.store, group.Config{Concurrency: 1}, handle(func(context.Context, group.Task) ([]byte, error) {
		if calls++; calls <= 3 {
			return nil, group.Snooze(time.Millisecond)
		}
		return nil, nil
	}))
	one := task("")
	one.Reply, one.MaxAttempts = r.reply(), 1
	r.add(one)
	if got := r.outcome(one); got.Kind != wire.KindResult || calls != 4 {
		t.Errorf("got %+v after %d calls, want a result after 4", got, calls)
	}
}

func TestMetadataAndHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := make(chan group.Metadata, 1)
	start(t, r.store, group.Config{MaxAttempts: 7, Timeout: time.Minute}, handle(func(ctx context.Context, task group.Task) ([]byte, error) {
		type key struct{}
		m := group.Meta(context.WithValue(ctx, key{}, 1))
		if fmt.Sprint(m) != fmt.Sprint(task.Metadata) {
			t.Errorf("Meta: got %+v, want %+v", m, task.Metadata)
		}
		got <- m
		return nil, nil
	}))
	one := task("")
	one.Headers = map[string]string{"trace": "a b"}
	entry := r.add(one)
	m := <-got
	if m.ID != one.ID || m.Function != "f" || m.Queue != queue || m.Attempt != 1 || m.MaxAttempts != 7 ||
		m.Timeout != time.Minute || m.Headers["trace"] != "a b" || m.Entry != entry {
		t.Errorf("got %+v", m)
	}
	if m := group.Meta(t.Context()); m.ID != "" {
		t.Errorf("Meta outside of a handler: got %+v, want none", m)
	}
}

func TestUnknownFunctionIsADeadLetterAfterItsAttempts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start(t, r.store, group.Config{Backoff: quick}, handle(nop))
	one := task("payload")
	one.Function, one.MaxAttempts, one.Reply = "nobody", 3, r.reply()
	r.add(one)
	got := r.outcome(one)
	if got.Failure.Reason != wire.ReasonUnknown || got.Failure.Attempt != 3 {
		t.Errorf("failure: got %+v, want %q at attempt 3", got.Failure, wire.ReasonUnknown)
	}
	if letter := r.letter(); letter["reason"] != wire.ReasonUnknown || !strings.HasSuffix(fmt.Sprint(letter[wire.Field]), "\npayload") {
		t.Errorf("dead letter: got %v", letter)
	}
	if n := r.redis.HGet(t.Context(), keys.Counts(), "unknown").Val(); n != "2" {
		t.Errorf("counted as unknown: got %s, want 2", n)
	}
}

func TestUnknownFunctionGoesToAWorkerThatKnowsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start(t, r.store, group.Config{Backoff: quick}, handle(nop))
	start(t, r.store, group.Config{Backoff: quick}, func(w *group.Worker) { group.HandleRaw(w, "g", nop) })
	reply := r.reply()
	for range 20 {
		one := task("")
		one.Function, one.Reply = "g", reply
		r.add(one)
	}
	eventually(t, func() bool { return len(r.outcomes(reply)) == 20 }, "all tasks are done")
	for id, all := range r.outcomes(reply) {
		if len(all) != 1 || all[0].Kind != wire.KindResult {
			t.Errorf("task %s: got %+v, want one result", id, all)
		}
	}
}

func nop(context.Context, group.Task) ([]byte, error) { return nil, nil }

func TestForeignEntriesAreBuried(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		fields []string
		reason string
		says   string
	}{
		"added by hand":   {[]string{"hello", "world"}, wire.ReasonMalformed, "added by hand"},
		"newer version":   {[]string{"v2", "whatever"}, wire.ReasonNewer, "upgrade this worker"},
		"broken header":   {[]string{"v1", "x f\n"}, wire.ReasonMalformed, "ULID"},
		"big":             {[]string{"v1", big}, wire.ReasonMalformed, ""},
		"broken function": {[]string{"v1", stream.NewID() + " a\x00b\n"}, wire.ReasonMalformed, "function"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var calls tally
			start(t, r.store, group.Config{}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
				calls.count(task.Payload)
				return nil, nil
			}))
			if err := r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: keys.Tasks(), Values: test.fields}).Err(); err != nil {
				t.Fatal(err)
			}
			r.add(task("after"))
			letter := r.letter()
			raw := fmt.Sprint(letter["raw"])
			if letter["reason"] != test.reason || !strings.Contains(fmt.Sprint(letter["error"]), test.says) || raw == "" || len(raw) > 4096 {
				t.Errorf("dead letter: got reason %q, error %q, %d bytes raw; want %q, %q, 1 to 4096",
					letter["reason"], letter["error"], len(raw), test.reason, test.says)
			}
			r.empty(soon)
			if calls.sum() != 1 {
				t.Errorf("calls: got %d, want the one of the task behind", calls.sum())
			}
		})
	}
}

func TestPayloadThatTheFunctionDoesNotTakeIsBuried(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start(t, r.store, group.Config{}, func(w *group.Worker) {
		group.Handle(w, stream.Func[int, int]{Name: "f", Queue: queue}, func(_ context.Context, n int) (int, error) { return n, nil })
	})
	one := task(`"no number"`)
	one.Reply = r.reply()
	r.add(one)
	if got := r.outcome(one); got.Failure.Reason != wire.ReasonMalformed || got.Failure.Attempt != 1 {
		t.Errorf("got %+v, want %q at attempt 1", got.Failure, wire.ReasonMalformed)
	}
}

func TestResultAboveTheLimitIsAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	big := make([]byte, 4<<20+1)
	start(t, r.store, group.Config{}, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		return big[:len(big)-int(task.Payload[0]-'0')], nil
	}))
	over, under := task("0"), task("1")
	over.Reply = r.reply()
	under.Reply = over.Reply
	r.add(over)
	r.add(under)
	if got := r.outcome(over); got.Failure.Reason != wire.ReasonTooLarge {
		t.Errorf("4 MiB + 1: got %+v, want %q", got.Failure, wire.ReasonTooLarge)
	}
	if got := r.outcome(under); got.Kind != wire.KindResult || len(got.Payload) != 4<<20 {
		t.Errorf("4 MiB: got %c of %d bytes, want the result", got.Kind, len(got.Payload))
	}
}

func TestTimeoutEndsTheContext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var causes []error
	start(t, r.store, group.Config{Concurrency: 1, Backoff: quick, Timeout: time.Hour}, handle(func(ctx context.Context, _ group.Task) ([]byte, error) {
		<-ctx.Done()
		causes = append(causes, context.Cause(ctx), ctx.Err())
		return nil, ctx.Err()
	}))
	one := task("")
	one.Reply, one.MaxAttempts, one.Timeout = r.reply(), 2, 20*time.Millisecond
	r.add(one)
	if got := r.outcome(one); got.Failure.Reason != wire.ReasonFailed || got.Failure.Attempt != 2 {
		t.Errorf("got %+v, want failed at attempt 2", got.Failure)
	}
	if len(causes) != 4 || !errors.Is(causes[0], group.ErrTimeout) || !errors.Is(causes[1], context.DeadlineExceeded) {
		t.Errorf("cause and error: got %v, want ErrTimeout and deadline exceeded, twice", causes)
	}
}

func TestStuckHandlerLosesItsSlot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	defer close(release)
	stuck := make(chan group.Metadata, 1)
	cfg := group.Config{Concurrency: 1, Backoff: quick, Hooks: group.Hooks{Stuck: func(m group.Metadata, _ time.Duration) { stuck <- m }}}
	start(t, r.store, cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) {
		if string(task.Payload) == "hang" && task.Attempt == 1 {
			<-release
		}
		return nil, nil
	}))
	hang, next := task("hang"), task("next")
	hang.Reply, hang.Timeout = r.reply(), 10*time.Millisecond
	next.Reply = hang.Reply
	r.add(hang)
	r.add(next)
	if m := <-stuck; m.ID != hang.ID {
		t.Errorf("stuck: got %+v, want task %s", m, hang.ID)
	}
	if got := r.outcome(next); got.Kind != wire.KindResult {
		t.Errorf("the task behind: got %+v, want a result", got)
	}
	if got := r.outcome(hang); got.Kind != wire.KindResult {
		t.Errorf("the task itself, on its second attempt: got %+v, want a result", got)
	}
}

func TestMiddlewareGoesAroundInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var order []string
	around := func(name string) group.Middleware {
		return func(next group.Handler) group.Handler {
			return func(ctx context.Context, task group.Task) ([]byte, error) {
				order = append(order, name)
				out, err := next(ctx, task)
				return append(out, name...), err
			}
		}
	}
	start(t, r.store, group.Config{Middleware: []group.Middleware{around("a"), around("b")}}, handle(nop))
	one := task("")
	one.Reply = r.reply()
	r.add(one)
	if got := r.outcome(one); string(got.Payload) != "ba" || fmt.Sprint(order) != "[a b]" {
		t.Errorf("got result %q, order %v; want ba, [a b]", got.Payload, order)
	}
}

func TestSharedContextIsGoneWithItsBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	errs := make(chan error, 2)
	values := make(chan string, 2)
	start(t, r.store, group.Config{Concurrency: 1}, handle(func(ctx context.Context, _ group.Task) ([]byte, error) {
		before, err := group.Shared(ctx).Get(ctx, "k")
		values <- string(before)
		errs <- errors.Join(err, group.Shared(ctx).Set(ctx, "k", []byte("v")))
		return nil, nil
	}))
	one, two, alone := task(""), task(""), task("")
	one.Reply = r.reply()
	two.Reply = one.Reply
	for i, step := range []struct {
		task wire.Task
		sees string
		err  error
	}{{one, "", nil}, {two, "v", nil}, {alone, "", group.ErrNoBatch}} {
		r.add(step.task)
		if value, err := <-values, <-errs; value != step.sees || !errors.Is(err, step.err) {
			t.Errorf("step %d: got %q, %v; want %q, %v", i, value, err, step.sees, step.err)
		}
	}
	r.redis.Del(t.Context(), keys.Reply(one.Reply), keys.Context(one.Reply))
	r.add(two)
	if value, err := <-values, <-errs; value != "" || !errors.Is(err, group.ErrNoBatch) {
		t.Errorf("after the batch: got %q, %v; want ErrNoBatch", value, err)
	}
	if n := r.redis.Exists(t.Context(), keys.Context(one.Reply)).Val(); n != 0 {
		t.Error("the shared context was made again after its batch was over")
	}
}

func TestRunReportsWrongHandlers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w, err := group.NewWorker(r.store, group.Config{})
	if err != nil {
		t.Fatal(err)
	}
	group.HandleRaw(w, "f", nop)
	group.HandleRaw(w, "f", nop)
	group.HandleRaw(w, "a b", nop)
	group.HandleRaw(w, "g", nil)
	err = w.Run(t.Context())
	for _, want := range []string{"f: it has a handler already", `"a b"`, "g: the handler is nil"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run: got %v, want it to say %q", err, want)
		}
	}
	if err := w.Run(t.Context()); !errors.Is(err, group.ErrUsed) {
		t.Errorf("second Run: got %v, want ErrUsed", err)
	}
}

func TestQueuesOfHandledFunctionsAreReadByDefault(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w, err := group.NewWorker(r.store, group.Config{})
	if err != nil {
		t.Fatal(err)
	}
	group.Handle(w, stream.Func[string, string]{Name: "f", Queue: queue}, func(_ context.Context, in string) (string, error) { return in, nil })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	r.add(task(`""`))
	redistest.Eventually(t, soon, func() bool { return r.redis.HGet(t.Context(), keys.Counts(), "done").Val() == "1" }, "the task is done")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConfigReportsAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := group.NewWorker(nil, group.Config{
		Queues: []group.Queue{{Name: "a b"}, {Name: "x"}, {Name: "x", Weight: -1}}, Concurrency: -1, MaxAttempts: -1, Timeout: -1,
		Backoff: group.Backoff{Min: 2, Max: 1}, Lease: time.Millisecond, Drain: -1, Middleware: []group.Middleware{nil},
	})
	for _, want := range []string{
		"store", "Queues[0]", "x is listed twice", "weight of x", "Concurrency is -1", "MaxAttempts is -1", "Timeout is", "Backoff.Min is 2ns",
		"Lease is 1ms", "Drain is", "Middleware[0]",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}
