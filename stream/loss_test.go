package stream_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// held is a connection whose answers wait from the moment that a word was written.
type held struct {
	net.Conn
	word    []byte
	release chan struct{}
	waits   atomic.Bool
}

func (c *held) Write(b []byte) (int, error) {
	if bytes.Contains(b, c.word) {
		c.waits.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *held) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.waits.Load() {
		<-c.release
	}
	return n, err
}

func TestATaskIsStoredAgainThatWasLostWhileItsAnswerWasOnItsWay(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string][]any{
		"all data":         {"flushall"},
		"but not the lane": {"eval", "return redis.call('del', 'wm:{q}:tasks', unpack(redis.call('keys', 'wm:{q}:reply:*')))", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			admin := server.Client(t)
			release := make(chan struct{})
			rdb := server.Client(t, func(o *redis.Options) {
				o.ReadTimeout = soon
				o.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
					c, err := (&net.Dialer{}).DialContext(ctx, server.Network, server.Addr)
					return &held{Conn: c, word: []byte("slow answer"), release: release}, err
				}
			})
			core, logs := observer.New(zap.InfoLevel)
			store, err := stream.NewStore(rdb, stream.Config{Logger: zap.New(core)})
			if err != nil {
				t.Fatal(err)
			}
			client, err := stream.NewClient(store, stream.ClientConfig{})
			if err != nil {
				t.Fatal(err)
			}
			session := openSession(t, client)
			send(t, session, 1)
			stored := make(chan error)
			go func() {
				_, err := session.Send(t.Context(), stream.Task{Function: "echo", Payload: []byte("slow answer")})
				stored <- err
			}()
			eventually(t, func() bool { return length(t, admin, "wm:{q}:tasks") == 2 }, "both are stored")
			if err := admin.Do(t.Context(), lose...).Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return logs.FilterMessageSnippet("store tasks again").Len() == 1 }, "the first one is stored again")
			close(release)
			if err := <-stored; err != nil {
				t.Fatal(err)
			}
			const before = 4 * time.Second // the audit, which takes two looks five seconds apart
			redistest.Eventually(t, before, func() bool { return length(t, admin, "wm:{q}:tasks") == 2 }, "the second one is stored again")
		})
	}
}

func TestARedisThatHangsDoesNotHoldClose(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	const queues = 3
	ended := make(chan error, queues)
	for _, queue := range []string{"a", "b", "c"} {
		go func() {
			_, err := stream.Func[string, string]{Name: "echo", Queue: queue}.Call(t.Context(), client, "x")
			ended <- err
		}()
		eventually(t, func() bool { return rdb.XLen(t.Context(), "wm:{"+queue+"}:tasks").Val() == 1 }, "a call waits")
	}
	session := openSession(t, client)
	server.Stop()
	t.Cleanup(server.Cont)
	began := time.Now()
	both := make(chan error)
	go func() { both <- session.Close(t.Context()) }()
	for _, err := range []error{client.Close(t.Context()), <-both} {
		if err == nil {
			t.Error("closed without an error, and Redis did not answer")
		}
	}
	const most = 6 * time.Second
	if took := time.Since(began); took > most {
		t.Errorf("took %v, want 5s at most", took)
	}
	for range queues {
		if err := <-ended; !errors.Is(err, stream.ErrClosed) {
			t.Errorf("call: %v, want ErrClosed", err)
		}
	}
}

func TestTasksRemovedByHandAreStoredAgainWhereverTheyAre(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options []stream.Option
		lost    int // replies of the enqueue
		key     string
	}{
		"a lost answer did not tell where": {nil, 1, "wm:{q}:tasks"},
		"due later":                        {[]stream.Option{stream.After(time.Hour)}, 0, "wm:{q}:due"},
		"due later, and a lost answer":     {[]stream.Option{stream.After(time.Hour)}, 1, "wm:{q}:due"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.StartTCP(t)
			admin := server.Client(t)
			proxy := redistest.NewProxy(t, server)
			client := newClient(t, proxy.Client(t), stream.ClientConfig{})
			left := c.lost
			proxy.CutAfterRequest(func(request []byte) bool {
				cut := left > 0 && bytes.Contains(request, []byte("the input"))
				if cut {
					left--
				}
				return cut
			})
			ctx, leave := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				_, err := echo.Call(ctx, client, "the input", c.options...)
				done <- err
			}()
			there := func() bool { return admin.Exists(t.Context(), c.key).Val() == 1 }
			eventually(t, func() bool { return there() && proxy.Dropped() == c.lost }, "it is stored")
			if err := admin.Del(t.Context(), c.key, "wm:{q}:body").Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, there, "it is stored again")
			leave()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOutcomesThatComeAreNoOutage(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	proxy := redistest.NewProxy(t, server)
	const retryFor = 500 * time.Millisecond
	session := openSession(t, newClient(t, proxy.Client(t), stream.ClientConfig{RetryFor: retryFor}))
	startGroup(t, server.Client(t))
	startWorker(t, server.Client(t), answer)
	proxy.CutBeforeRequest(func(request []byte) bool { return bytes.Contains(request, []byte(":context:")) }) // each look of the session
	for began := time.Now(); time.Since(began) < 6*retryFor; {
		sent := send(t, session, 1)
		for len(sent) > 0 {
			outcomes, err := session.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range outcomes {
				delete(sent, o.TaskID)
			}
		}
	}
	proxy.CutBeforeRequest(nil)
}
