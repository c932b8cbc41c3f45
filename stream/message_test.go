package stream_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// TestWhatAPersonSees holds the words of errors: they name what is wrong, and what to do.
func TestWhatAPersonSees(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{MaxPayload: 10})
	fn := func(f stream.Func[string, string], options ...stream.Option) func() error {
		return func() error {
			_, err := f.Enqueue(t.Context(), client, "x", options...)
			return err
		}
	}
	for name, c := range map[string]struct {
		do   func() error
		want []string
	}{
		"a queue with a strange name": {
			fn(stream.Func[string, string]{Name: "f", Queue: "a b"}),
			[]string{`stream: enqueue f: stream: queue name "a b": use 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit`},
		},
		"a function without a name":       {fn(stream.Func[string, string]{Queue: "q"}), []string{`function name "": use 1 to 128 letters`}},
		"a function with negative trials": {fn(stream.Func[string, string]{Name: "f", MaxAttempts: -1}), []string{"attempts -1: use 1 to"}},
		"a timeout of ages":               {fn(stream.Func[string, string]{Name: "f", Timeout: math.MaxInt64}), []string{"timeout 2562047h47m16.854775807s: use 1ms to"}},
		"all wrong options at once": {
			fn(echo, stream.Unique("", time.Hour), stream.Unique("k", 0), stream.Header("a b", ""), stream.Replicas(-1), stream.MaxAttempts(-1), stream.Timeout(-1), stream.Timeout(time.Microsecond)),
			[]string{
				`Unique("", 1h0m0s): give it a key, and a time of at least 1ms`, `Unique("k", 0s)`, `header name "a b"`, "Replicas(-1): use 0 or more",
				"MaxAttempts(-1): use 1 or more", "Timeout(-1ns): use 1ms or more", "Timeout(1µs)",
			},
		},
		"a payload that is too large": {
			func() error {
				_, err := echo.Enqueue(t.Context(), client, "12345678901")
				return err
			},
			[]string{"stream: enqueue echo: the payload is too large: 13 bytes, and ClientConfig.MaxPayload is 10: store it elsewhere and pass where it is"},
		},
		"an input that JSON cannot take": {
			func() error {
				_, err := stream.Func[chan int, string]{Name: "f"}.Enqueue(t.Context(), client, nil)
				return err
			},
			[]string{"stream: enqueue f: encode input chan int: json: unsupported type"},
		},
		"an input that is not raw": {
			func() error {
				_, err := stream.Func[int, string]{Name: "f", Codec: stream.Raw}.Enqueue(t.Context(), client, 1)
				return err
			},
			[]string{"the raw codec takes []byte and string, not int"},
		},
		"a result that is not raw": {
			func() error {
				_, err := stream.Func[string, int]{Name: "f", Codec: stream.Raw}.DecodeOut(nil)
				return err
			},
			[]string{"decode result int: the raw codec gives *[]byte and *string, not *int"},
		},
		"options that do not fit a session": {
			func() error {
				_, err := echo.Task(client, "x", stream.After(1))
				return err
			},
			[]string{"options After, At, Unique, Idempotent, Keep and Replicas do not fit a task whose outcome is awaited: enqueue it instead"},
		},
		"all that is wrong with a client": {
			func() error {
				_, err := stream.NewClient(client.Store(), stream.ClientConfig{MaxPayload: 65 << 20, MaxQueue: -1, RetryFor: -1, LaneTTL: 1, ReplyTTL: 1})
				return err
			},
			[]string{
				"stream: new client: MaxPayload 68157440: use 1 to 67108864 bytes, or 0 for 1 MiB", "MaxQueue -1: use 1 or more, or 0 for no limit",
				"RetryFor -1ns: use a positive time, or 0 for 10s", "LaneTTL 1ns: use at least 1m, or 0 for 24h", "ReplyTTL 1ns: use at least 3s, or 0 for 1m",
			},
		},
		"a client without a store": {
			func() error {
				_, err := stream.NewClient(nil, stream.ClientConfig{})
				return err
			},
			[]string{"stream: new client: store is nil: make it with NewStore"},
		},
		"a store without a client": {
			func() error {
				_, err := stream.NewStore(nil, stream.Config{})
				return err
			},
			[]string{"stream: new store: client is nil: give it a *redis.Client or *redis.ClusterClient"},
		},
		"all that is wrong with a store": {
			func() error {
				_, err := stream.NewStore(rdb, stream.Config{Prefix: "{x}", Group: "*"})
				return err
			},
			[]string{`stream: new store: prefix "{x}": use 1 to 64 letters`, `group name "*": use 1 to 128`},
		},
		"a ring of servers": {
			func() error {
				ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
				_, err := stream.NewStore(ring, stream.Config{})
				return errors.Join(err, ring.Close())
			},
			[]string{"stream: new store: conn: a client of type *redis.Ring: use *redis.Client (also for Sentinel) or *redis.ClusterClient"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.do()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			}
		})
	}
	t.Cleanup(func() {
		if n := rdb.DBSize(t.Context()).Val(); n != 0 {
			t.Errorf("%d keys, want none: all was refused", n)
		}
	})
}

func TestPasswordsAreNeverShown(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "the-right-one")
	rdb := server.Client(t, func(o *redis.Options) { o.Password = "the-wrong-one" })
	client := newClient(t, rdb, stream.ClientConfig{RetryFor: 200 * time.Millisecond})
	_, enqueueErr := echo.Enqueue(t.Context(), client, "x")
	_, callErr := echo.Call(t.Context(), client, "x")
	for _, err := range []error{enqueueErr, callErr} {
		if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "-one") {
			t.Errorf("got %v, want the server's WRONGPASS and no password", err)
		}
	}
}

func TestATaskErrorIsALineForAPerson(t *testing.T) {
	t.Parallel()
	failed := &stream.TaskError{Function: "f", TaskID: "T", Attempt: 3, Reason: "failed", Message: "no luck"}
	if got, want := failed.Error(), "f (task T, attempt 3): no luck"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	failed.Reason = "crash loop"
	if got, want := failed.Error(), "f (task T, attempt 3): crash loop: no luck"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if errors.Is(failed, stream.ErrDuplicate) {
		t.Error("a crash loop is ErrDuplicate")
	}
}

func TestIDsGoUp(t *testing.T) {
	t.Parallel()
	last := ""
	for range 100000 {
		id := stream.NewID()
		if id <= last || len(id) != 26 {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
}
