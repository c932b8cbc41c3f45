package conn_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/redistest"
)

// slow is a connection over a line that passes 64 kB in a fiftieth of a second.
type slow struct{ net.Conn }

const (
	slowPart = 64 << 10
	slowTime = time.Second / 50
)

func (c slow) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), slowPart)])
	<-time.After(time.Duration(n) * slowTime / slowPart)
	return n, err
}

func (c slow) Write(b []byte) (int, error) {
	<-time.After(time.Duration(len(b)) * slowTime / slowPart)
	return c.Conn.Write(b)
}

func TestLargeRepliesOverASlowLineTakeTheirTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	const entries, size = 5, 1 << 20 // 1.6 s for all
	for range entries {
		if err := server.Client(t).XAdd(t.Context(), &redis.XAddArgs{Stream: "k", Values: []string{"f", strings.Repeat("x", size)}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rdb := server.Client(t, func(o *redis.Options) {
		o.ReadTimeout, o.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
		o.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, server.Network, server.Addr)
			return slow{c}, err
		}
	})
	reader := newReader(t, rdb, 10*time.Millisecond) // gives up a second later
	got, err := reader.Read(t.Context(), "k", "0", entries, 0)
	if err != nil || len(got) != entries {
		t.Fatalf("read %d entries, %v", len(got), err)
	}
	own, err := conn.Derive(rdb, conn.Options{MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	const large = 2 << 20
	if err := own.Set(t.Context(), "large", strings.Repeat("x", large), 0).Err(); err != nil {
		t.Errorf("write: %v", err)
	}
	if n := own.StrLen(t.Context(), "large").Val(); n != large {
		t.Errorf("wrote %d bytes of %d", n, large)
	}
}

func TestSilenceEndsARead(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	proxy := redistest.NewProxy(t, server)
	own, err := conn.Derive(proxy.Client(t), conn.Options{ReadTimeout: 200 * time.Millisecond, MaxRetries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	if err := own.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	proxy.Blackhole(true)
	began := time.Now()
	if err := own.Ping(t.Context()).Err(); err == nil {
		t.Error("an answer out of a black hole")
	}
	const most = 2 * time.Second
	if took := time.Since(began); took > most {
		t.Errorf("took %v", took)
	}
}
