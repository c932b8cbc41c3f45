package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// happening is what comes between a task and those after it.
type happening func(ctx context.Context, run *script.Runner, rdb *redis.Client, retry *script.Lane) error

// TestATransactionThatArrivesLateStoresNothing has an Append whose line is frozen run after whatever may have happened meanwhile.
func TestATransactionThatArrivesLateStoresNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile happening
		first     int64 // what is stored then, of the task before
		each      int64 // and of each of the others
	}{
		"its task was stored by a retry": {func(ctx context.Context, run *script.Runner, _ *redis.Client, retry *script.Lane) error {
			_, err := run.Enqueue(ctx, retry)
			return err
		}, 1, 1},
		"redis is empty": {func(ctx context.Context, _ *script.Runner, rdb *redis.Client, _ *script.Lane) error {
			return rdb.FlushAll(ctx).Err() //nolint:forbidigo // the server is the test's own
		}, 0, 0},
		"the lane is gone": {func(ctx context.Context, _ *script.Runner, rdb *redis.Client, retry *script.Lane) error {
			return rdb.Del(ctx, retry.Keys.Producer(retry.ID)).Err()
		}, 1, 0},
	} {
		for _, tasks := range []int64{1, 3} {
			t.Run(fmt.Sprintf("%s, of %d", name, tasks), func(t *testing.T) {
				t.Parallel()
				rdb := redistest.Start(t).Client(t)
				appendLate(t, rdb, tasks, c.meanwhile)
				wantStored(t, rdb, c.first+tasks*c.each)
			})
		}
	}
}

// appendLate stores a task, has something happen, and stores more by a transaction that was to come before that.
func appendLate(t *testing.T, rdb *redis.Client, tasks int64, meanwhile happening) {
	t.Helper()
	run := script.NewRunner(rdb)
	line, err := conn.NewLine(rdb)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	task := wire.Task{ID: stream.NewID(), Function: "echo", Attempt: 1}
	call := script.Lane{
		Keys: wire.NewKeys("wm", "q"), ID: stream.NewID(), First: 1, TTL: time.Minute, Watch: true, Tasks: []script.LaneTask{{Task: task.Encode()}},
	}
	first, err := run.EnqueueOn(t.Context(), line, &call)
	if err != nil || !first.Watched {
		t.Fatalf("got %+v, %v, want the lane watched", first, err)
	}
	call.Tasks = slices.Repeat(call.Tasks, int(tasks))
	retry := script.Lane{Keys: call.Keys, ID: call.ID, First: 2, Before: first.Value, Tasks: call.Tasks}
	if err = meanwhile(t.Context(), run, rdb, &retry); err != nil {
		t.Fatal(err)
	}
	call.First, call.TTL = 2, 0
	if late, err := run.Append(t.Context(), line, &call); !errors.Is(err, script.ErrNotWatched) {
		t.Errorf("late: got %+v, %v, want ErrNotWatched", late, err)
	}
	if ttl := rdb.TTL(t.Context(), call.Keys.Producer(call.ID)).Val(); ttl == -1 {
		t.Error("the lane never expires")
	}
}

// TestARetryOfATransactionStoresNothing is that of a client that did not hear the answer.
func TestARetryOfATransactionStoresNothing(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	run := script.NewRunner(rdb)
	line, err := conn.NewLine(rdb)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = line.Close() })
	call := script.Lane{Keys: wire.NewKeys("wm", "q"), ID: stream.NewID(), First: 1, TTL: time.Minute, Watch: true}
	var tasks []script.LaneTask
	for range 3 {
		task := wire.Task{ID: stream.NewID(), Function: "echo", Attempt: 1}
		tasks = append(tasks, script.LaneTask{Task: task.Encode()})
	}
	call.Tasks = tasks[:1]
	first, err := run.EnqueueOn(t.Context(), line, &call)
	if err != nil {
		t.Fatal(err)
	}
	call.First, call.Before, call.TTL, call.Tasks = 2, first.Value, 0, tasks
	if stored, err := run.Append(t.Context(), line, &call); err != nil || stored.Last != 4 || !stored.Watched || !stored.All() {
		t.Errorf("got %+v, %v, want three stored, and the lane watched", stored, err)
	}
	wantStored(t, rdb, 4)
	for _, before := range []string{first.Value, ""} {
		call.Before = before
		again, err := run.EnqueueOn(t.Context(), line, &call)
		if err != nil || again.Gap || again.Last != 4 || again.Place(2) != (script.Place{}) {
			t.Errorf("again: got %+v, %v, want them known", again, err)
		}
		wantStored(t, rdb, 4)
	}
	call.First, call.Before = 5, ""
	if more, err := run.EnqueueOn(t.Context(), line, &call); err != nil || more.Last != 7 || !more.All() || more.Place(2).Entry == "" {
		t.Errorf("more: got %+v, %v, want them stored", more, err)
	}
	wantStored(t, rdb, 7)
	if n, err := rdb.HGet(t.Context(), call.Keys.Counts(), "enqueued").Int(); err != nil || n != 7 {
		t.Errorf("counted %d, %v, want 7", n, err)
	}
}

