package conn_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/redistest"
)

func newLine(t *testing.T, from *redis.Client) *conn.Line {
	t.Helper()
	line, err := conn.NewLine(from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	return line
}

// wantAnswer holds what one command is answered.
func wantAnswer(t *testing.T, line *conn.Line, want any, command ...any) {
	t.Helper()
	answers, err := line.Call(t.Context(), command)
	if err != nil || len(answers) != 1 || answers[0] != want {
		t.Errorf("%v: got %#v, %v, want %#v", command, answers, err, want)
	}
}

func TestALineLogsInLikeItsClient(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "secret")
	admin := server.Client(t, func(o *redis.Options) { o.Password, o.DB = "secret", 5 })
	if err := admin.Do(t.Context(), "acl", "setuser", "clerk", "on", ">word", "~*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	for name, protocol := range map[string]int{"RESP2": 2, "RESP3": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := newLine(t, server.Client(t, func(o *redis.Options) { o.Username, o.Password, o.DB, o.Protocol = "clerk", "word", 5, protocol }))
			wantAnswer(t, line, "clerk", "acl", "whoami")
			wantAnswer(t, line, "OK", "set", name, "v")
			if got := admin.Get(t.Context(), name).Val(); got != "v" {
				t.Errorf("got %q: another database?", got)
			}
			if err := admin.ClientKillByFilter(t.Context(), "user", "clerk").Err(); err != nil {
				t.Fatal(err)
			}
			redistest.Eventually(t, 10*time.Second, func() bool { // the call that meets the end of the connection fails
				answers, err := line.Call(t.Context(), []any{"acl", "whoami"}, []any{"get", name})
				return err == nil && answers[0] == "clerk" && answers[1] == "v"
			}, "the next connection logs in as well")
		})
	}
	line := newLine(t, server.Client(t, func(o *redis.Options) { o.Password = "wrong" }))
	if _, err := line.Call(t.Context(), []any{"ping"}); !conn.NotSent(err) || !conn.IsAuth(err) {
		t.Errorf("a wrong password: got %v, want that, and nothing sent", err)
	}
}

func TestALineThroughTLS(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go relay(listener, server)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	from := redis.NewClient(&redis.Options{Addr: listener.Addr().String(), TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	t.Cleanup(func() { _ = from.Close() })
	line := newLine(t, from)
	wantAnswer(t, line, "OK", "set", "k", "v")
	wantAnswer(t, line, "v", "get", "k")
	if got := server.Client(t).Get(t.Context(), "k").Val(); got != "v" {
		t.Errorf("got %q", got)
	}
}

// relay passes what a listener's connections say to a server, and back.
func relay(listener net.Listener, server *redistest.Server) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		redis, err := net.Dial(server.Network, server.Addr)
		if err != nil {
			_ = client.Close()
			return
		}
		pass := func(to, from net.Conn) {
			_, _ = io.Copy(to, from)
			_ = to.Close()
		}
		go pass(redis, client)
		go pass(client, redis)
	}
}
