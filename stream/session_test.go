package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// TestEachTaskOfASessionHasOneOutcome does something to Redis while tasks are outstanding, M5 for most of it.
func TestEachTaskOfASessionHasOneOutcome(t *testing.T) {
	t.Parallel()
	const tasks = 300
	for name, harm := range map[string]func(t *testing.T, server *redistest.Server, rdb *redis.Client){
		"nothing": func(*testing.T, *redistest.Server, *redis.Client) {},
		"all data is gone": func(t *testing.T, _ *redistest.Server, rdb *redis.Client) {
			t.Helper()
			flush(t, rdb)
		},
		"all data is gone twice": func(t *testing.T, _ *redistest.Server, rdb *redis.Client) {
			t.Helper()
			flush(t, rdb)
			eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") > 0 }, "tasks are stored again")
			flush(t, rdb)
		},
		"redis comes back empty": func(_ *testing.T, server *redistest.Server, _ *redis.Client) { server.Restart() },
		"the reply stream is deleted": func(t *testing.T, _ *redistest.Server, rdb *redis.Client) {
			t.Helper()
			rdb.Del(t.Context(), rdb.Keys(t.Context(), "wm:{q}:reply:*").Val()...)
		},
		"the reply stream is deleted with outcomes in it": func(t *testing.T, _ *redistest.Server, rdb *redis.Client) {
			t.Helper()
			reply := rdb.Keys(t.Context(), "wm:{q}:reply:*").Val()[0]
			pipe := rdb.TxPipeline() // as if a failover had taken them along: the tasks are done, the outcomes unread
			pipe.Do(t.Context(), "del", reply, "wm:{q}:tasks")
			pipe.Do(t.Context(), "xgroup", "create", "wm:{q}:tasks", "workers", "0", "mkstream")
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"the tasks are trimmed away": func(t *testing.T, _ *redistest.Server, rdb *redis.Client) {
			t.Helper()
			rdb.XTrimMaxLen(t.Context(), "wm:{q}:tasks", 0)
		},
		"scripts are forgotten, connections killed": func(t *testing.T, _ *redistest.Server, rdb *redis.Client) {
			t.Helper()
			rdb.ScriptFlush(t.Context())
			rdb.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			rdb := server.Client(t)
			client := newClient(t, rdb, stream.ClientConfig{})
			session := openSession(t, client)
			sent := send(t, session, tasks)
			harm(t, server, rdb)
			startWorker(t, rdb, answer)
			wantEchoes(t, sent, collect(t, session, tasks))
			eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") == 0 }, "the queue is empty in the end")
		})
	}
}

func TestDataLostInTheMiddleOfTheWork(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	var losses atomic.Int64
	client := newClient(t, rdb, stream.ClientConfig{OnLoss: func(string) { losses.Add(1) }})
	session := openSession(t, client)
	var handled atomic.Int64
	worker := startWorker(t, rdb, func(task stream.Task) ([]byte, error) {
		if handled.Add(1) == 450 { // of 1,000; some are done, some run, some wait
			flush(t, rdb)
		}
		return task.Payload, nil
	})
	wantEchoes(t, send(t, session, 1000), collect(t, session, 1000))
	if worker.runs.Load() < 1000 || losses.Load() != 1 {
		t.Errorf("%d runs, told %d losses, want 1", worker.runs.Load(), losses.Load())
	}
}

func TestLostRepliesOfReadsAndResetsAreSurvived(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	front, back := redistest.NewProxy(t, server), redistest.NewProxy(t, server)
	client := newClient(t, front.Client(t), stream.ClientConfig{})
	session := openSession(t, client)
	var n atomic.Int64
	lose := func(request []byte) bool { return bytes.Contains(request, []byte("xread")) && n.Add(1)%3 == 0 }
	front.CutAfterRequest(lose)
	back.CutAfterRequest(lose)
	startWorker(t, back.Client(t), answer)
	for range 5 {
		sent := send(t, session, 200)
		front.ResetAll()
		wantEchoes(t, sent, collect(t, session, 200))
		back.ResetAll()
	}
	if front.Dropped() == 0 || back.Dropped() == 0 {
		t.Errorf("lost %d and %d replies, want some of each", front.Dropped(), back.Dropped())
	}
}

