package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

func TestAKeptOutcomeOutlivesItsClient(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	first := newClient(t, rdb, stream.ClientConfig{})
	id, err := echo.Enqueue(t.Context(), first, "x", stream.Keep(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err = first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := newClient(t, rdb, stream.ClientConfig{})
	if _, done, err := second.Outcome(t.Context(), "q", id); done || err != nil {
		t.Errorf("before it ran: got %v, %v, want not done", done, err)
	}
	startWorker(t, rdb, answer)
	for range 2 { // it is not used up
		if out, err := echo.Await(t.Context(), second, id); out != "x" || err != nil {
			t.Errorf("awaited: got %q, %v", out, err)
		}
		if o, done, err := second.Outcome(t.Context(), "q", id); !done || err != nil || string(o.Payload) != `"x"` || o.TaskID != id {
			t.Errorf("looked at: got %+v, %v, %v", o, done, err)
		}
	}
	if left := rdb.PTTL(t.Context(), "wm:{q}:reply:"+id).Val(); left <= 59*time.Minute || left > time.Hour {
		t.Errorf("kept for %v more, want an hour", left)
	}
}

func TestKeepCountsFromWhenATaskIsDue(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	for name, option := range map[string]stream.Option{"after": stream.After(time.Hour), "at": stream.At(time.Now().Add(time.Hour))} {
		id, err := echo.Enqueue(t.Context(), client, "x", option, stream.Keep(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if left := rdb.PTTL(t.Context(), "wm:{q}:reply:"+id).Val(); left <= time.Hour+50*time.Second || left > time.Hour+time.Minute+time.Second {
			t.Errorf("%s: kept for %v, want an hour and a minute", name, left)
		}
	}
}

func TestKeptOutcomesOfManyTasks(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	const tasks = 1500 // more than go in one call
	var ids []string
	n, err := echo.EnqueueAll(t.Context(), client, func(yield func(string) bool) {
		for i := range tasks {
			if !yield(fmt.Sprint(i)) {
				return
			}
		}
	}, stream.Keep(time.Hour), stream.IDs(&ids))
	if err != nil || n != tasks || len(ids) != tasks {
		t.Fatalf("stored %d with %d IDs, %v", n, len(ids), err)
	}
	startWorker(t, rdb, answer)
	var waiters sync.WaitGroup
	limit := make(chan struct{}, 500)
	for i, id := range ids {
		limit <- struct{}{}
		waiters.Go(func() {
			defer func() { <-limit }()
			if out, err := echo.Await(t.Context(), client, id); err != nil || out != fmt.Sprint(i) {
				t.Errorf("task %d: got %q, %v", i, out, err)
			}
		})
	}
	waiters.Wait()
	// The pool of the test's client holds what looks at once; the waits themselves share one connection.
	if blocked := info(t, rdb, "clients", "blocked_clients"); blocked > 2 {
		t.Errorf("%d connections are blocked, want that of the worker and one of the waits", blocked)
	}
}

func info(t testing.TB, rdb *redis.Client, section, name string) (n int) {
	t.Helper()
	_, rest, _ := strings.Cut(rdb.Info(t.Context(), section).Val(), name+":")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// awaiting starts to wait, and returns once that is under way in Redis.
func awaiting(t testing.TB, rdb *redis.Client, client *stream.Client, id string) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	before := info(t, rdb, "clients", "blocked_clients")
	go func() {
		_, err := client.Await(t.Context(), "q", id)
		ended <- err
	}()
	eventually(t, func() bool { return info(t, rdb, "clients", "blocked_clients") > before }, "the wait blocks")
	return ended
}

func enqueueKept(t testing.TB, client *stream.Client, ttl time.Duration) string {
	t.Helper()
	id, err := echo.Enqueue(t.Context(), client, "x", stream.Keep(ttl))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func wantEnd(t testing.TB, ended <-chan error, want error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, want) {
			t.Errorf("the wait ended with %v, want %v", err, want)
		}
	case <-time.After(soon):
		t.Errorf("the wait does not end, want %v", want)
	}
}

// record records an outcome as a commit does.
func record(t testing.TB, rdb *redis.Client, id, text string) {
	t.Helper()
	err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "wm:{q}:reply:" + id, NoMkStream: true, Values: []string{id, text}}).Err()
	if err != nil {
		t.Error(err)
	}
}

func TestAwaitHearsOfAnOutcomeAtOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	idle := enqueueKept(t, client, time.Hour) // has no outcome; one more task must not wait for the end of its read
	awaiting(t, rdb, client, idle)
	took, joined := make([]time.Duration, 0, 30), make([]time.Duration, 0, 30)
	for range cap(took) {
		id := enqueueKept(t, client, time.Hour)
		ended, asked := make(chan time.Time, 1), time.Now()
		go func() {
			if _, err := client.Await(t.Context(), "q", id); err != nil {
				t.Error(err)
			}
			ended <- time.Now()
		}()
		eventually(t, func() bool { // a read that names both streams blocks
			return strings.Contains(rdb.ClientList(t.Context()).Val(), "cmd=xread ") && client.Awaited("q") == 2
		})
		joined = append(joined, time.Since(asked))
		record(t, rdb, id, "~due") // is no outcome
		began := time.Now()
		record(t, rdb, id, "+1")
		took = append(took, (<-ended).Sub(began))
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median > 20*time.Millisecond { // a quarter of one on a machine that does nothing else
		t.Errorf("half of the waits took more than %v", median)
	}
	slices.Sort(joined)
	if median := joined[len(joined)/2]; median > 200*time.Millisecond {
		t.Errorf("half of the waits began after %v: they wait for the end of a read that blocks", median)
	}
	t.Logf("median %v, slowest %v", took[len(took)/2], took[len(took)-1])
}

func TestAwaitGoesOnWhenRedisRestarts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := server.Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	id := enqueueKept(t, client, time.Hour)
	ended := awaiting(t, rdb, client, id)
	server.Kill()
	server.Restart()
	record(t, rdb, id, "+1")
	wantEnd(t, ended, nil)
}