// calls is how often a command was called.
func calls(t *testing.T, rdb *redis.Client, command string) int {
	t.Helper()
	_, rest, _ := strings.Cut(rdb.Info(t.Context(), "commandstats").Val(), "cmdstat_"+command+":calls=")
	number, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.Atoi(number)
	return n
}

func TestALoneCallerNeedsNoScript(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	enqueue := func(want string) {
		t.Helper()
		if _, err := echo.Enqueue(t.Context(), client, "x"); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	enqueue("")
	scripts := calls(t, rdb, "evalsha")
	for range 10 {
		enqueue("")
	}
	if n := calls(t, rdb, "evalsha") - scripts; n != 0 {
		t.Errorf("called %d scripts", n)
	}
	rdb.ConfigSet(t.Context(), "maxmemory", "1")
	enqueue("OOM")
	rdb.ConfigSet(t.Context(), "maxmemory", "0")
	enqueue("")
	enqueue("")
	if err := rdb.Rename(t.Context(), "wm:{q}:tasks", "elsewhere").Err(); err != nil {
		t.Fatal(err)
	}
	rdb.Set(t.Context(), "wm:{q}:tasks", "x", 0)
	enqueue("WRONGTYPE")
	enqueue("WRONGTYPE")
	rdb.Rename(t.Context(), "elsewhere", "wm:{q}:tasks")
	for range 3 {
		enqueue("")
	}
	wantStored(t, rdb, 16)
}

func TestManyPlainTasksNeedNoScript(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	client := newClient(t, rdb, stream.ClientConfig{})
	enqueue := func(want int, words string) {
		t.Helper()
		taken := 0
		n, err := echo.EnqueueAll(t.Context(), client, counted(2500, &taken, func(int) string { return "x" }))
		if n != want || (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("got %d, %v, want %d, %q", n, err, want, words)
		}
	}
	enqueue(2500, "")
	scripts := calls(t, rdb, "evalsha")
	enqueue(2500, "")
	if n := calls(t, rdb, "evalsha") - scripts; n != 0 {
		t.Errorf("called %d scripts", n)
	}
	rdb.ConfigSet(t.Context(), "maxmemory", "1")
	enqueue(0, "OOM")
	rdb.ConfigSet(t.Context(), "maxmemory", "0")
	if err := rdb.Rename(t.Context(), "wm:{q}:tasks", "elsewhere").Err(); err != nil {
		t.Fatal(err)
	}
	rdb.Set(t.Context(), "wm:{q}:tasks", "x", 0)
	enqueue(0, "WRONGTYPE")
	enqueue(0, "WRONGTYPE")
	rdb.Rename(t.Context(), "elsewhere", "wm:{q}:tasks")
	enqueue(2500, "")
	enqueue(2500, "")
	wantStored(t, rdb, 10_000)
}

func TestALoneCallerWithoutTheRightToWatch(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	if err := rdb.Do(t.Context(), "acl", "setuser", "default", "-watch").Err(); err != nil {
		t.Fatal(err)
	}
	client := newClient(t, rdb, stream.ClientConfig{})
	connections := func() string {
		_, rest, _ := strings.Cut(rdb.Info(t.Context(), "stats").Val(), "total_connections_received:")
		number, _, _ := strings.Cut(rest, "\r")
		return number
	}
	var before string
	for i := range 10 {
		if _, err := echo.Enqueue(t.Context(), client, "x"); err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			before = connections()
		}
	}
	if now := connections(); now != before {
		t.Errorf("made connections: %s, then %s", before, now)
	}
	wantStored(t, rdb, 10)
}

func TestManyQueuesShareFewConnections(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	const queues, rounds = 200, 3
	client := newClient(t, rdb, stream.ClientConfig{})
	for range rounds {
		for i := range queues {
			f := stream.Func[string, string]{Name: "echo", Queue: "q" + strconv.Itoa(i)}
			if _, err := f.Enqueue(t.Context(), client, "x"); err != nil {
				t.Fatal(err)
			}
		}
	}
	connections := func() int { return strings.Count(rdb.ClientList(t.Context()).Val(), "\n") }
	if n := connections(); n < 8 || n > 12 { // lines, the pool of the Store, the test's own
		t.Errorf("%d connections for %d queues", n, queues)
	}
	for i := range queues {
		if n := length(t, rdb, wire.NewKeys("wm", "q"+strconv.Itoa(i)).Tasks()); n != rounds {
			t.Errorf("queue %d: stored %d, want %d", i, n, rounds)
		}
	}
	if err := client.Close(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, func() bool { return connections() <= 4 }, "the client closes its connections")
}