// TestLostTasksAreStoredAgainPastTheLimit has others fill the queue when Redis has lost its data: what was admitted once stays so.
func TestLostTasksAreStoredAgainPastTheLimit(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	session := openSession(t, newClient(t, rdb, stream.ClientConfig{MaxQueue: 3}))
	sent := send(t, session, 3)
	if n, err := session.Send(t.Context(), stream.Task{Function: "echo"}); n != 0 || !errors.Is(err, stream.ErrQueueFull) {
		t.Errorf("a fourth: got %d, %v, want ErrQueueFull", n, err)
	}
	other := newClient(t, server.Client(t), stream.ClientConfig{MaxQueue: 3})
	flush(t, rdb)
	for range 3 {
		if _, err := echo.Enqueue(t.Context(), other, "x"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") == 6 }, "the three are stored again")
	startWorker(t, rdb, answer)
	wantEchoes(t, sent, collect(t, session, 3))
}

func TestCancelAllGivesOutcomesToWhatHasNotStarted(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	session := openSession(t, newClient(t, rdb, stream.ClientConfig{}))
	sent := send(t, session, 250)
	if n, err := session.CancelAll(t.Context()); err != nil || n != 250 {
		t.Fatalf("got %d, %v, want 250", n, err)
	}
	wantStored(t, rdb, 0)
	for id, o := range collect(t, session, 250) {
		if o.Kind != wire.KindFailure || o.Failure.Reason != wire.ReasonCancelled || o.Failure.Function != "echo" || sent[id].ID != id {
			t.Fatalf("task %s: got %c %+v, want cancelled", id, o.Kind, o.Failure)
		}
	}
}

func TestASessionTakesItsKeysAlong(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	session := openSession(t, newClient(t, rdb, stream.ClientConfig{}))
	if value, err := session.Get(t.Context(), "name"); err != nil || value != nil {
		t.Errorf("before: got %q, %v, want nil", value, err)
	}
	if err := session.Set(t.Context(), "name", []byte("value\x00")); err != nil {
		t.Fatal(err)
	}
	if value, err := session.Get(t.Context(), "name"); err != nil || string(value) != "value\x00" {
		t.Errorf("got %q, %v", value, err)
	}
	if err := session.Set(t.Context(), "big", make([]byte, 1<<20+1)); !errors.Is(err, stream.ErrPayloadTooLarge) {
		t.Errorf("a big value: got %v, want ErrPayloadTooLarge", err)
	}
	send(t, session, 5)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := session.Close(over); err != nil { // a context that has ended is no excuse
		t.Errorf("close: %v", err)
	}
	wantStored(t, rdb, 0)
	if keys := rdb.Keys(t.Context(), "*"+session.ID()).Val(); len(keys) != 0 {
		t.Errorf("keys left: %v", keys)
	}
	if _, err := session.Send(t.Context(), stream.Task{Function: "echo"}); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("send after Close: got %v, want ErrClosed", err)
	}
	if _, err := session.Next(t.Context()); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("next after Close: got %v, want ErrClosed", err)
	}
	if err := session.Close(t.Context()); err != nil {
		t.Errorf("close twice: %v", err)
	}
}

func TestASessionRemovesItsKeysInSpiteOfLostConnections(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	session := openSession(t, newClient(t, proxy.Client(t), stream.ClientConfig{}))
	const lost = 10
	var cut atomic.Int64
	proxy.CutBeforeRequest(func(request []byte) bool { return bytes.Contains(request, []byte("\ndel\r\n")) && cut.Add(1) <= lost })
	if err := session.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if cut.Load() <= lost {
		t.Fatalf("%d removals were sent, want more than %d", cut.Load(), lost)
	}
	if keys := server.Client(t).Keys(t.Context(), "*session*").Val(); len(keys) != 0 {
		t.Errorf("keys left: %v", keys)
	}
}

func TestAClientThatDiedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	rdb := server.Client(t)
	session := openSession(t, newClient(t, proxy.Client(t), stream.ClientConfig{ReplyTTL: 3 * time.Second, RetryFor: time.Second}))
	if err := session.Set(t.Context(), "name", []byte("value")); err != nil {
		t.Fatal(err)
	}
	send(t, session, 3)
	left := func() int64 {
		return rdb.Exists(t.Context(), "wm:{q}:reply:"+session.ID(), "wm:{q}:context:"+session.ID()).Val()
	}
	if left() != 2 {
		t.Error("no reply stream or context")
	}
	proxy.Refuse(true) // as a process that is gone
	proxy.ResetAll()
	startWorker(t, rdb, answer)
	eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") == 0 && left() == 0 }, "the keys expire, the tasks are done")
	if _, err := session.Next(t.Context()); !errors.Is(err, stream.ErrUnavailable) {
		if err != nil {
			t.Errorf("got %v, want the outcomes that were in, or ErrUnavailable", err)
		}
	}
}

