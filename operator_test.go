package workermachine_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// startWorker runs a worker on queue web until the test ends.
func startWorker(t *testing.T, store *stream.Store, cfg group.Config, handle func(context.Context, string) (string, error)) *group.Worker {
	t.Helper()
	worker, err := group.NewWorker(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	group.Handle(worker, GetTitle, handle)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	return worker
}

func newStore(t *testing.T, client *redis.Client) *stream.Store {
	t.Helper()
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// TestWhatAnOperatorSees runs the redis-cli lines of README.md beside a worker that runs two of four tasks, and holds the answers to
// what README.md says about them.
func TestWhatAnOperatorSees(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	store := newStore(t, rdb)
	client, err := stream.NewClient(store, stream.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	worker := startWorker(t, store, group.Config{Concurrency: 2}, func(_ context.Context, site string) (string, error) {
		<-release
		return site, nil
	})
	t.Cleanup(func() { close(release) })
	for i := range 4 {
		options := []stream.Option{stream.Header("trace", "4bf92f35")}
		if i == 3 {
			options = append(options, stream.After(time.Hour))
		}
		if _, err := GetTitle.Enqueue(t.Context(), client, "linuxfr.org", options...); err != nil {
			t.Fatal(err)
		}
	}
	redistest.Eventually(t, 5*time.Second, func() bool {
		pending, err := rdb.XPending(t.Context(), "wm:{web}:tasks", "workers").Result()
		return err == nil && pending.Count == 2
	})

	answers := map[string]any{}
	for _, block := range blocks(readFile(t, "README.md"), "sh") {
		for _, words := range shellCommands(block) {
			if words[0] != "redis-cli" {
				continue
			}
			var command []any
			for _, word := range words[1:] {
				if !strings.HasPrefix(word, "--") {
					command = append(command, word)
				}
			}
			answer, err := rdb.Do(t.Context(), command...).Result()
			if err != nil {
				t.Errorf("%v: %v", command, err)
			}
			name := fmt.Sprint(command[0])
			if name == "XPENDING" && len(command) > 3 {
				name = "XPENDING long"
			}
			answers[name] = answer
		}
	}
	checkAnswers(t, answers, worker.Name())
}

// checkAnswers compares what commands answered with what README.md says they do.
func checkAnswers(t *testing.T, answers map[string]any, worker string) {
	t.Helper()
	flat := func(name string) string { return fmt.Sprint(answers[name]) }
	for name, want := range map[string][]string{
		"XPENDING":      {"[2 ", worker + " 2"},
		"XPENDING long": {worker},
		"XRANGE":        {"[v1 ", " getTitle h.trace=4bf92f35\n\"linuxfr.org\"]"},
		"XLEN":          {"3"},
		"XINFO":         {"name:" + worker, "pending:2", "idle:"},
		"SMEMBERS":      {"web"},
		"HGETALL":       {"enqueued:4"},
		"ZRANGE":        {"e+12"},
	} {
		for _, part := range want {
			if !strings.Contains(flat(name), part) {
				t.Errorf("%s: got %s, want %q in it", name, flat(name), part)
			}
		}
	}
}

// TestTasksOfOtherLanguages runs the commands PROTOCOL.md has for clients without this library, and waits for their outcomes.
func TestTasksOfOtherLanguages(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	startWorker(t, newStore(t, rdb), group.Config{}, fetchTitle)
	written := blocks(readFile(t, "PROTOCOL.md"), "redis")
	if len(written) == 0 {
		t.Fatal("PROTOCOL.md has no block of Redis commands")
	}
	reply := ""
	for line := range strings.Lines(strings.Join(written, "")) {
		command := redisWords(t, strings.TrimSpace(line))
		if err := rdb.Do(t.Context(), command...).Err(); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if command[0] == "PEXPIRE" {
			reply = fmt.Sprint(command[1])
		}
	}
	redistest.Eventually(t, 5*time.Second, func() bool { return rdb.HGet(t.Context(), "wm:{web}:counts", "done").Val() == "3" })
	entries, err := rdb.XRange(t.Context(), reply, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(entries, func(m redis.XMessage) bool { return strings.Contains(fmt.Sprint(m.Values), `+"Title of linuxfr.org"`) }) {
		t.Errorf("got replies %v, want the title", entries)
	}
}

// redisWords splits a command as redis-cli does: at blanks, with Go's escapes inside double quotes.
func redisWords(t *testing.T, line string) []any {
	t.Helper()
	var words []any
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			words, line = append(words, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		words, line = append(words, word), line[len(quoted):]
	}
	return words
}
