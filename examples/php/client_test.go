package php

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

var (
	double = stream.Func[int, int]{Name: "double", Queue: "php"}
	refuse = stream.Func[int, int]{Name: "refuse", Queue: "php", MaxAttempts: 1}
	doze   = stream.Func[int, int]{Name: "sleep", Queue: "php"}
)

// workshop is a Redis, with a client in Go.
type workshop struct {
	t      *testing.T
	host   string
	port   string
	redis  *redis.Client
	client *stream.Client
}

func open(t *testing.T) *workshop {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "php", "-r", `exit(extension_loaded("redis") ? 0 : 1);`).CombinedOutput(); err != nil {
		t.Fatalf("PHP with its extension redis is needed (apt-get install php-cli php-redis): %v\n%s", err, out)
	}
	server := redistest.Start(t)
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	host, port := options.Addr, "0" // a socket
	if options.Network != "unix" {
		if host, port, err = net.SplitHostPort(options.Addr); err != nil {
			t.Fatal(err)
		}
	}
	w := &workshop{t: t, host: host, port: port, redis: server.Client(t)}
	store, err := stream.NewStore(w.redis, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if w.client, err = stream.NewClient(store, stream.ClientConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.client.Close(context.WithoutCancel(t.Context())) })
	return w
}

func (w *workshop) command(words ...string) *exec.Cmd {
	return exec.CommandContext(w.t.Context(), "php", append([]string{"support_test.php", w.host, w.port}, words...)...) //nolint:gosec // the words of this test
}

// work starts a worker in PHP and returns it with its output.
func (w *workshop) work() (*exec.Cmd, *bufio.Scanner) {
	w.t.Helper()
	worker := w.command("work")
	worker.Stderr = os.Stderr
	out, err := worker.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	})
	return worker, bufio.NewScanner(out)
}

// count is one of the queue's totals.
func (w *workshop) count(name string) int {
	n, err := w.redis.HGet(w.t.Context(), "wm:{php}:counts", name).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		w.t.Fatal(err)
	}
	return n
}

