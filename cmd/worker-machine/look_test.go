package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// evil is what a stranger could write, to be obeyed by a terminal or to turn the direction of its text.
const evil = "e\x1b[31mvil\x1b]0;title\a \u009b31m \u202egnol \u2066x\u2069 \x7f\x00"

// wantHarmless fails for output that a terminal would obey.
func wantHarmless(t *testing.T, what, out string) {
	t.Helper()
	for _, r := range out {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Cf, r) {
			t.Fatalf("%s prints %q:\n%q", what, r, out)
		}
	}
}

// fields are the words of each line.
func fields(out string) [][]string {
	var lines [][]string
	for line := range strings.Lines(out) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

func TestQueues(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	out, errs, code := c.run("", "queues")
	if code != 0 || out != "" {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
	wantAll(t, errs, "no queue with the prefix wm")
	c.must("", "enqueue", "f", "--queue", "web")
	c.must("", "enqueue", "f", "--queue", "mail", "--after", "1h")
	lines := fields(c.must("", "queues"))
	if len(lines) != 3 || !slices.Equal(lines[1][:7], []string{"mail", "open", "0", "0", "1", "0", "-"}) || !slices.Equal(lines[2][:6], []string{"web", "no", "worker", "1", "0", "0"}) {
		t.Errorf("got %q", lines)
	}
	var q inspect.Queue
	if err := json.Unmarshal([]byte(c.must("", "queues", "--json", "-q", "web")), &q); err != nil || q.Name != "web" || q.Waiting != (inspect.Count{N: 1, Exact: true}) {
		t.Errorf("got %+v, %v", q, err)
	}
	for _, args := range [][]string{{"queues", "wbe"}, {"pause", "wbe"}, {"doctor", "wbe"}, {"purge", "wbe", "--state", "dead"}, {"pending", "wbe"}, {"workers", "-q", "wbe"}, {"dead", "list", "-q", "wbe"}, {"tasks", "list", "-q", "wbe"}} {
		out, errs, code := c.run("", args...)
		if code != exitFailed || out != "" {
			t.Errorf("%v: exit code %d, stdout %q", args, code, out)
		}
		wantAll(t, errs, "there is no queue wbe with the prefix wm", "did you mean web?")
	}
	_, errs, _ = c.run("", "queues", "quite-another")
	wantAll(t, errs, "worker-machine queues lists those there are")
	s := c.start("queues", "--watch", "1ms", "--json")
	s.stdout.await(t, `"queue":"web"`)
	c.must("", "enqueue", "f", "--queue", "web")
	s.stdout.await(t, `"queue":"web","paused":false,"waiting":{"n":2`)
	s.ctrlC()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d after ctrl-C", code)
	}
}

func TestNear(t *testing.T) {
	t.Parallel()
	known := []string{"web", "webhooks", "mail", "mails", "reports"}
	for name, want := range map[string]string{"wbe": "web", "maill": "mail mails", "report": "reports", "webh": "web webhooks", "x": "", "other": "", "WEB": "web webhooks"} {
		if got := strings.Join(near(name, known), " "); got != want {
			t.Errorf("near %q is %q, want %q", name, got, want)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("", "enqueue", "cat", "x", "--queue", "web")
	c.must("", "pause", "web")
	wantAll(t, c.must("", "queues"), "paused")
	c.work("--queue", "web", "--handle", "cat=cat")
	if got := c.must("", "resume", "web", "--json"); got != `{"paused":false,"queue":"web"}`+"\n" {
		t.Errorf("got %q", got)
	}
	redistest.Eventually(t, patience, func() bool {
		return strings.Contains(c.must("", "queues", "--json"), `"done":1`)
	}, "the task runs once its queue is open")
}

func TestDeadGroups(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	worker := c.work("--handle", "one=sh -c 'echo oh 1 >&2; exit 7'", "--handle", "two=false", "--max-attempts", "1")
	for _, function := range []string{"one", "one", "two"} {
		if _, _, code := c.run("", "call", function, "x"); code != exitFailed {
			t.Fatalf("%s did not fail", function)
		}
	}
	worker.ctrlC()
	worker.wait()
	var groups []inspect.LetterGroup
	for line := range strings.Lines(c.must("", "dead", "groups", "--json")) {
		var g inspect.LetterGroup
		if err := json.Unmarshal([]byte(line), &g); err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	if len(groups) != 2 || groups[0].N != 2 || groups[0].Function != "one" {
		t.Fatalf("got %+v", groups)
	}
	wantAll(t, c.must("", "dead", "groups"), groups[0].ID, "one", "exit status 7")
	if got := c.must("", "dead", "list", "--group", groups[0].ID, "--json"); strings.Count(got, `"function":"one"`) != 2 || strings.Count(got, "\n") != 2 {
		t.Errorf("the letters of a group: %q", got)
	}
	_, errs, code := c.run("", "dead", "purge", "--group", groups[0].ID)
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "purge 2 dead letters of queue default", "--yes")
	if got := c.must("", "dead", "purge", "--group", groups[0].ID, "--yes", "--json"); got != `{"purged":2,"queue":"default"}`+"\n" {
		t.Errorf("got %q", got)
	}
	if got := c.must("", "dead", "list", "--json"); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"function":"two"`) {
		t.Errorf("what is left: %q", got)
	}
}

// TestDeadListHasWholePayloads has one that a listing cuts.
func TestDeadListHasWholePayloads(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	long := strings.Repeat("long ", 2000)
	c.work("--handle", "no=false", "--max-attempts", "1")
	c.run(long, "call", "no", "-")
	var letter letterRecord
	if err := json.Unmarshal([]byte(c.must("", "dead", "list", "--json")), &letter); err != nil || letter.Payload == nil || *letter.Payload != long {
		t.Errorf("the payload of %d bytes is cut: %v", len(long), err)
	}
}

// TestBench holds that it does what it says and leaves nothing, however it ends.
func TestBench(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := consoleAt(t, server.URL())
	client := server.Client(t)
	nothingLeft := func(what string) {
		t.Helper()
		if keys := client.Keys(t.Context(), "*").Val(); len(keys) > 0 {
			t.Errorf("%s leaves %q", what, keys)
		}
	}
	var report benchReport
	if err := json.Unmarshal([]byte(c.must("", "bench", "--tasks", "500", "--size", "1k", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	if report.Stored != 500 || report.Done != 500 || report.Size != 1024 || report.DoneRate <= 0 || report.Latency.Start.N != 500 || report.Latency.Store.P99 <= 0 {
		t.Errorf("got %+v", report)
	}
	nothingLeft("a bench")
	wantAll(t, c.must("", "bench", "-n", "20", "--call", "--producers", "2", "--size", "8", "--size", "100"), "payloads of 8 B", "payloads of 100 B", "to call", "done")
	wantAll(t, c.must("", "bench", "-n", "20", "--workers", "0"), "stored     20")
	if err := json.Unmarshal([]byte(c.must("", "bench", "--duration", "300ms", "--rate", "100", "--json")), &report); err != nil || report.Stored < 3 || report.Stored > 31 {
		t.Errorf("300 ms at 100 a second: %+v, %v", report, err)
	}
	nothingLeft("a bench with a rate")

	s := c.start("bench", "--duration", "1h", "--queue", "mine")
	redistest.Eventually(t, patience, func() bool { return client.HGet(t.Context(), "wm:{mine}:counts", "done").Val() > "0" }, "the load runs")
	s.ctrlC()
	if code := s.wait(); code != exitFailed {
		t.Errorf("exit code %d after ctrl-C", code)
	}
	wantAll(t, s.stderr.String(), "interrupted")
	nothingLeft("ctrl-C")

	c.must("", "enqueue", "f", "--queue", "mine")
	_, errs, code := c.run("", "bench", "--queue", "mine")
	if code != exitFailed || client.XLen(t.Context(), "wm:{mine}:tasks").Val() != 1 {
		t.Errorf("a queue that is in use: exit code %d", code)
	}
	wantAll(t, errs, "queue mine is in use")
}

func TestCompletionFromRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := consoleAt(t, server.URL())
	c.work("--queue", "web", "--handle", "title=cat")
	c.must("", "enqueue", "f", "--queue", "mail")
	server.Client(t).SAdd(t.Context(), wire.Queues("wm"), "w\x1b[31m\nevil")
	redistest.Eventually(t, patience, func() bool { return c.must("", "workers", "--json") != "" }, "the worker reads its queue")
	complete := func(args ...string) string {
		out := c.must("", append([]string{"__complete"}, args...)...)
		names, _, _ := strings.Cut(out, ":4\n") // 4: no file names
		return strings.Join(strings.Fields(names), " ")
	}
	for command, want := range map[string]string{
		"queues ":                "mail web",
		"queues w":               "web",
		"queues web ":            "mail",
		"pending web ":           "",
		"pause ":                 "mail web",
		"purge web --state ":     "waiting delayed dead",
		"tasks list --state ":    "waiting running delayed dead",
		"tasks list --queue m":   "mail",
		"tasks list --function ": "title",
		"enqueue --queue ":       "mail web",
		"dead list --function ":  "title",
	} {
		args := strings.Split(command, " ")
		if got := complete(args...); got != want {
			t.Errorf("%q completes to %q, want %q", command, got, want)
		}
	}
	if got := complete("workers", ""); !strings.Contains(got, "-") || strings.Contains(got, " ") {
		t.Errorf("workers completes to %q, want one name", got)
	}
	silent := consoleAt(t, "redis://127.0.0.1:1")
	out, errs, code := silent.run("", "__complete", "queues", "")
	if code != 0 || out != ":4\n" || strings.Contains(errs, "no Redis") {
		t.Errorf("without a Redis: exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	server.Stop()
	defer server.Cont()
	if out := c.must("", "__complete", "queues", ""); out != ":4\n" {
		t.Errorf("a Redis that says nothing: %q", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		wantAll(t, c.must("", "completion", shell, "--help"), "for every new session, execute once", "worker-machine completion "+shell+" >")
	}
}

// TestNothingToObey fills Redis with what strangers could write, by hand, and looks at it with every command.
func TestNothingToObey(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := consoleAt(t, server.URL())
	client := server.Client(t)
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	keys := store.Keys("web")
	id := strings.TrimSpace(c.must(evil, "enqueue", "f", "-", "--queue", "web", "--header", "h="+strings.ReplaceAll(evil, "\x00", "")))
	c.must(evil, "enqueue", "f", "-", "--queue", "web", "--after", "1h")
	ctx := t.Context()
	lease, _ := json.Marshal(map[string]any{"host": evil, "pid": 1, "version": evil, "functions": []string{evil}, "queues": []string{evil}, "started": time.Now().UnixMilli()})
	pipe := client.Pipeline()
	pipe.SAdd(ctx, wire.Queues("wm"), evil, "web")
	pipe.XGroupCreate(ctx, keys.Tasks(), store.Group(), "0")
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Tasks(), Values: []string{evil, evil}})
	pipe.XReadGroup(ctx, &redis.XReadGroupArgs{Group: store.Group(), Consumer: evil, Streams: []string{keys.Tasks(), ">"}, Count: 1})
	pipe.XReadGroup(ctx, &redis.XReadGroupArgs{Group: store.Group(), Consumer: "w", Streams: []string{keys.Tasks(), ">"}, Count: 10, Block: -1})
	pipe.Set(ctx, keys.Lease("w"), lease, time.Minute)
	pipe.Set(ctx, keys.Lease(evil), lease, time.Minute)
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Dead(), Values: []string{evil, evil, "reason", evil, "error", evil, "worker", evil, "fn", evil}})
	pipe.HSet(ctx, keys.Counts(), evil, "1")
	for _, reply := range must(pipe.Exec(ctx)) {
		if err := reply.Err(); err != nil && err != redis.Nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") { //nolint:errorlint // Nil comes as it is
			t.Fatal(err)
		}
	}
	for _, line := range []string{
		"queues", "workers", "workers w", "pending web --limit 50", "tasks list -q web", "tasks list -q web --state running",
		"tasks list -q web --state delayed", "tasks list -q web --state dead", "tasks show " + id, "tasks show --payload " + id,
		"dead list -q web", "dead groups -q web", "batches", "doctor", "stats", "runs", "queues evil\x1b", "workers nobody",
	} {
		for _, more := range [][]string{nil, {"--json"}} {
			out, errs, code := c.run("", append(strings.Fields(line), more...)...)
			wantHarmless(t, line, out+errs)
			if code == exitFailed && !strings.HasPrefix(line, "doctor") && line != "workers nobody" {
				t.Errorf("%s: exit code %d\n%s", line, code, errs)
			}
		}
	}
}

func must[T any](value T, _ error) T { return value }
