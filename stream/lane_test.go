package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

func TestLostRepliesOfEnqueueStoreEachTaskOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	client := newClient(t, proxy.Client(t), stream.ClientConfig{})
	const callers, each = 10, 100
	var cut sync.Mutex
	n := 0
	proxy.CutAfterRequest(func(request []byte) bool {
		cut.Lock()
		defer cut.Unlock()
		if isCall(request) {
			n++
		}
		return isCall(request) && n%2 == 1
	})
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			for j := range each {
				if _, err := echo.Enqueue(t.Context(), client, fmt.Sprint(i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := length(t, server.Client(t), "wm:{q}:tasks"); got != callers*each || proxy.Dropped() < each {
		t.Errorf("stored %d tasks after %d lost replies, want %d", got, proxy.Dropped(), callers*each)
	}
}

func TestCallersShareRoundTrips(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	const callers, each = 50, 100
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range each {
				if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	calls := scriptCalls(t, rdb)
	t.Logf("%d enqueues took %d script calls", callers*each, calls)
	if calls > callers*each/5 {
		t.Errorf("%d enqueues took %d script calls, want far fewer", callers*each, calls)
	}
	wantStored(t, rdb, callers*each)
}

func TestALoneCallerTakesOneRoundTripEach(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	for name, ctx := range map[string]context.Context{"may leave": t.Context(), "stays": context.WithoutCancel(t.Context())} {
		if _, err := echo.Enqueue(ctx, client, "first"); err != nil { // makes the connection, and knows the script
			t.Fatal(err)
		}
		before := scriptCalls(t, rdb)
		for range 10 {
			if _, err := echo.Enqueue(ctx, client, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if calls := scriptCalls(t, rdb) - before; calls != 10 {
			t.Errorf("who %s: 10 enqueues took %d script calls", name, calls)
		}
	}
	if queues, err := client.Store().Queues(t.Context()); err != nil || !slices.Equal(queues, []string{"q"}) {
		t.Errorf("queues: %v, %v", queues, err)
	}
}

func TestALossOfDataIsToldOnceAndEnqueueGoesOn(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, rdb *redis.Client){
		"all is gone": func(t *testing.T, rdb *redis.Client) {
			t.Helper()
			flush(t, rdb)
		},
		"a stale replica took over": func(t *testing.T, rdb *redis.Client) {
			t.Helper()
			lane := rdb.Keys(t.Context(), "wm:{q}:producer:*").Val()[0]
			if err := rdb.Set(t.Context(), lane, "3", time.Hour).Err(); err != nil { // of 10
				t.Fatal(err)
			}
		},
		"the lane was evicted": func(t *testing.T, rdb *redis.Client) {
			t.Helper()
			rdb.Del(t.Context(), rdb.Keys(t.Context(), "wm:{q}:producer:*").Val()[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Start(t).Client(t)
			var losses atomic.Int64
			client := newClient(t, rdb, stream.ClientConfig{OnLoss: func(queue string) {
				if queue == "q" {
					losses.Add(1)
				}
			}})
			enqueue := func(n int) {
				for range n {
					if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
						t.Fatal(err)
					}
				}
			}
			enqueue(10)
			lose(t, rdb)
			before, _ := rdb.XLen(t.Context(), "wm:{q}:tasks").Result()
			enqueue(10)
			wantStored(t, rdb, before+10)
			if got := losses.Load(); got != 1 {
				t.Errorf("told %d losses, want 1", got)
			}
		})
	}
}

func TestAnOlderLaneAsAFailoverLeavesIt(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	id, err := echo.Enqueue(t.Context(), client, "x")
	if err != nil {
		t.Fatal(err)
	}
	lane := rdb.Keys(t.Context(), "wm:{q}:producer:*").Val()[0]
	old := rdb.Dump(t.Context(), lane).Val()
	for range 5 {
		if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := rdb.RestoreReplace(t.Context(), lane, time.Hour, old).Err(); err != nil {
		t.Fatal(err)
	}
	if again, err := echo.Enqueue(t.Context(), client, "x"); err != nil || again <= id {
		t.Errorf("got %s, %v", again, err)
	}
	wantStored(t, rdb, 7)
}

func TestWhatIsNotKnownIsAnError(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	rdb := proxy.Client(t, func(o *redis.Options) { o.ReadTimeout = 100 * time.Millisecond })
	client := newClient(t, rdb, stream.ClientConfig{RetryFor: 300 * time.Millisecond})
	if _, err := echo.Enqueue(t.Context(), client, "first"); err != nil {
		t.Fatal(err)
	}
	proxy.Blackhole(true)
	if id, err := echo.Enqueue(t.Context(), client, "lost"); !errors.Is(err, stream.ErrUnknownOutcome) || id != "" {
		t.Errorf("redis is silent: got %q, %v, want ErrUnknownOutcome", id, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := echo.Enqueue(ctx, client, "lost too")
	if !errors.Is(err, stream.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context ends meanwhile: got %v, want ErrUnknownOutcome and DeadlineExceeded", err)
	}
	proxy.Blackhole(false)
	proxy.ResetAll()
	eventually(t, func() bool {
		_, err := echo.Enqueue(t.Context(), client, "last")
		return err == nil
	}, "redis answers again")
	if got := length(t, server.Client(t), "wm:{q}:tasks"); got < 2 || got > 4 {
		t.Errorf("stored %d, want the first, the last, and at most one of each lost", got)
	}
}

func TestACallThatArrivesLateStoresNothingTwice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	rdb := server.Client(t, func(o *redis.Options) { o.ReadTimeout = 100 * time.Millisecond })
	client := newClient(t, rdb, stream.ClientConfig{RetryFor: 20 * time.Second})
	if _, err := echo.Enqueue(t.Context(), client, "first"); err != nil {
		t.Fatal(err)
	}
	server.Stop() // connections stay open: what is sent now runs later
	ended := make(chan error, 1)
	go func() {
		_, err := echo.Enqueue(t.Context(), client, "slow")
		ended <- err
	}()
	timer := time.AfterFunc(time.Second, server.Cont)
	defer timer.Stop()
	if err := <-ended; err != nil {
		t.Errorf("got %v, want it stored in the end", err)
	}
	eventually(t, func() bool { return admin.Ping(t.Context()).Err() == nil })
	wantStored(t, admin, 2)
}

func TestNothingListens(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	client := newClient(t, rdb, stream.ClientConfig{RetryFor: 200 * time.Millisecond})
	began := time.Now()
	_, err := echo.Enqueue(t.Context(), client, "x")
	if !errors.Is(err, stream.ErrUnavailable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v, want ErrUnavailable and the address", err)
	}
	if took := time.Since(began); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("gave up after %v, want about RetryFor", took)
	}
	_, err = echo.Call(t.Context(), client, "x")
	if !errors.Is(err, stream.ErrUnavailable) {
		t.Errorf("call: got %v, want ErrUnavailable", err)
	}
}

func TestEnqueueWaitsForARedisThatComesBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.Client(t), stream.ClientConfig{})
	if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	ended := make(chan error, 1)
	go func() {
		_, err := echo.Enqueue(t.Context(), client, "y")
		ended <- err
	}()
	server.Restart() // empty
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
	wantStored(t, server.Client(t), 1)
}

func TestAContextThatIsOverStoresNothing(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	over, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the user left")
	cancel(cause)
	for range 100 {
		_, err := echo.Enqueue(over, client, "x")
		if !errors.Is(err, cause) || errors.Is(err, stream.ErrUnknownOutcome) {
			t.Fatalf("got %v, want the cause, and certainty", err)
		}
	}
	if n, err := echo.EnqueueAll(over, client, slices.Values([]string{"a", "b"})); n != 0 || !errors.Is(err, cause) {
		t.Errorf("enqueue all: got %d, %v", n, err)
	}
	wantStored(t, rdb, 0)
}

func TestWhoWaitsForItsTurnMayLeave(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.Client(t), stream.ClientConfig{})
	if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	first := make(chan error, 1)
	go func() {
		_, err := echo.Enqueue(t.Context(), client, "first")
		first <- err
	}()
	// Whoever is behind it is not on the way when its time is over. It may be this one that goes first: then nothing is certain.
	left := 0
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		_, err := echo.Enqueue(ctx, client, "behind")
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if !errors.Is(err, stream.ErrUnknownOutcome) {
			left++
		}
	}
	server.Cont()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if left < 19 {
		t.Errorf("%d of 20 left with certainty, want at least 19", left)
	}
	if got := length(t, server.Client(t), "wm:{q}:tasks"); got != int64(2+20-left) {
		t.Errorf("stored %d, want 2 and the %d in doubt", got, 20-left)
	}
}

// TestALoneCallerMayLeaveWhileRedisHangs holds what it takes to make calls in the goroutine of their caller: nothing there waits for as
// long as a read may take, and what was on its way is stored once.
func TestALoneCallerMayLeaveWhileRedisHangs(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]int{"with a context that is new": 0, "with one that is watched already": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaveWhileRedisHangs(t, before)
		})
	}
}

