package conn_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/redistest"
)

func TestDeriveKeepsWhatLeadsToTheServer(t *testing.T) {
	t.Parallel()
	var dials atomic.Int32
	from := redis.NewClient(&redis.Options{
		Addr: "example.org:6390", Username: "u", Password: "p", DB: 3, Protocol: 2, ClientName: "name", PoolSize: 50, MinIdleConns: 10,
		TLSConfig: &tls.Config{ServerName: "example.org", MinVersion: tls.VersionTLS12}, ReadTimeout: 7 * time.Second, DialerRetries: 1,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			return nil, net.ErrClosed
		},
	})
	t.Cleanup(func() { _ = from.Close() })
	own, err := conn.Derive(from, conn.Options{PoolSize: 3, MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	got, was := own.(*redis.Client).Options(), from.Options()
	if got.Addr != was.Addr || got.Username != "u" || got.Password != "p" || got.DB != 3 || got.Protocol != 2 || got.ClientName != "name" ||
		got.TLSConfig.ServerName != "example.org" || got.ReadTimeout != 7*time.Second {
		t.Errorf("got %v, want what %v says", got.Addr, was.Addr)
	}
	if got.PoolSize != 3 || got.MinIdleConns != 0 || got.MaxRetries != 0 || was.PoolSize != 50 || was.MinIdleConns != 10 || was.MaxRetries == 0 {
		t.Errorf("own: pool %d, idle %d, retries %d; its origin: pool %d, idle %d, retries %d",
			got.PoolSize, got.MinIdleConns, got.MaxRetries, was.PoolSize, was.MinIdleConns, was.MaxRetries)
	}
	before := dials.Load()
	if own.Ping(t.Context()).Err() == nil || dials.Load() == before {
		t.Error("it does not use the dialer of its origin")
	}
}

func TestDeriveKeepsRetriesOffWhereTheyAreOff(t *testing.T) {
	t.Parallel()
	from := redis.NewClient(&redis.Options{MaxRetries: -1})
	t.Cleanup(func() { _ = from.Close() })
	own, err := conn.Derive(from, conn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	if got := own.(*redis.Client).Options().MaxRetries; got != 0 {
		t.Errorf("retries: got %d, want none", got)
	}
}

func TestDeriveWorksInADatabaseWithAPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "secret")
	from := server.Client(t, func(o *redis.Options) { o.Password, o.DB = "secret", 5 })
	own, err := conn.Derive(from, conn.Options{PoolSize: 1, ReadTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	if err := own.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := from.Get(t.Context(), "k").Val(); got != "v" {
		t.Errorf("got %q: another database?", got)
	}
}

func TestDeriveFollowsASentinel(t *testing.T) {
	t.Parallel()
	master := redistest.StartTCP(t)
	sentinel := redistest.StartSentinel(t, master)
	from := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: redistest.MasterName, SentinelAddrs: []string{sentinel.Addr}})
	t.Cleanup(func() { _ = from.Close() })
	own, err := conn.Derive(from, conn.Options{PoolSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	if err := own.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := master.Client(t).Get(t.Context(), "k").Val(); got != "v" {
		t.Errorf("got %q", got)
	}
	reader := newReader(t, from, time.Second)
	add(t, from, "s", "1")
	if rows, err := reader.Read(t.Context(), "s", "0", 1, 0); err != nil || len(rows) != 1 {
		t.Errorf("read: got %v, %v", rows, err)
	}
}

func TestDeriveOfAClusterClient(t *testing.T) {
	t.Parallel()
	from := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"a:1", "b:2"}, Password: "p", MaxRedirects: 5})
	t.Cleanup(func() { _ = from.Close() })
	own, err := conn.Derive(from, conn.Options{PoolSize: 3, ReadTimeout: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	got := own.(*redis.ClusterClient).Options()
	if len(got.Addrs) != 2 || got.Password != "p" || got.PoolSize != 3 || got.ReadTimeout != 4*time.Second || got.MaxRedirects != 5 {
		t.Errorf("got %+v", got.Addrs)
	}
}

func TestDeriveRefusesOtherClients(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	t.Cleanup(func() { _ = ring.Close() })
	_, err := conn.Derive(ring, conn.Options{})
	if err == nil || !strings.Contains(err.Error(), "use *redis.Client (also for Sentinel) or *redis.ClusterClient") {
		t.Errorf("got %v", err)
	}
	if _, err = conn.NewReader(ring, time.Second); err == nil {
		t.Error("a reader on a ring")
	}
}

// TestDeriveWhileTheClientConnects is for the race detector: go-redis changes settings of a client while it connects.
func TestDeriveWhileTheClientConnects(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for range 20 {
		from := server.Client(t)
		connected := make(chan error, 1)
		go func() { connected <- from.Ping(t.Context()).Err() }()
		for range 20 {
			own, err := conn.Derive(from, conn.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_ = own.Close()
		}
		if err := <-connected; err != nil {
			t.Fatal(err)
		}
	}
}
