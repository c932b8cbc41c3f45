package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/top"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// bigQueue lays out a queue by hand: tasks that wait, dead letters, and workers that have two tasks each.
func bigQueue(t *testing.T, store *stream.Store, waiting, dead, workers int) {
	t.Helper()
	ctx, client, keys := t.Context(), store.Client(), store.Keys("web")
	do := func(n int, one func(redis.Pipeliner, int)) {
		t.Helper()
		const atOnce = 5000
		for start := 0; start < n; start += atOnce {
			pipe := client.Pipeline()
			for i := start; i < min(start+atOnce, n); i++ {
				one(pipe, i)
			}
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := store.Register(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	do(1, func(p redis.Pipeliner, _ int) { p.XGroupCreateMkStream(ctx, keys.Tasks(), store.Group(), "0") })
	payload := []byte(strings.Repeat("x", 100))
	do(waiting+2*workers, func(p redis.Pipeliner, i int) {
		task := wire.Task{ID: stream.NewID(), Function: fmt.Sprintf("function%d", i%20), Attempt: 1, Payload: payload}
		p.XAdd(ctx, &redis.XAddArgs{Stream: keys.Tasks(), Values: task.Fields()})
	})
	do(workers, func(p redis.Pipeliner, i int) {
		name := fmt.Sprintf("worker-%03d", i)
		p.XReadGroup(ctx, &redis.XReadGroupArgs{Group: store.Group(), Consumer: name, Streams: []string{keys.Tasks(), ">"}, Count: 2})
		p.Set(ctx, keys.Lease(name), `{"host":"h","pid":7,"functions":["function1"],"queues":["web"],"concurrency":16}`, time.Hour)
	})
	do(dead, func(p redis.Pipeliner, i int) {
		task := wire.Task{ID: stream.NewID(), Function: fmt.Sprintf("function%d", i%20), Attempt: 3, Payload: payload}
		p.XAdd(ctx, &redis.XAddArgs{Stream: keys.Dead(), Values: append(task.Fields(),
			"reason", "failed", "error", fmt.Sprintf("dial tcp 192.0.2.%d:443: connection refused", i%250), "worker", "worker-001", "entry", "1-1")})
	})
}

var calls = regexp.MustCompile(`cmdstat_([^:]+):calls=(\d+)`)

// commandsOf is how many commands Redis ran, those in scripts among them.
func commandsOf(t *testing.T, client *redis.Client, do func()) (n int) {
	t.Helper()
	client.ConfigResetStat(context.WithoutCancel(t.Context()))
	do()
	for _, match := range calls.FindAllStringSubmatch(client.Info(t.Context(), "commandstats").Val(), -1) {
		if match[1] != "config|resetstat" {
			count, _ := strconv.Atoi(match[2])
			n += count
		}
	}
	return n
}

// TestBigQueue holds every view to its bounds on a large queue: WM_FULL=1 takes a million tasks, and says what each view costs.
func TestBigQueue(t *testing.T) {
	t.Parallel()
	waiting, dead, workers := 20_000, 1000, 200
	full := os.Getenv("WM_FULL") != ""
	if full {
		waiting, dead = 1_000_000, 10_000
	}
	server := redistest.Start(t)
	c, client := consoleAt(t, server.URL()), server.Client(t)
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	bigQueue(t, store, waiting, dead, workers)

	_, task, _ := strings.Cut(c.must("", "tasks", "list", "-q", "web", "--limit", "1", "--json"), `"task":"`)
	task = task[:len(stream.NewID())]
	const most, longest = 100, 200 * time.Millisecond
	measure := func(what string, do func()) {
		do() // once before: scripts are loaded, connections open
		took := longest * 100
		n := 0
		for range 3 {
			n = commandsOf(t, client, func() {
				began := time.Now()
				do()
				took = min(took, time.Since(began))
			})
		}
		t.Logf("%-44s %7.1f ms %4d commands", what, float64(took.Microseconds())/1000, n)
		if n > most || full && took > longest {
			t.Errorf("%s: %v, %d commands; at most %v and %d", what, took, n, longest, most)
		}
	}
	for _, line := range []string{
		"queues", "workers", "workers worker-100", "tasks list -q web", "tasks list -q web --state running", "tasks list -q web --state delayed",
		"tasks list -q web --state dead", "tasks list -q web --function function7", "tasks show " + task, "pending web", "pending web --limit 20",
		"dead list -q web", "dead groups -q web", "batches web", "top --once", "doctor",
	} {
		highest := 0
		if line == "doctor" {
			highest = 1 // this server writes no append-only file, and no such worker fetches
		}
		measure(line, func() {
			if _, errs, code := c.run("", strings.Fields(line)...); code > highest {
				t.Fatalf("%s: exit code %d: %s", line, code, errs)
			}
		})
	}
	watcher := top.NewWatcher(inspect.New(store))
	for name, want := range map[string]top.Want{
		"queues": {Queue: "web"}, "workers": {Workers: true}, "a worker": {Workers: true, Queue: "web", Worker: "worker-100"}, "functions": {Queue: "web"}, "dead letters": {Groups: true},
	} {
		measure("top, a look at "+name, func() {
			if _, err := watcher.Look(t.Context(), want); err != nil {
				t.Fatal(err)
			}
		})
	}
}
