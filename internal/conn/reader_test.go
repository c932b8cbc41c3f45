package conn_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/redistest/flavour"
)

// long is a block that no test waits for.
const long = 30 * time.Second

func newReader(t *testing.T, rdb redis.UniversalClient, block time.Duration) *conn.Reader {
	t.Helper()
	reader, err := conn.NewReader(rdb, block)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	return reader
}

func makeGroup(t *testing.T, rdb redis.UniversalClient, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := rdb.XGroupCreateMkStream(t.Context(), key, "g", "0").Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func add(t *testing.T, rdb redis.UniversalClient, key, value string) string {
	t.Helper()
	id, err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: []string{"f", value}}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newEntries(key string, count int, block time.Duration) conn.GroupRead {
	return conn.GroupRead{Group: "g", Consumer: "c", Count: count, Block: block, Keys: []string{key}, IDs: []string{">"}}
}

// awaitBlocked waits until n clients are blocked in a read.
func awaitBlocked(t *testing.T, rdb redis.UniversalClient, n string) {
	t.Helper()
	redistest.Eventually(t, 10*time.Second, func() bool {
		return strings.Contains(rdb.Info(t.Context(), "clients").Val(), "blocked_clients:"+n)
	}, "blocked clients: "+n)
}

func TestReadsOnEveryServer(t *testing.T) {
	t.Parallel()
	for _, f := range flavour.All(t) {
		for _, protocol := range []int{2, 3} {
			t.Run(f.Name+" RESP"+string(rune('0'+protocol)), func(t *testing.T) {
				t.Parallel()
				rdb := f.Client(t, func(o *redis.Options) { o.Protocol = protocol })
				makeGroup(t, rdb, "a", "b")
				reader := newReader(t, rdb, 100*time.Millisecond)
				both := conn.GroupRead{Group: "g", Consumer: "c", Count: 10, Block: time.Millisecond, Keys: []string{"a", "b"}, IDs: []string{">", ">"}}
				if got, err := reader.ReadGroup(t.Context(), both); err != nil || len(got) != 0 {
					t.Errorf("empty: got %v, %v, want nothing", got, err)
				}
				first, second := add(t, rdb, "a", "1"), add(t, rdb, "a", "2")
				add(t, rdb, "b", "")
				got, err := reader.ReadGroup(t.Context(), both)
				if err != nil || len(got) != 2 {
					t.Fatalf("two streams: got %v, %v", got, err)
				}
				slices.SortFunc(got, func(x, y conn.Stream) int { return strings.Compare(x.Key, y.Key) })
				if got[0].Key != "a" || len(got[0].Entries) != 2 || got[0].Entries[1].ID != second ||
					!slices.Equal(got[0].Entries[0].Fields, []string{"f", "1"}) || !slices.Equal(got[1].Entries[0].Fields, []string{"f", ""}) {
					t.Errorf("got %v", got)
				}
				rdb.XDel(t.Context(), "a", first)
				history := conn.GroupRead{Group: "g", Consumer: "c", Count: 10, Keys: []string{"a"}, IDs: []string{"0-0"}}
				got, err = reader.ReadGroup(t.Context(), history)
				if !f.Embedded && (err != nil || len(got) != 1 || len(got[0].Entries) != 2 || got[0].Entries[0].Fields != nil || got[0].Entries[1].Fields == nil) {
					t.Errorf("history: got %v, %v, want the deleted one without fields", got, err)
				}
				if rows, err := reader.Read(t.Context(), "a", "0-0", 10, 0); err != nil || len(rows) != 1 || rows[0].ID != second {
					t.Errorf("read: got %v, %v", rows, err)
				}
				if rows, err := reader.Read(t.Context(), "a", second, 10, time.Millisecond); err != nil || rows != nil {
					t.Errorf("read after the last: got %v, %v, want nothing", rows, err)
				}
			})
		}
	}
}

// TestABlockedReadEndsAtOnce holds that stopping does not wait for the block to be over, and that the reader goes on afterwards.
func TestABlockedReadEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(r *conn.Reader, cancel context.CancelFunc){
		"by its context": func(_ *conn.Reader, cancel context.CancelFunc) { cancel() },
		"by Interrupt":   func(r *conn.Reader, _ context.CancelFunc) { r.Interrupt(context.Background()) }, //nolint:forbidigo // any context
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Start(t).Client(t)
			makeGroup(t, rdb, "k")
			reader := newReader(t, rdb, long)
			for range 5 {
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				ended := make(chan error, 1)
				go func() {
					got, err := reader.ReadGroup(ctx, newEntries("k", 1, long))
					if len(got) > 0 {
						err = errors.New("entries from nowhere")
					}
					ended <- err
				}()
				awaitBlocked(t, rdb, "1")
				end(reader, cancel)
				if err := <-ended; err != nil || time.Since(began) > long/2 {
					t.Errorf("got %v after %v, want nil at once", err, time.Since(began))
				}
				cancel()
			}
			add(t, rdb, "k", "1")
			if got, err := reader.ReadGroup(t.Context(), newEntries("k", 1, long)); err != nil || len(got) != 1 {
				t.Errorf("after: got %v, %v, want the entry", got, err)
			}
		})
	}
}

