package conn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/redistest"
)

// TestErrorsAreSorted makes each error with a real server, or takes it from where it comes from.
func TestErrorsAreSorted(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	rdb := server.Client(t)
	for _, command := range [][]any{
		{"acl", "setuser", "reader", "on", ">pass", "~*", "+get", "+hello"},
		{"acl", "setuser", "default", "on", ">right"},
		{"auth", "default", "right"},
	} {
		if err := rdb.Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(command, err)
		}
	}
	as := func(user, password string) *redis.Client {
		return server.Client(t, func(o *redis.Options) { o.Username, o.Password, o.MaxRetries = user, password, -1 })
	}
	admin := as("default", "right")
	full := redistest.Start(t, "--maxmemory", "1").Client(t)
	refused := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	unknown := redis.NewClient(&redis.Options{Addr: "no-such-host.invalid:1", MaxRetries: -1, DialerRetries: 1})
	one := server.Client(t, func(o *redis.Options) {
		o.Password, o.PoolSize, o.PoolTimeout, o.MaxRetries = "right", 1, 20*time.Millisecond, -1
	})
	taken := one.Conn()
	if err := taken.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(taken.Close(), refused.Close(), unknown.Close()) })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		err  error
		tell string // of: notsent nogroup unblocked full auth done
	}{
		"no password":           {as("", "").Get(t.Context(), "k").Err(), "notsent auth"},
		"a wrong password":      {as("", "wrong").Get(t.Context(), "k").Err(), "notsent auth"},
		"a command not allowed": {as("reader", "pass").Set(t.Context(), "k", 1, 0).Err(), "notsent auth"},
		"no group": {admin.XReadGroup(t.Context(), &redis.XReadGroupArgs{
			Group: "g", Consumer: "c", Streams: []string{"none", ">"}, Block: -1,
		}).Err(), "notsent nogroup"},
		"memory is full":     {full.Set(t.Context(), "k", 1, 0).Err(), "notsent full"},
		"a syntax error":     {admin.Do(t.Context(), "set").Err(), "notsent"},
		"nobody listens":     {refused.Get(t.Context(), "k").Err(), "notsent"},
		"no such host":       {unknown.Get(t.Context(), "k").Err(), "notsent"},
		"no free connection": {one.Get(t.Context(), "k").Err(), "notsent"},
		"nothing there":      {redis.Nil, ""},
		"connection lost":    {io.EOF, ""},
		"connection reset":   {&net.OpError{Op: "read", Err: errors.New("reset")}, ""},
		"write failed":       {&net.OpError{Op: "write", Err: errors.New("broken pipe")}, ""},
		"read timed out":     {os.ErrDeadlineExceeded, ""},
		"context over":       {admin.Get(over, "k").Err(), "done"},
		"no error":           {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, q := range []struct {
				name string
				is   func(error) bool
			}{
				{"notsent", conn.NotSent},
				{"nogroup", conn.IsNoGroup},
				{"unblocked", conn.IsUnblocked},
				{"full", conn.IsFull},
				{"auth", conn.IsAuth},
				{"done", conn.IsDone},
			} {
				if q.is(c.err) {
					got = append(got, q.name)
				}
			}
			if want := strings.Fields(c.tell); !slices.Equal(got, want) {
				t.Errorf("%v (%T): got %v, want %v", c.err, c.err, got, want)
			}
		})
	}
}

func TestAReaderThatCannotConnectHasNotSent(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	reader := newReader(t, rdb, time.Second)
	_, err := reader.Read(t.Context(), "k", "0", 1, 0)
	if !conn.NotSent(err) || !strings.Contains(err.Error(), "connect to 127.0.0.1:1") {
		t.Errorf("got %v, want an error that names the address and says that nothing was sent", err)
	}
}
