package stream_test

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// stored decodes every task of the queue.
func stored(t testing.TB, rdb redis.UniversalClient) []stream.Task {
	t.Helper()
	rows, err := rdb.Do(t.Context(), "xrange", "wm:{q}:tasks", "-", "+").Slice()
	if err != nil {
		t.Fatal(err)
	}
	var tasks []stream.Task
	for _, row := range rows {
		var fields []string
		for _, field := range row.([]any)[1].([]any) {
			fields = append(fields, field.(string))
		}
		task, err := wire.Decode(fields)
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	return tasks
}

func TestEnqueueStoresWhatItsOptionsSay(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	f := stream.Func[[]byte, string]{Name: "raw", Queue: "q", Codec: stream.Raw, MaxAttempts: 9, Timeout: time.Minute}
	first, err := f.Enqueue(t.Context(), client, []byte("\x00\xff"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.Enqueue(t.Context(), client, nil, stream.MaxAttempts(3), stream.Timeout(time.Second), stream.Header("trace", "a b"), stream.Header("x", ""))
	if err != nil || second <= first {
		t.Fatal(first, second, err)
	}
	tasks := stored(t, rdb)
	if len(tasks) != 2 || tasks[0].ID != first || tasks[0].MaxAttempts != 9 || tasks[0].Timeout != time.Minute || string(tasks[0].Payload) != "\x00\xff" {
		t.Errorf("first: %+v", tasks)
	}
	if got := tasks[1]; got.MaxAttempts != 3 || got.Timeout != time.Second || got.Headers["trace"] != "a b" || len(got.Headers) != 2 || got.Attempt != 1 {
		t.Errorf("second: %+v", got)
	}
}

func TestDelayedTasksAreDueByTheClockOfRedis(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond).Add(time.Nanosecond)
	for name, c := range map[string]struct {
		option stream.Option
		least  func(now time.Time) int64
		most   func(now time.Time) int64
	}{
		"after":                         {stream.After(time.Minute), func(now time.Time) int64 { return now.Add(time.Minute).UnixMilli() }, func(now time.Time) int64 { return now.Add(time.Minute + 10*time.Second).UnixMilli() }},
		"after less than a millisecond": {stream.After(time.Nanosecond), func(now time.Time) int64 { return now.UnixMilli() }, func(now time.Time) int64 { return now.Add(10 * time.Second).UnixMilli() }},
		"at, rounded up":                {stream.At(at), func(time.Time) int64 { return at.UnixMilli() + 1 }, func(time.Time) int64 { return at.UnixMilli() + 1 }},
		"at a time before 1970":         {stream.At(time.Unix(-5, 0)), func(time.Time) int64 { return 0 }, func(time.Time) int64 { return 1 }},
	} {
		now := rdb.Time(t.Context()).Val()
		id, err := echo.Enqueue(t.Context(), client, "x", c.option)
		if err != nil {
			t.Fatal(name, err)
		}
		score := int64(rdb.ZScore(t.Context(), "wm:{q}:due", id).Val())
		if score < c.least(now) || score > c.most(now) {
			t.Errorf("%s: due at %d, want %d to %d", name, score, c.least(now), c.most(now))
		}
	}
	wantStored(t, rdb, 0)
	for _, option := range []stream.Option{stream.After(0), stream.After(-time.Hour), stream.At(time.Time{})} {
		if _, err := echo.Enqueue(t.Context(), client, "x", option); err != nil {
			t.Fatal(err)
		}
	}
	wantStored(t, rdb, 3)
}

func TestUniqueAnswersTheFirstID(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := server.Client(t)
	proxy := redistest.NewProxy(t, server)
	client := newClient(t, proxy.Client(t), stream.ClientConfig{})
	first, err := echo.Enqueue(t.Context(), client, "a", stream.Unique("k", time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var cut atomic.Int64
	proxy.CutAfterRequest(func(request []byte) bool {
		return bytes.Contains(request, []byte("producer:")) && cut.Add(1) <= 2
	})
	second, err := echo.Enqueue(t.Context(), client, "b", stream.Unique("k", time.Hour))
	if !errors.Is(err, stream.ErrDuplicate) || second != first {
		t.Errorf("second enqueue, with lost replies: got %s, %v, want %s and ErrDuplicate", second, err, first)
	}
	if proxy.Dropped() != 2 {
		t.Errorf("lost %d replies, want 2", proxy.Dropped())
	}
	other, err := echo.Enqueue(t.Context(), client, "c", stream.Unique("other", time.Hour))
	if err != nil || other == first {
		t.Errorf("another key: got %s, %v", other, err)
	}
	wantStored(t, rdb, 2)
	startWorker(t, rdb, answer)
	eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") == 0 }, "the first is done")
	if _, err = echo.Enqueue(t.Context(), client, "d", stream.Unique("k", time.Hour)); err != nil {
		t.Errorf("after the first is done: got %v", err)
	}
}

func TestUniqueEndsWithItsTime(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	if _, err := echo.Enqueue(t.Context(), client, "a", stream.Unique("k", 20*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		_, err := echo.Enqueue(t.Context(), client, "b", stream.Unique("k", time.Hour))
		return err == nil
	}, "the lock ends")
}

func TestAFullQueueRefuses(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{MaxQueue: 3})
	for _, options := range [][]stream.Option{nil, {stream.After(time.Hour)}, nil} {
		if _, err := echo.Enqueue(t.Context(), client, "x", options...); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if id, err := echo.Enqueue(t.Context(), client, "x"); !errors.Is(err, stream.ErrQueueFull) || id != "" {
			t.Errorf("got %q, %v, want ErrQueueFull", id, err)
		}
	}
	wantStored(t, rdb, 2)
	startWorker(t, rdb, answer)
	eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") == 0 }, "the queue drains")
	if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
		t.Errorf("with room: got %v", err)
	}
}

// counted yields n inputs and counts how many were taken.
func counted(n int, taken *int, each func(i int) string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range n {
			*taken = i + 1
			if !yield(each(i)) {
				return
			}
		}
	}
}

func TestEnqueueAllHoldsNoMoreThanOneRoundTrip(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	var taken int
	most := int64(0)
	n, err := echo.EnqueueAll(t.Context(), client, counted(5500, &taken, func(i int) string {
		if i%100 == 0 {
			most = max(most, int64(i)-length(t, rdb, "wm:{q}:tasks"))
		}
		return "x"
	}))
	if err != nil || n != 5500 {
		t.Fatalf("got %d, %v", n, err)
	}
	if most > 2000 {
		t.Errorf("held %d inputs, want at most two round trips of 1000", most)
	}
	if calls := scriptCalls(t, rdb); calls < 6 || calls > 5500/20 { // every 100 inputs the sequence pauses for an answer of Redis
		t.Errorf("took %d script calls, want many tasks in each, and at most 1000", calls)
	}
	wantStored(t, rdb, 5500)
	big := strings.Repeat("x", 300<<10)
	before := scriptCalls(t, rdb)
	if n, err = echo.EnqueueAll(t.Context(), client, counted(10, &taken, func(int) string { return big })); err != nil || n != 10 {
		t.Fatalf("big ones: got %d, %v", n, err)
	}
	if calls := scriptCalls(t, rdb) - before; calls < 4 { // more when the sequence is slower than a round trip
		t.Errorf("10 payloads of 300 kB took %d script calls, want at most 1 MiB in each", calls)
	}
}

func TestEnqueueAllStopsAtTheFirstError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg    stream.ClientConfig
		each   func(i int) string
		want   error
		stored int
		taken  int // at most
	}{
		"the queue is full": {stream.ClientConfig{MaxQueue: 2500}, func(int) string { return "x" }, stream.ErrQueueFull, 2500, 4501}, // one round trip refused, one gathered
		"one is too large": {stream.ClientConfig{MaxPayload: 100}, func(i int) string {
			return strings.Repeat("x", i/1500*200)
		}, stream.ErrPayloadTooLarge, 1500, 1501},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Start(t).Client(t)
			client := newClient(t, rdb, c.cfg)
			taken := 0
			n, err := echo.EnqueueAll(t.Context(), client, counted(10000, &taken, c.each))
			if !errors.Is(err, c.want) || n != c.stored || taken > c.taken {
				t.Errorf("got %d, %v after %d inputs, want %d, %v after at most %d", n, err, taken, c.stored, c.want, c.taken)
			}
			wantStored(t, rdb, int64(c.stored))
		})
	}
}