func TestInterruptBeforeAReadEndsTheNextOne(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	makeGroup(t, rdb, "k")
	reader := newReader(t, rdb, long)
	reader.Interrupt(t.Context())
	if got, err := reader.ReadGroup(t.Context(), newEntries("k", 1, long)); err != nil || got != nil {
		t.Errorf("got %v, %v, want nothing", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := reader.ReadGroup(ctx, newEntries("k", 1, long)); err != nil || got != nil {
		t.Errorf("with a context that is over: got %v, %v, want nothing", got, err)
	}
}

// TestAReadThatIsInterruptedWhileItConnectsDoesNotBlock holds the connection back until the read's context is long over.
func TestAReadThatIsInterruptedWhileItConnectsDoesNotBlock(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	makeGroup(t, rdb, "k")
	ctx, cancel := context.WithCancel(t.Context())
	connecting, connected := make(chan struct{}), make(chan struct{})
	options := *rdb.Options()
	dial := options.Dialer
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		select {
		case <-connected:
		case connecting <- struct{}{}:
			<-connected
		}
		return dial(ctx, network, addr)
	}
	slow := redis.NewClient(&options)
	t.Cleanup(func() { _ = slow.Close() })
	reader := newReader(t, slow, long)
	ended := make(chan error, 1)
	go func() {
		_, err := reader.ReadGroup(ctx, newEntries("k", 1, long))
		ended <- err
	}()
	<-connecting
	cancel()
	giveUp := time.After(1500 * time.Millisecond) // longer than anybody tries to unblock it
	<-giveUp
	close(connected)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(long / 2):
		t.Error("it blocks although its context is over")
	}
}

func TestAKilledConnectionIsAnErrorOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	makeGroup(t, rdb, "k")
	reader := newReader(t, rdb, long)
	ended := make(chan error, 1)
	go func() {
		_, err := reader.ReadGroup(t.Context(), newEntries("k", 1, long))
		ended <- err
	}()
	awaitBlocked(t, rdb, "1")
	if err := rdb.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || conn.NotSent(err) || !strings.HasPrefix(err.Error(), "conn: xreadgroup k: ") {
		t.Errorf("got %v, want an error that leaves open what was delivered", err)
	}
	add(t, rdb, "k", "1")
	if got, err := reader.ReadGroup(t.Context(), newEntries("k", 1, long)); err != nil || len(got) != 1 {
		t.Errorf("after: got %v, %v", got, err)
	}
}

func TestALostReplyIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	rdb := server.Client(t)
	makeGroup(t, rdb, "k")
	var mu sync.Mutex
	reads := 0
	proxy.CutAfterRequest(func(request []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if bytes.Contains(request, []byte("xreadgroup")) {
			reads++
			return reads == 1
		}
		return false
	})
	first := add(t, rdb, "k", "1")
	add(t, rdb, "k", "2")
	reader := newReader(t, proxy.Client(t), long)
	if got, err := reader.ReadGroup(t.Context(), newEntries("k", 1, time.Second)); err == nil || conn.NotSent(err) {
		t.Fatalf("got %v, %v, want an error that says it may have been delivered", got, err)
	}
	history := conn.GroupRead{Group: "g", Consumer: "c", Count: 10, Keys: []string{"k"}, IDs: []string{"0-0"}}
	got, err := reader.ReadGroup(t.Context(), history)
	if err != nil || len(got) != 1 || len(got[0].Entries) != 1 || got[0].Entries[0].ID != first {
		t.Errorf("history: got %v, %v, want only what the lost reply delivered", got, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if reads != 2 {
		t.Errorf("%d reads reached the server, want 2", reads)
	}
}

func TestALostGroupOrStreamIsToldApart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	reader := newReader(t, rdb, long)
	if _, err := reader.ReadGroup(t.Context(), newEntries("k", 1, 0)); !conn.IsNoGroup(err) || !conn.NotSent(err) {
		t.Errorf("no stream: got %v, want NOGROUP", err)
	}
	for name, c := range map[string]struct {
		lose []any
		told func(error) bool
	}{
		"stream deleted":  {[]any{"del", "k"}, func(err error) bool { return conn.IsUnblocked(err) || conn.IsNoGroup(err) }},
		"all is flushed":  {[]any{"flushall"}, func(err error) bool { return conn.IsUnblocked(err) || conn.IsNoGroup(err) }},
		"group destroyed": {[]any{"xgroup", "destroy", "k", "g"}, conn.IsNoGroup},
	} {
		rdb.Del(t.Context(), "k")
		makeGroup(t, rdb, "k")
		ended := make(chan error, 1)
		go func() {
			_, err := reader.ReadGroup(t.Context(), newEntries("k", 1, long))
			ended <- err
		}()
		awaitBlocked(t, rdb, "1")
		if err := rdb.Do(t.Context(), c.lose...).Err(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !c.told(err) {
			t.Errorf("%s while blocked: got %v", name, err)
		}
	}
}

func TestReaderOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 2)
	rdb := cluster.Client(t)
	keys := []string{"wm:{a}:tasks", "wm:{b}:tasks", "wm:{c}:tasks"} // of both servers
	makeGroup(t, rdb, keys...)
	reader := newReader(t, rdb, time.Second)
	for range 2 {
		for _, key := range keys {
			add(t, rdb, key, "1")
			if got, err := reader.ReadGroup(t.Context(), newEntries(key, 1, time.Second)); err != nil || len(got) != 1 || got[0].Key != key {
				t.Errorf("%s: got %v, %v", key, got, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if got, err := reader.ReadGroup(ctx, newEntries(keys[0], 1, time.Second)); err != nil || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCloseLeavesNoConnection(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	own := server.Client(t)
	makeGroup(t, own, "k")
	rdb := proxy.Client(t)
	for range 3 {
		reader, err := conn.NewReader(rdb, long)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = reader.ReadGroup(ctx, newEntries("k", 1, long))
		}()
		awaitBlocked(t, own, "1")
		cancel()
		<-ended
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}
	redistest.Eventually(t, 10*time.Second, func() bool { return proxy.Open() == 0 }, "all connections are closed")
}