func TestAFullRedisKeepsSessionsAlive(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{ReplyTTL: 3 * time.Second})
	session := openSession(t, client)
	if err := session.Set(t.Context(), "name", []byte("value")); err != nil {
		t.Fatal(err)
	}
	sent := send(t, session, 10)
	startGroup(t, rdb)
	rdb.ConfigSet(t.Context(), "maxmemory", "1")
	began := time.Now()
	eventually(t, func() bool { return time.Since(began) > 4*time.Second }) // longer than ReplyTTL
	if n := rdb.Exists(t.Context(), "wm:{q}:reply:"+session.ID(), "wm:{q}:context:"+session.ID()).Val(); n != 2 {
		t.Errorf("%d of the session's two keys are left", n)
	}
	if n, err := session.Send(t.Context(), stream.Task{Function: "echo"}); n != 0 || !errors.Is(err, stream.ErrQueueFull) {
		t.Errorf("got %d, %v, want ErrQueueFull", n, err)
	}
	worker := startWorker(t, rdb, answer)
	wantEchoes(t, sent, collect(t, session, 10))
	if worker.runs.Load() != 10 {
		t.Errorf("%d runs, want 10: the session was not kept", worker.runs.Load())
	}
}

func startGroup(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	if err := rdb.XGroupCreateMkStream(t.Context(), "wm:{q}:tasks", "workers", "0").Err(); err != nil {
		t.Fatal(err)
	}
}

func TestSendRefusesWhatIsNoTask(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	session := openSession(t, newClient(t, rdb, stream.ClientConfig{MaxPayload: 10}))
	fine := stream.Task{Function: "echo"}
	for want, bad := range map[string]stream.Task{
		`task 1: function name ""`:                   {},
		`task 1: task ID "x": use a ULID`:            {ID: "x", Function: "echo"},
		"task 1: a uniqueness key does not fit":      {Function: "echo", Unique: "hash"},
		"task 1 has 11 bytes":                        {Function: "echo", Payload: make([]byte, 11)},
		`task 1: header name "a b": use 1 to 128 le`: {Function: "echo", Headers: map[string]string{"a b": ""}},
	} {
		n, err := session.Send(t.Context(), fine, bad, fine)
		if n != 1 || err == nil || !strings.HasPrefix(err.Error(), "stream: send to queue q: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %d, %v, want 1 stored, and %s", n, err, want)
		}
	}
	wantStored(t, rdb, 5)
	if got := session.Outstanding(); got != 5 {
		t.Errorf("outstanding: %d, want 5", got)
	}
}

func TestStrangersInTheReplyStreamDoNoHarm(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	session := openSession(t, newClient(t, rdb, stream.ClientConfig{}))
	sent := send(t, session, 1)
	key := "wm:{q}:reply:" + session.ID()
	for id := range sent {
		for _, values := range [][]string{{"hello", "world"}, {id, ""}, {id, "?"}, {id, "-{"}, {stream.NewID(), "+x"}} {
			if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	startWorker(t, rdb, answer)
	wantEchoes(t, sent, collect(t, session, 1))
}

func TestOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 2)
	rdb := cluster.Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	startWorker(t, cluster.Client(t), answer)
	if out, err := echo.Call(t.Context(), client, "hello"); err != nil || out != "hello" {
		t.Errorf("call: got %q, %v", out, err)
	}
	session := openSession(t, client)
	if err := session.Set(t.Context(), "a", []byte("b")); err != nil {
		t.Error(err)
	}
	sent := send(t, session, 100)
	wantEchoes(t, sent, collect(t, session, 100))
	for i := range 10 { // queues of both servers
		f := stream.Func[string, string]{Name: "f", Queue: fmt.Sprint("q", i)}
		if _, err := f.Enqueue(t.Context(), client, "x", stream.Unique("k", time.Hour), stream.After(time.Hour)); err != nil {
			t.Error(err)
		}
		if n, err := f.EnqueueAll(t.Context(), client, func(yield func(string) bool) { _ = yield("a") && yield("b") }); err != nil || n != 2 {
			t.Errorf("got %d, %v", n, err)
		}
	}
	if _, err := echo.Enqueue(t.Context(), client, "x", stream.Replicas(1)); !errors.Is(err, stream.ErrNotReplicated) {
		t.Errorf("replicas: got %v, want ErrNotReplicated", err)
	}
	if queues, err := client.Store().Queues(t.Context()); err != nil || len(queues) != 11 {
		t.Errorf("queues: %v, %v", queues, err)
	}
}