func TestAwaitEndsWhenNothingIsKeptAnyMore(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*redistest.Server, *redis.Client){
		"its time is over":            func(*redistest.Server, *redis.Client) {},
		"redis comes back empty":      func(s *redistest.Server, _ *redis.Client) { s.Kill(); s.Restart() },
		"all data is removed by hand": func(_ *redistest.Server, rdb *redis.Client) { flush(t, rdb) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			rdb := server.Client(t)
			client := newClient(t, rdb, stream.ClientConfig{})
			ttl := time.Hour
			if name == "its time is over" {
				ttl = 500 * time.Millisecond
			}
			ended := awaiting(t, rdb, client, enqueueKept(t, client, ttl))
			lose(server, rdb)
			wantEnd(t, ended, stream.ErrNotKept)
		})
	}
}

func TestOutcomesThatAreNotKept(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	plain, err := echo.Enqueue(t.Context(), client, "x")
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"without Keep": plain, "never enqueued": stream.NewID()} {
		if _, _, err = client.Outcome(t.Context(), "q", id); !errors.Is(err, stream.ErrNotKept) || !strings.Contains(err.Error(), "stream.Keep") {
			t.Errorf("%s: looked, got %v", name, err)
		}
		if _, err = client.Await(t.Context(), "q", id); !errors.Is(err, stream.ErrNotKept) {
			t.Errorf("%s: awaited, got %v", name, err)
		}
	}
	if _, _, err = client.Outcome(t.Context(), "q", "x:*"); err == nil || !strings.Contains(err.Error(), "ULID") {
		t.Errorf("an ID that is none: got %v", err)
	}
	if _, err = client.Await(t.Context(), "q{", plain); err == nil || !strings.Contains(err.Error(), "queue name") {
		t.Errorf("a queue that is none: got %v", err)
	}
}

func TestAwaitIsBounded(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{MaxAwait: 1})
	first, second := enqueueKept(t, client, time.Hour), enqueueKept(t, client, time.Hour)
	ended := awaiting(t, rdb, client, first)
	if _, err := client.Await(t.Context(), "q", second); !errors.Is(err, stream.ErrTooManyWaiters) || !strings.Contains(err.Error(), "MaxAwait") {
		t.Errorf("got %v, want ErrTooManyWaiters", err)
	}
	record(t, rdb, first, "+1")
	wantEnd(t, ended, nil)
	record(t, rdb, second, "+1")
	if _, err := client.Await(t.Context(), "q", second); err != nil {
		t.Errorf("once there is room: got %v", err)
	}
}

func TestAwaitEndsWithItsContextAndItsClient(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	id := enqueueKept(t, client, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Await(ctx, "q", id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the error of the context", err)
	}
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := client.Await(t.Context(), "q", id)
			ended <- err
		}()
	}
	eventually(t, func() bool { return client.Awaited("q") == 1 })
	if err := client.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wantEnd(t, ended, stream.ErrClosed)
	wantEnd(t, ended, stream.ErrClosed)
	if _, err := client.Await(t.Context(), "q", id); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
}