func TestEnqueueAllSurvivesLostReplies(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	client := newClient(t, proxy.Client(t), stream.ClientConfig{})
	var n atomic.Int64
	proxy.CutAfterRequest(func(request []byte) bool {
		begins := bytes.Contains(request, []byte("multi\r\n")) || bytes.Contains(request, []byte("evalsha\r\n"))
		return begins && n.Add(1)%2 == 1
	})
	taken := 0
	if n, err := echo.EnqueueAll(t.Context(), client, counted(5000, &taken, func(int) string { return "x" })); err != nil || n != 5000 {
		t.Errorf("got %d, %v", n, err)
	}
	wantStored(t, server.Client(t), 5000)
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	rdb := server.Client(t)
	client := newClient(t, server.Client(t, func(o *redis.Options) { o.ReadTimeout = 300 * time.Millisecond }), stream.ClientConfig{})
	id, err := echo.Enqueue(t.Context(), client, "alone", stream.Replicas(1))
	if !errors.Is(err, stream.ErrNotReplicated) || id == "" {
		t.Errorf("without a replica: got %q, %v, want an ID and ErrNotReplicated", id, err)
	}
	wantStored(t, rdb, 1)
	replica := redistest.StartReplica(t, server)
	patient := newClient(t, rdb, stream.ClientConfig{})
	tries := int64(0)
	eventually(t, func() bool { // a busy machine may keep the replica from its word for longer than an enqueue waits
		id, err = echo.Enqueue(t.Context(), patient, "both", stream.Replicas(1))
		tries++
		return err == nil && id != ""
	}, "the replica confirms a task")
	if got := length(t, replica.Client(t), "wm:{q}:tasks"); got != 1+tries {
		t.Errorf("the replica has %d, want %d: it said so", got, 1+tries)
	}
	n, err := echo.EnqueueAll(t.Context(), client, slices.Values([]string{"a", "b"}), stream.Replicas(2))
	if !errors.Is(err, stream.ErrNotReplicated) || n < 1 { // the second may have gone along with the first, or not
		t.Errorf("two replicas of one: got %d, %v, want ErrNotReplicated", n, err)
	}
	wantStored(t, rdb, 1+tries+int64(n))
}

func TestEnqueueAllStoresWhatASlowSequenceHasYielded(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	n, err := echo.EnqueueAll(t.Context(), client, func(yield func(string) bool) {
		for i := range int64(3) {
			if !yield("x") {
				return
			}
			eventually(t, func() bool { return length(t, rdb, "wm:{q}:tasks") == i+1 }, "what was yielded is stored while the sequence waits")
		}
	})
	if n != 3 || err != nil {
		t.Errorf("got %d, %v, want 3 and no error", n, err)
	}
}
