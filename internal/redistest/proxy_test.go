package redistest_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
)

func noRetry(o *redis.Options) { o.MaxRetries, o.DialerRetries = -1, 1 }

func contains(part string) func([]byte) bool {
	return func(request []byte) bool { return bytes.Contains(request, []byte(part)) }
}

func TestProxyLosesTheReplyOfACommandThatRan(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	client, direct := proxy.Client(t, noRetry), server.Client(t)
	ctx := t.Context()

	proxy.CutAfterRequest(contains("marker"))
	for range 3 {
		if err := client.Incr(ctx, "marker").Err(); err == nil {
			t.Fatal("the reply arrived")
		}
	}
	proxy.CutAfterRequest(nil)
	if got, err := client.Get(ctx, "marker").Int(); err != nil || got != 3 {
		t.Fatalf("commands that ran: got %d, %v, want 3", got, err)
	}
	if got := proxy.Dropped(); got != 3 {
		t.Fatalf("dropped: got %d, want 3", got)
	}

	proxy.DropReplies(1)
	err := client.Incr(ctx, "other").Err()
	if err == nil || !errors.Is(err, syscall.ECONNRESET) && !strings.Contains(err.Error(), "EOF") {
		t.Fatalf("got %v, want a reset connection", err)
	}
	if got, err := direct.Get(ctx, "other").Int(); err != nil || got != 1 {
		t.Fatalf("got %d, %v, want 1", got, err)
	}
}

func TestProxyCutsAtOneCommandOfAPipeline(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	client, direct := proxy.Client(t, noRetry), server.Client(t)
	ctx := t.Context()

	for name, c := range map[string]struct {
		cut  func(func([]byte) bool)
		want string // keys that exist afterwards
	}{
		"after":  {proxy.CutAfterRequest, "1 1 1"},
		"before": {proxy.CutBeforeRequest, "1 0 0"},
	} {
		c.cut(contains(name + "-b"))
		cmds, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.Set(ctx, name+"-a", bytes.Repeat([]byte("x"), 100_000), 0)
			pipe.Set(ctx, name+"-b", 1, 0)
			pipe.Set(ctx, name+"-c", 1, 0)
			return nil
		})
		if err == nil || cmds[1].Err() == nil || cmds[2].Err() == nil {
			t.Fatalf("cut %s: got no error in %v", name, cmds)
		}
		redistest.Eventually(t, time.Second, func() bool {
			n := make([]string, 0, 3)
			for _, key := range []string{"-a", "-b", "-c"} {
				n = append(n, strings.TrimPrefix(direct.Exists(ctx, name+key).String(), "exists "+name+key+": "))
			}
			return strings.Join(n, " ") == c.want
		}, "cut %s: want %s", name, c.want)
		c.cut(nil)
	}
}

func TestProxyPassesSubscriptionsAndBlockingReads(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{2, 3} {
		server := redistest.Start(t)
		proxy := redistest.NewProxy(t, server)
		client := proxy.Client(t, func(o *redis.Options) { o.Protocol = protocol })
		ctx := t.Context()
		subscription := client.Subscribe(ctx, "news")
		if _, err := subscription.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Publish(ctx, "news", "hello").Result(); err != nil || n != 1 {
			t.Fatalf("RESP%d publish: got %d, %v, want 1", protocol, n, err)
		}
		if message, err := subscription.ReceiveMessage(ctx); err != nil || message.Payload != "hello" {
			t.Fatalf("RESP%d: got %v, %v, want hello", protocol, message, err)
		}
		if err := client.XAdd(ctx, &redis.XAddArgs{Stream: "s", Values: []string{"a", "b"}}).Err(); err != nil {
			t.Fatal(err)
		}
		read, err := client.XRead(ctx, &redis.XReadArgs{Streams: []string{"s", "0"}, Block: time.Second}).Result()
		if err != nil || len(read) != 1 {
			t.Fatalf("RESP%d read: got %v, %v", protocol, read, err)
		}
		if err := subscription.Close(); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, time.Second, func() bool {
			return client.PubSubNumSub(ctx, "news").Val()["news"] == 0
		}, "Redis learns that the subscriber is gone")
	}
}

func TestProxyBlackholeHidesEachSideFromTheOther(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	client, direct := proxy.Client(t, noRetry), server.Client(t)
	ctx := t.Context()
	subscription := client.Subscribe(ctx, "alive")
	if _, err := subscription.Receive(ctx); err != nil {
		t.Fatal(err)
	}

	proxy.Blackhole(true)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	conn := proxy.Client(t, noRetry, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	if err := conn.Set(short, "lost", 1, 0).Err(); err == nil {
		t.Fatal("a black hole answered")
	}
	if err := subscription.Close(); err != nil {
		t.Fatal(err)
	}
	if got := direct.PubSubNumSub(ctx, "alive").Val()["alive"]; got != 1 {
		t.Fatalf("subscribers Redis sees inside a partition: got %d, want 1", got)
	}
	if got := direct.Exists(ctx, "lost").Val(); got != 0 {
		t.Fatal("a swallowed request ran")
	}

	proxy.Blackhole(false)
	redistest.Eventually(t, time.Second, func() bool {
		return direct.PubSubNumSub(ctx, "alive").Val()["alive"] == 0
	}, "Redis learns of the close once the black hole ends")
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestProxyRefusesAndResets(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	proxy := redistest.NewProxy(t, server)
	client := proxy.Client(t, noRetry)
	ctx := t.Context()
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	proxy.Refuse(true)
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatalf("a connection that was open: %v", err)
	}
	proxy.ResetAll()
	redistest.Eventually(t, time.Second, func() bool { return proxy.Open() == 0 }, "connections are gone")
	_ = client.Ping(ctx) // may find the reset connection
	if err := client.Ping(ctx).Err(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("got %v, want connection refused", err)
	}
	proxy.Refuse(false)
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
}