// leaveWhileRedisHangs makes some calls with a context, and ends it during the next.
func leaveWhileRedisHangs(t *testing.T, before int) {
	t.Helper()
	server := redistest.Start(t)
	admin := server.Client(t)
	client := newClient(t, server.Client(t, func(o *redis.Options) { o.ReadTimeout = time.Hour }), stream.ClientConfig{RetryFor: time.Hour})
	for range 2 { // the second by its caller
		if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	for range before {
		if _, err := echo.Enqueue(ctx, client, "x"); err != nil {
			t.Fatal(err)
		}
	}
	server.Stop()
	ended := make(chan error, 1)
	go func() {
		_, err := echo.Enqueue(ctx, client, "slow")
		ended <- err
	}()
	time.AfterFunc(50*time.Millisecond, leave) // it may be on its way then, or not yet
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that the context ended", err)
		}
	case <-time.After(soon):
		t.Error("it still waits")
	}
	server.Cont()
	if _, err := echo.Enqueue(t.Context(), client, "last"); err != nil {
		t.Error(err)
	}
	wantStored(t, admin, int64(before)+4)
}

func TestConnectionsEndWithTheirClient(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	connections := func() int { return strings.Count(admin.ClientList(t.Context()).Val(), "id=") }
	client := newClient(t, server.Client(t), stream.ClientConfig{})
	session, err := client.OpenSession(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = echo.Enqueue(t.Context(), client, "x"); err != nil {
		t.Fatal(err)
	}
	if err = client.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err = session.Send(t.Context(), stream.Task{Function: "echo"}); err != nil {
		t.Errorf("a session lives on: %v", err)
	}
	if err = session.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err = client.Store().Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return connections() == 1 }, "only the test is left")
}

func TestARefusalIsToldAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	if err := rdb.Set(t.Context(), "wm:{q}:tasks", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := echo.Enqueue(t.Context(), client, "x"); !redis.HasErrorPrefix(err, "WRONGTYPE") {
		t.Errorf("a strange key: got %v", err)
	}
	rdb.Del(t.Context(), "wm:{q}:tasks")
	rdb.ConfigSet(t.Context(), "maxmemory", "1")
	if _, err := echo.Enqueue(t.Context(), client, "x"); !errors.Is(err, stream.ErrQueueFull) {
		t.Errorf("memory is full: got %v, want ErrQueueFull", err)
	}
	rdb.ConfigSet(t.Context(), "maxmemory", "0")
	if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
		t.Errorf("with memory again: got %v", err)
	}
	wantStored(t, rdb, 1)
}

func TestAScriptFlushGoesUnnoticed(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	for range 5 {
		if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
			t.Fatal(err)
		}
	}
	wantStored(t, rdb, 5)
}

// TestACallGoesOnWhileOthersAreAnswered loses the answers of one lane for longer than RetryFor, while those of a session come.
func TestACallGoesOnWhileOthersAreAnswered(t *testing.T) {
	t.Parallel()
	const retryFor = 2 * time.Second // sessions look every second
	for name, c := range map[string]struct {
		silent time.Duration
		want   error
	}{
		"until they are answered again":  {retryFor * 5 / 2, nil},
		"for a few times RetryFor, then": {20 * retryFor, stream.ErrUnknownOutcome},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.StartTCP(t)
			proxy := redistest.NewProxy(t, server)
			session := openSession(t, newClient(t, proxy.Client(t), stream.ClientConfig{RetryFor: retryFor}))
			send(t, session, 1) // the server knows the script: otherwise that it does not is the answer that is lost
			began := time.Now()
			proxy.CutAfterRequest(func(request []byte) bool {
				return isCall(request) && !bytes.Contains(request, []byte(":context:")) && time.Since(began) < c.silent
			})
			_, err := session.Send(t.Context(), stream.Task{Function: "echo"})
			took := time.Since(began)
			if !errors.Is(err, c.want) || took < min(c.silent, 4*retryFor) || took > 8*retryFor {
				t.Errorf("got %v after %v, want %v", err, took, c.want)
			}
			wantStored(t, server.Client(t), 2)
		})
	}
}

// TestATaskOfWhoHasLeftStaysWhatItIs has others enqueue while a task is still on its way whose caller has left.
func TestATaskOfWhoHasLeftStaysWhatItIs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	direct, proxy := server.Client(t), redistest.NewProxy(t, server)
	client, others := newClient(t, proxy.Client(t), stream.ClientConfig{}), newClient(t, direct, stream.ClientConfig{})
	elsewhere := stream.Func[string, string]{Name: "echo", Queue: "elsewhere"}
	if _, err := echo.Enqueue(t.Context(), client, "first"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var open atomic.Bool
	proxy.CutBeforeRequest(func(request []byte) bool {
		mine := bytes.Contains(request, []byte("mine")) && !open.Load()
		if mine {
			cancel()
		}
		return mine
	})
	if _, err := echo.Enqueue(ctx, client, "mine"); !errors.Is(err, stream.ErrUnknownOutcome) {
		t.Fatalf("got %v, want ErrUnknownOutcome", err)
	}
	for range 20 {
		if _, err := elsewhere.Enqueue(t.Context(), others, "none"); err != nil {
			t.Fatal(err)
		}
	}
	open.Store(true)
	eventually(t, func() bool { return length(t, direct, "wm:{q}:tasks") == 2 }, "the task arrives")
	if text := fmt.Sprint(direct.XRange(t.Context(), "wm:{q}:tasks", "-", "+").Val()); !strings.Contains(text, "mine") {
		t.Errorf("stored %s, want first and mine", text)
	}
}