func TestAwaitOnACluster(t *testing.T) {
	t.Parallel()
	rdb := redistest.StartCluster(t, 3).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	startWorker(t, rdb, answer)
	var waiters sync.WaitGroup
	for range 5 {
		id := enqueueKept(t, client, time.Hour)
		waiters.Go(func() {
			if out, err := echo.Await(t.Context(), client, id); err != nil || out != "x" {
				t.Errorf("got %q, %v", out, err)
			}
		})
	}
	waiters.Wait()
}

func TestIdempotentEnqueuesAnswerTheFirstForALongTime(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	enqueue := func(key string, more ...stream.Option) (string, error) {
		return echo.Enqueue(t.Context(), client, "x", append(more, stream.Idempotent(key, time.Hour), stream.Keep(time.Hour))...)
	}
	first, err := enqueue("k")
	if err != nil {
		t.Fatal(err)
	}
	startWorker(t, rdb, answer)
	if _, err = client.Await(t.Context(), "q", first); err != nil {
		t.Fatal(err)
	}
	again, err := enqueue("k")
	if !errors.Is(err, stream.ErrDuplicate) || again != first {
		t.Errorf("when the first is done: got %s, %v, want %s and ErrDuplicate", again, err, first)
	}
	if out, err := echo.Await(t.Context(), client, again); out != "x" || err != nil {
		t.Errorf("the outcome of the first: got %q, %v", out, err)
	}
	if kept := rdb.Keys(t.Context(), "wm:{q}:reply:*").Val(); len(kept) != 1 {
		t.Errorf("a duplicate leaves a reply stream: %v", kept)
	}
	if _, err = echo.Enqueue(t.Context(), client, "y", stream.Unique("k", time.Hour)); err != nil {
		t.Errorf("a uniqueness key of the same name: got %v", err)
	}
	if _, err = enqueue("other", stream.Unique("k", time.Hour)); err == nil || !strings.Contains(err.Error(), "one of Unique and Idempotent") {
		t.Errorf("both: got %v", err)
	}
	if _, err = enqueue(""); err == nil || !strings.Contains(err.Error(), "give it a key") {
		t.Errorf("no key: got %v", err)
	}
}

func TestIdempotencyEndsWithItsTime(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	if _, err := echo.Enqueue(t.Context(), client, "a", stream.Idempotent("k", 20*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		_, err := echo.Enqueue(t.Context(), client, "b", stream.Idempotent("k", time.Hour))
		return err == nil
	}, "the key ends")
}

func TestAFullQueueKeepsNothing(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{MaxQueue: 1})
	id := enqueueKept(t, client, time.Hour)
	if _, err := echo.Enqueue(t.Context(), client, "x", stream.Keep(time.Hour)); !errors.Is(err, stream.ErrQueueFull) {
		t.Errorf("got %v, want ErrQueueFull", err)
	}
	if kept := rdb.Keys(t.Context(), "wm:{q}:reply:*").Val(); !slices.Equal(kept, []string{"wm:{q}:reply:" + id}) {
		t.Errorf("reply streams: got %v, want that of the first alone", kept)
	}
}

func TestKeepRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	client := newClient(t, redistest.Start(t).Client(t), stream.ClientConfig{})
	if _, err := echo.Enqueue(t.Context(), client, "x", stream.Keep(0)); err == nil || !strings.Contains(err.Error(), "Keep(0s)") {
		t.Errorf("no time: got %v", err)
	}
	if _, err := echo.Call(t.Context(), client, "x", stream.Keep(time.Hour)); err == nil || !strings.Contains(err.Error(), "Keep does not fit a call") {
		t.Errorf("a call: got %v", err)
	}
	if _, err := echo.Task(client, "x", stream.Keep(time.Hour)); err == nil || !strings.Contains(err.Error(), "Keep") {
		t.Errorf("a task of a session: got %v", err)
	}
	if _, err := stream.NewClient(client.Store(), stream.ClientConfig{MaxAwait: -1}); err == nil || !strings.Contains(err.Error(), "MaxAwait -1") {
		t.Errorf("a negative bound: got %v", err)
	}
}

func TestAFailureIsAnOutcome(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	startWorker(t, rdb, func(stream.Task) ([]byte, error) { return nil, errHandler })
	id := enqueueKept(t, client, time.Hour)
	_, err := echo.Await(t.Context(), client, id)
	failure, ok := errors.AsType[*stream.TaskError](err)
	if !ok || failure.TaskID != id || failure.Message != errHandler.Error() || failure.Reason != wire.ReasonFailed {
		t.Errorf("got %#v, %v", failure, err)
	}
}
