package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

func TestCall(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	startWorker(t, rdb, func(task stream.Task) ([]byte, error) {
		switch string(task.Payload) {
		case `"fail"`:
			return nil, errHandler
		case `"strange"`:
			return []byte("{"), nil
		}
		return task.Payload, nil
	})
	var callers sync.WaitGroup
	for i := range 50 {
		callers.Go(func() {
			in := fmt.Sprint(i)
			if out, err := echo.Call(t.Context(), client, in); err != nil || out != in {
				t.Errorf("call %s: got %q, %v", in, out, err)
			}
		})
	}
	callers.Wait()
	_, err := echo.Call(t.Context(), client, "fail")
	failure, ok := errors.AsType[*stream.TaskError](err)
	if !ok || failure.Function != "echo" || failure.Message != errHandler.Error() || failure.Attempt != 1 || failure.Reason != wire.ReasonFailed || len(failure.TaskID) != 26 {
		t.Errorf("a failure: got %#v, %v", failure, err)
	}
	if _, err = echo.Call(t.Context(), client, "strange"); err == nil || !strings.Contains(err.Error(), "decode result string") {
		t.Errorf("a result of another type: got %v", err)
	}
	eventually(t, func() bool {
		streams := rdb.Keys(t.Context(), "wm:{q}:reply:*").Val()
		return len(streams) == 1 && length(t, rdb, streams[0]) == 0
	}, "one reply stream serves all calls, and is trimmed as it is read")
}

func TestACallerThatLeavesCancelsItsTask(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := echo.Call(ctx, client, "x", stream.Unique("k", time.Hour))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "gave up waiting for task ") {
		t.Errorf("got %v, want the error of its context", err)
	}
	wantStored(t, rdb, 0)
	if locks := rdb.Keys(t.Context(), "wm:{q}:unique:*").Val(); len(locks) != 0 {
		t.Errorf("locks left: %v", locks)
	}
}

func TestACallerThatLeavesWhileItsTaskIsOnItsWayCancelsItOnceItArrives(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	call := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err := echo.Call(ctx, client, "x")
		return err
	}
	if err := call(200 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) { // opens the session
		t.Fatal(err)
	}
	server.Stop()
	if err := call(100 * time.Millisecond); !errors.Is(err, stream.ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnknownOutcome: Redis was frozen", err)
	}
	server.Cont()
	eventually(t, func() bool { return rdb.HGet(t.Context(), "wm:{q}:counts", "cancelled").Val() == "2" }, "both tasks are cancelled")
	wantStored(t, rdb, 0)
}

func TestCallsOfOneKeyAreDuplicates(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	id, err := echo.Enqueue(t.Context(), client, "x", stream.Unique("k", time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = echo.Call(t.Context(), client, "y", stream.Unique("k", time.Hour)); !errors.Is(err, stream.ErrDuplicate) || !strings.Contains(err.Error(), id) {
		t.Errorf("got %v, want ErrDuplicate and the ID of the first", err)
	}
	wantStored(t, rdb, 1)
}

func TestADuplicateThatAppearsWhenRedisLostItsDataEndsTheCall(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	ended := make(chan error, 1)
	go func() {
		_, err := echo.Call(t.Context(), client, "x", stream.Unique("k", time.Hour))
		ended <- err
	}()
	eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") == 1 })
	lock := rdb.Keys(t.Context(), "wm:{q}:unique:*").Val()[0]
	pipe := rdb.TxPipeline()
	pipe.Do(t.Context(), "flushall")
	pipe.Set(t.Context(), lock, stream.NewID(), time.Hour)
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, stream.ErrDuplicate) {
			t.Errorf("got %v, want ErrDuplicate", err)
		}
	case <-time.After(soon):
		t.Error("the call waits for ever")
	}
}

func TestClosingAClientEndsItsCalls(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	ended := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := echo.Call(t.Context(), client, "x")
			ended <- err
		}()
	}
	eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") == 3 })
	if err := client.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for range 3 {
		if err := <-ended; !errors.Is(err, stream.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
	wantStored(t, rdb, 0)
	if keys := rdb.Keys(t.Context(), "wm:{q}:reply:*").Val(); len(keys) != 0 {
		t.Errorf("reply streams left: %v", keys)
	}
	_, callErr := echo.Call(t.Context(), client, "x")
	_, enqueueErr := echo.Enqueue(t.Context(), client, "x")
	_, openErr := client.OpenSession(t.Context(), "q")
	for _, err := range []error{callErr, enqueueErr, openErr} {
		if !errors.Is(err, stream.ErrClosed) {
			t.Errorf("after Close: got %v, want ErrClosed", err)
		}
	}
	if err := client.Close(t.Context()); err != nil {
		t.Errorf("close twice: %v", err)
	}
}

// TestCallsSurviveFaults loses replies of both sides and resets connections under way.
func TestCallsSurviveFaults(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	front, back := redistest.NewProxy(t, server), redistest.NewProxy(t, server)
	client := newClient(t, front.Client(t), stream.ClientConfig{})
	worker := startWorker(t, back.Client(t), answer)
	var n atomic.Int64
	lose := func(request []byte) bool {
		return (bytes.Contains(request, []byte("xread")) || bytes.Contains(request, []byte("evalsha"))) && n.Add(1)%15 == 0
	}
	front.CutAfterRequest(lose)
	back.CutAfterRequest(lose)
	var callers sync.WaitGroup
	for i := range 10 {
		callers.Go(func() {
			for j := range 20 {
				in := fmt.Sprint(i, j)
				if out, err := echo.Call(t.Context(), client, in); err != nil || out != in {
					t.Errorf("call %s: got %q, %v", in, out, err)
				}
				if i == 0 && j%5 == 0 {
					front.ResetAll()
					back.ResetAll()
				}
			}
		})
	}
	callers.Wait()
	t.Logf("200 calls, %d runs, %d lost replies", worker.runs.Load(), front.Dropped()+back.Dropped())
	if front.Dropped()+back.Dropped() == 0 {
		t.Error("no reply was lost")
	}
	wantStored(t, server.Client(t), 0)
}
