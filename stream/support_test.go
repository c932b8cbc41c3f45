package stream_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// soon is how long a test waits for what must happen.
const soon = 30 * time.Second

var echo = stream.Func[string, string]{Name: "echo", Queue: "q"}

var errHandler = errors.New("the handler's own words")

func newStore(t testing.TB, rdb redis.UniversalClient) *stream.Store {
	t.Helper()
	store, err := stream.NewStore(rdb, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func newClient(t testing.TB, rdb redis.UniversalClient, cfg stream.ClientConfig) *stream.Client {
	t.Helper()
	client, err := stream.NewClient(newStore(t, rdb), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })
	return client
}

func openSession(t testing.TB, client *stream.Client) *stream.Session {
	t.Helper()
	session, err := client.OpenSession(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close(context.WithoutCancel(t.Context())) })
	return session
}

func length(t testing.TB, rdb redis.UniversalClient, key string) int64 {
	t.Helper()
	n, err := rdb.XLen(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantStored(t testing.TB, rdb redis.UniversalClient, want int64) {
	t.Helper()
	if got := length(t, rdb, "wm:{q}:tasks"); got != want {
		t.Errorf("stored: got %d, want %d", got, want)
	}
}

// flush loses all data.
func flush(t testing.TB, rdb redis.UniversalClient) {
	t.Helper()
	if err := rdb.Do(t.Context(), "flushall").Err(); err != nil {
		t.Fatal(err)
	}
}

// scriptCalls is how many scripts the server has run.
func scriptCalls(t testing.TB, rdb *redis.Client) int {
	t.Helper()
	calls, stats := 0, rdb.Info(t.Context(), "commandstats").Val()
	for _, name := range []string{"evalsha", "exec"} { // a transaction does what a script does
		_, rest, _ := strings.Cut(stats, "cmdstat_"+name+":calls=")
		number, _, _ := strings.Cut(rest, ",")
		n, _ := strconv.Atoi(number)
		calls += n
	}
	return calls
}

// isCall tells whether a request is the one of a lane's call that does it.
func isCall(request []byte) bool {
	return bytes.Contains(request, []byte("evalsha")) && bytes.Contains(request, []byte("producer:")) || string(request) == "*1\r\n$4\r\nexec\r\n"
}

// crew is a tiny worker: it reads, handles and commits, and tries again whatever fails.
type crew struct {
	rdb    redis.UniversalClient
	keys   wire.Keys
	run    *script.Runner
	reader *conn.Reader
	handle func(stream.Task) ([]byte, error)
	runs   atomic.Int64 // tasks handled, also twice
}

// answer handles echo: the input is the result.
func answer(task stream.Task) ([]byte, error) { return task.Payload, nil }

func startWorker(t testing.TB, rdb redis.UniversalClient, handle func(stream.Task) ([]byte, error)) *crew {
	t.Helper()
	reader, err := conn.NewReader(rdb, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w := &crew{rdb: rdb, keys: wire.NewKeys("wm", "q"), run: script.NewRunner(rdb), reader: reader, handle: handle}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var done sync.WaitGroup
	done.Go(func() { w.work(ctx) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
		_ = reader.Close()
	})
	return w
}

func (w *crew) work(ctx context.Context) {
	from := ">"
	retry := time.NewTicker(2 * time.Millisecond)
	defer retry.Stop()
	for ctx.Err() == nil {
		streams, err := w.reader.ReadGroup(ctx, conn.GroupRead{
			Group: "workers", Consumer: "me", Count: 100, Block: time.Second, Keys: []string{w.keys.Tasks()}, IDs: []string{from},
		})
		if err != nil {
			_, _ = w.run.MakeGroup(ctx, w.keys, "workers")
			from = "0-0" // what the lost reply delivered
			<-retry.C
			continue
		}
		from = ">"
		if len(streams) > 0 && len(streams[0].Entries) > 0 {
			w.commit(ctx, streams[0].Entries, retry.C)
		}
	}
}

func (w *crew) commit(ctx context.Context, entries []conn.Entry, retry <-chan time.Time) {
	b := script.CommitBatch{Keys: w.keys, Group: "workers", Worker: "me", Counter: "done"}
	for _, entry := range entries {
		task, err := wire.Decode(entry.Fields)
		if err != nil {
			continue
		}
		w.runs.Add(1)
		o := wire.Outcome{TaskID: task.ID, Kind: wire.KindResult}
		if o.Payload, err = w.handle(task); err != nil {
			o.Kind, o.Failure = wire.KindFailure, wire.Failure{Function: task.Function, Attempt: task.Attempt, Reason: wire.ReasonFailed, Message: err.Error()}
		}
		b.Items = append(b.Items, script.CommitItem{Entry: entry.ID, TaskID: task.ID, Reply: task.Reply, Unique: task.Unique, Outcome: o.Encode()})
	}
	for ctx.Err() == nil {
		if _, err := w.run.Commit(ctx, b); err == nil {
			return
		}
		<-retry
	}
}

// collect waits until each of n tasks has its outcome, and fails when one has two or a strange one.
func collect(t testing.TB, session *stream.Session, n int) map[string]stream.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	got := make(map[string]stream.Outcome, n)
	for len(got) < n {
		outcomes, err := session.Next(ctx)
		if errors.Is(err, stream.ErrUnavailable) {
			continue
		}
		if err != nil {
			t.Fatalf("%d of %d outcomes, then: %v", len(got), n, err)
		}
		for _, o := range outcomes {
			if _, twice := got[o.TaskID]; twice {
				t.Errorf("two outcomes of %s", o.TaskID)
			}
			got[o.TaskID] = o
		}
	}
	if left := session.Outstanding(); left != 0 {
		t.Errorf("outstanding: %d, want 0", left)
	}
	return got
}

// send sends n echo tasks and returns them by their IDs.
func send(t testing.TB, session *stream.Session, n int) map[string]stream.Task {
	t.Helper()
	tasks, sent := make([]stream.Task, n), make(map[string]stream.Task, n)
	for i := range tasks {
		tasks[i] = stream.Task{ID: stream.NewID(), Function: "echo", Payload: []byte(strconv.Itoa(i))}
		sent[tasks[i].ID] = tasks[i]
	}
	if stored, err := session.Send(t.Context(), tasks...); err != nil || stored != n {
		t.Fatalf("sent %d of %d, %v", stored, n, err)
	}
	return sent
}

// wantEchoes holds that each task has its own payload for a result.
func wantEchoes(t testing.TB, sent map[string]stream.Task, got map[string]stream.Outcome) {
	t.Helper()
	for id, task := range sent {
		if o := got[id]; o.Kind != wire.KindResult || string(o.Payload) != string(task.Payload) {
			t.Errorf("task %s: got %c %q %+v, want %q", id, o.Kind, o.Payload, o.Failure, task.Payload)
		}
	}
}

// eventually is redistest.Eventually with the patience of this package.
func eventually(t testing.TB, condition func() bool, message ...any) {
	t.Helper()
	redistest.Eventually(t, soon, condition, message...)
}