// TestGoldenTasks gives PHP the tasks that the Go code is held against.
func TestGoldenTasks(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("../../internal/wire/testdata/task.golden")
	if err != nil {
		t.Fatal(err)
	}
	var vectors bytes.Buffer
	name, n := "", 0
	for line := range strings.Lines(string(golden)) {
		quoted, isEntry := strings.CutPrefix(strings.TrimRight(line, "\n"), `  entry "v1" `)
		quoted, isBody := strings.CutPrefix(quoted, "  body  ")
		if !isEntry && !isBody {
			name = strings.TrimSpace(line)
			continue
		}
		text, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(&vectors).Encode(vector(t, name, strings.TrimPrefix(text, "v1 "))); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n < 5 {
		t.Fatalf("got %d golden tasks, want more", n)
	}
	check := exec.CommandContext(t.Context(), "php", "golden.php")
	check.Stdin = &vectors
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func vector(t *testing.T, name, text string) map[string]any {
	t.Helper()
	task, err := wire.Decode([]string{wire.Field, text})
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string][]byte{}
	set := func(name, value, standard string) {
		if value != standard {
			fields[name] = []byte(value)
		}
	}
	set("a", strconv.Itoa(max(task.Attempt, 1)), "1")
	set("max", strconv.Itoa(task.MaxAttempts), "0")
	set("to", strconv.FormatInt(task.Timeout.Milliseconds(), 10), "0")
	set("re", task.Reply, "")
	set("uq", task.Unique, "")
	set("n", strconv.Itoa(task.Items), "0")
	if task.Promoted {
		fields["d"] = []byte("1")
	}
	set("e", task.LastError, "")
	for header, value := range task.Headers {
		fields["h."+header] = []byte(value)
	}
	return map[string]any{"name": name, "bytes": []byte(text), "id": task.ID, "function": task.Function, "payload": task.Payload, "fields": fields}
}

// TestBatchIsServedByGo maps from PHP over a worker in Go: values, failures and all of them.
func TestBatchIsServedByGo(t *testing.T) {
	t.Parallel()
	w := open(t)
	worker, err := group.NewWorker(w.client.Store(), group.Config{Queues: []group.Queue{{Name: "php"}}})
	if err != nil {
		t.Fatal(err)
	}
	group.Handle(worker, double, func(_ context.Context, n int) (int, error) {
		if n%100 == 0 {
			return 0, group.Drop(errors.New("not the hundreds"))
		}
		return 2 * n, nil
	})
	go func() { _ = worker.Run(t.Context()) }()
	out, err := w.command("batch", "double", "1000").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for line := range strings.Lines(string(out)) {
		var index int
		var value *int
		var reason *string
		if err := json.Unmarshal([]byte(line), &[]any{&index, &value, &reason}); err != nil {
			t.Fatal(err)
		}
		n := index + 1
		right := value != nil && *value == 2*n
		if n%100 == 0 {
			right = reason != nil && *reason == "dropped"
		}
		if !right || seen[index] {
			t.Errorf("got %q for %d, seen before: %v", line, n, seen[index])
		}
		seen[index] = true
	}
	if len(seen) != 1000 {
		t.Errorf("got %d results, want 1000", len(seen))
	}
	if keys := w.redis.Keys(t.Context(), "wm:{php}:reply:*").Val(); len(keys) > 0 {
		t.Errorf("%v is left", keys)
	}
}

// TestCallersInGoAreServed runs tasks of all kinds on a worker in PHP: a call, a failure, chunks, one that is due later, one that is malformed.
func TestCallersInGoAreServed(t *testing.T) {
	t.Parallel()
	w := open(t)
	ctx := t.Context()
	worker, _ := w.work()
	if got, err := double.Call(ctx, w.client, 21, stream.Unique("one", time.Minute)); err != nil || got != 42 {
		t.Errorf("got %d, %v; want 42", got, err)
	}
	if locks := w.redis.Keys(ctx, "wm:{php}:unique:*").Val(); len(locks) > 0 {
		t.Errorf("the lock %v is left", locks)
	}
	var failure *stream.TaskError
	if _, err := refuse.Call(ctx, w.client, 7); !errors.As(err, &failure) || failure.Message != "no 7 today" || failure.Reason != wire.ReasonFailed {
		t.Errorf("got %v, want the failure", err)
	}
	batch := mapreduce.Map(ctx, w.client, double, func(yield func(int) bool) {
		for n := range 300 {
			if !yield(n) {
				return
			}
		}
	}, mapreduce.Chunk(40))
	n := 0
	for r := range batch.Results() {
		if r.Err != nil || r.Value != 2*r.Input {
			t.Errorf("got %d, %v for %d", r.Value, r.Err, r.Input)
		}
		n++
	}
	if err := batch.Err(); err != nil || n != 300 {
		t.Errorf("got %d results, %v; want 300", n, err)
	}
	if _, err := double.Enqueue(ctx, w.client, 1, stream.After(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := w.redis.XAdd(ctx, &redis.XAddArgs{Stream: "wm:{php}:tasks", Values: []string{"colour", "blue"}}).Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, time.Minute, func() bool { return w.count("done") == 302 && w.count("dead") == 2 }, "the delayed task is done and both letters are there")
	if err := worker.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker ended with %v, want a clean end", err)
	}
	if left := w.redis.XInfoConsumers(ctx, "wm:{php}:tasks", "workers").Val(); len(left) > 0 {
		t.Errorf("the worker left %v behind", left)
	}
}

// TestKilledWorkersTaskIsTakenOver kills a worker in PHP in the middle of a task: another one in PHP runs it.
func TestKilledWorkersTaskIsTakenOver(t *testing.T) {
	t.Parallel()
	w := open(t)
	first, said := w.work()
	out := make(chan error, 1)
	go func() {
		pid, err := doze.Call(t.Context(), w.client, 1)
		if err == nil && pid == first.Process.Pid {
			err = fmt.Errorf("the killed worker %d ended it", pid)
		}
		out <- err
	}()
	if !said.Scan() {
		t.Fatal("the task did not start")
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	w.redis.Del(t.Context(), w.redis.Keys(t.Context(), "wm:{php}:lease:*").Val()...) // as if 10 seconds had gone by
	w.work()
	if err := <-out; err != nil {
		t.Error(err)
	}
	if got := w.count("reclaimed"); got != 1 {
		t.Errorf("got %d reclaimed, want 1", got)
	}
}
