package embedded_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/embedded"
)

func startClient(t *testing.T) *redis.Client {
	t.Helper()
	server, err := embedded.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestKeysExpireByTheClock(t *testing.T) {
	t.Parallel()
	client := startClient(t)
	ctx := t.Context()
	if err := client.Set(ctx, "lease", "x", 50*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	// A stream nobody writes to makes a wait that is neither a sleep nor a poll.
	err := client.XRead(ctx, &redis.XReadArgs{Streams: []string{"s", "$"}, Block: 100 * time.Millisecond}).Err()
	if !errors.Is(err, redis.Nil) {
		t.Fatalf("a blocked read ended with %v, want nil after its time", err)
	}
	if n, err := client.Exists(ctx, "lease").Result(); err != nil || n != 0 {
		t.Errorf("the key is still there: %d, %v", n, err)
	}
}

func TestScriptsSeeTheClock(t *testing.T) {
	t.Parallel()
	client := startClient(t)
	before := time.Now()
	got, err := client.Eval(t.Context(), `return redis.call('TIME')`, nil).Int64Slice()
	if err != nil || len(got) != 2 || got[0] < before.Unix() || got[0] > before.Unix()+5 {
		t.Errorf("TIME in a script is %v, %v; the time is %v", got, err, before)
	}
}

// TestPendingIsIdle is what reclaiming stands on.
func TestPendingIsIdle(t *testing.T) {
	t.Parallel()
	client := startClient(t)
	ctx := t.Context()
	if err := client.XGroupCreateMkStream(ctx, "s", "g", "0").Err(); err != nil {
		t.Fatal(err)
	}
	delivered := make(chan error, 1)
	go func() {
		delivered <- client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{"s", ">"}, Block: 10 * time.Second}).Err()
	}()
	if err := client.XAdd(ctx, &redis.XAddArgs{Stream: "s", Values: []string{"a", "b"}}).Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-delivered; err != nil {
		t.Fatal(err)
	}
	_ = client.XRead(ctx, &redis.XReadArgs{Streams: []string{"other", "$"}, Block: 30 * time.Millisecond}).Err()
	pending, err := client.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: "s", Group: "g", Start: "-", End: "+", Count: 10}).Result()
	if err != nil || len(pending) != 1 || pending[0].Idle < 30*time.Millisecond || pending[0].Idle > 10*time.Second {
		t.Errorf("got %+v, %v; want one entry, idle for 30 ms or more", pending, err)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "localhost", "example.com:0"} {
		if server, err := embedded.Start(addr); err == nil {
			server.Close()
			t.Errorf("%s: it listens", addr)
		}
	}
}
