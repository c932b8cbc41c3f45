package mapreduce_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// square is the function of most tests. Some inputs are special, see handleSquare.
var square = stream.Func[int, int]{Name: "square", Queue: "numbers", MaxAttempts: 1}

// wait is a function that takes the milliseconds it is given.
var wait = stream.Func[int, int]{Name: "wait", Queue: "numbers"}

// addBase adds what its batch shares as "base", and shares "seen".
var addBase = stream.Func[int, int]{Name: "addBase", Queue: "numbers", MaxAttempts: 1}

var errNegative = errors.New("negative numbers are not squared here")

// TestMain runs the tests, or, where a test has started this binary as a worker or a reducer process, that one.
func TestMain(m *testing.M) {
	if addr := os.Getenv("MAPREDUCE_TEST_WORKER"); addr != "" {
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: addr})
		if err := serve(context.Background(), client, nil); err != nil { //nolint:forbidigo // the main of a worker process
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if spec := os.Getenv("MAPREDUCE_TEST_REDUCER"); spec != "" {
		if err := playReducer(spec); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve runs a worker with the functions above until ctx is done.
func serve(ctx context.Context, client redis.UniversalClient, started chan<- int) error {
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		return err
	}
	defer store.Close()
	worker, err := group.NewWorker(store, group.Config{
		Concurrency: 16,
		Backoff:     group.Backoff{Min: time.Millisecond, Max: 10 * time.Millisecond},
		Drain:       time.Second,
	})
	if err != nil {
		return err
	}
	group.Handle(worker, square, func(_ context.Context, n int) (int, error) {
		if n < 0 {
			return 0, errNegative
		}
		return n * n, nil
	})
	group.Handle(worker, wait, func(ctx context.Context, ms int) (int, error) {
		if started != nil {
			started <- ms
		}
		timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return ms, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
	group.Handle(worker, poison, handlePoison)
	group.Handle(worker, addBase, func(ctx context.Context, n int) (int, error) {
		shared := group.Shared(ctx)
		text, err := shared.Get(ctx, "base")
		if err != nil {
			return 0, err
		}
		base, err := strconv.Atoi(string(text))
		if err != nil {
			return 0, err
		}
		return base + n, shared.Set(ctx, "seen", text)
	})
	return worker.Run(ctx)
}

// startWorker runs a worker in this process until the test, or the returned function, ends it.
func startWorker(t testing.TB, server *redistest.Server, started chan<- int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	client := server.Client(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := serve(ctx, client, started); err != nil {
			t.Errorf("worker: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// startProcess runs a worker in a process of its own.
func startProcess(t testing.TB, server *redistest.Server) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "MAPREDUCE_TEST_WORKER="+server.Addr)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a worker process: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// newClient makes a client of a server, closed with the test.
func newClient(t testing.TB, server *redistest.Server, cfg stream.ClientConfig) *stream.Client {
	t.Helper()
	store, err := stream.NewStore(server.Client(t), stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := stream.NewClient(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		_ = client.Close(ctx)
		_ = store.Close()
	})
	return client
}

// count yields the numbers below n.
func count(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// numbers is endless.
func numbers(yield func(int) bool) {
	for i := 0; yield(i); i++ {
	}
}

// keys are the keys of the queue that belong to one batch only.
func keys(t testing.TB, client redis.UniversalClient) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"*:reply:*", "*:context:*", "*:batch:*"} {
		names, err := client.Keys(t.Context(), pattern).Result()
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, names...)
	}
	return found
}

// watched runs body, which uses a batch or more, and fails the test when it has left a key or a goroutine.
func watched(t testing.TB, server *redistest.Server, body func()) {
	t.Helper()
	label := t.Name()
	pprof.Do(t.Context(), pprof.Labels("test", label), func(context.Context) { body() })
	if left := keys(t, server.Client(t)); len(left) > 0 {
		t.Errorf("keys are left: %q", left)
	}
	redistest.Eventually(t, 5*time.Second, func() bool { return len(labelled(t, label)) == 0 },
		"goroutines of the batch have ended")
}

// labelled are the stacks of the goroutines that were started, however indirectly, under a label.
func labelled(t testing.TB, label string) []string {
	t.Helper()
	var text bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		t.Fatal(err)
	}
	var found []string
	for stack := range strings.SplitSeq(text.String(), "\n\n") {
		if strings.Contains(stack, strconv.Quote(label)) {
			found = append(found, stack)
		}
	}
	return found
}

// stored is how many tasks lie in the queue of the tests, those in chunks included.
func stored(t testing.TB, client redis.UniversalClient) (n int) {
	t.Helper()
	entries, err := client.XRange(t.Context(), "wm:{numbers}:tasks", "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		value, _ := entry.Values[wire.Field].(string)
		task, err := wire.DecodeValue([]byte(value))
		if err != nil {
			t.Fatal(err)
		}
		n += max(1, task.Items)
	}
	return n
}

// backlog is how many tasks lie in the queue of the tests.
func backlog(t testing.TB, client redis.UniversalClient) int {
	t.Helper()
	n, err := client.XLen(t.Context(), "wm:{numbers}:tasks").Result()
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}
