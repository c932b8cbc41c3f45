package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// startPages starts something that is no Redis.
func startPages(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// workersOf counts the processes of the demo with this prefix; every test has one of its own.
func workersOf(t *testing.T, prefix string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), demoWorkerCmd+"\x00") && strings.Contains(string(text), prefix+"-demo-") {
			n++
		}
	}
	return n
}

func demoConsole(t *testing.T) (c *console, prefix string) {
	t.Helper()
	c = consoleAt(t, "redis://127.0.0.1:1") // which it must not look at
	prefix = strings.ToLower(stream.NewID())
	c.flags = []string{"--prefix", prefix}
	return c, prefix
}

func checkRuns(t *testing.T, line string) {
	t.Helper()
	var report struct{ Runs []demoRun }
	if err := json.Unmarshal([]byte(line), &report); err != nil || strings.Count(line, "\n") != 1 {
		t.Fatalf("%q: %v", line, err)
	}
	ideal := []float64{10, 3, 1}
	for i, run := range report.Runs {
		if run.Workers != demoCrews[i] || run.Done != 9 || run.Failed != 1 || run.Seconds < run.Ideal || run.Ideal < ideal[i]*0.1-0.001 || run.Ideal > ideal[i]*0.1+0.001 {
			t.Errorf("got %+v", run)
		}
	}
	if len(report.Runs) != len(demoCrews) {
		t.Errorf("got %d runs", len(report.Runs))
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	c, prefix := demoConsole(t)
	out := c.must("", "demo", "--delay", "50ms")
	wantAll(t, out, "1 worker process:", "4 worker processes:", "10 worker processes:", "LinuxFr.org\n", "error: http://127.0.0.1:",
		"/page/6 answered 500 Internal Server Error", "workers  titles  errors", "0.50 s", "0.15 s", "0.05 s")
	if n := strings.Count(out, "LinuxFr.org"); n != 3 {
		t.Errorf("a title came %d times, want 3", n)
	}
	if n := workersOf(t, prefix); n != 0 {
		t.Errorf("%d worker processes are left", n)
	}
	checkRuns(t, c.must("", "demo", "--delay", "100ms", "--json"))
}

func TestDemoOnARealRedis(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t, "--requirepass", canary)
	c, _ := demoConsole(t)
	client := server.Client(t, func(o *redis.Options) { o.Password = canary })
	if err := client.Set(t.Context(), "mine", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	out, errs, code := c.run("", "demo", "--delay", "100ms", "--json", "--redis", "redis://:"+canary+"@"+server.Addr)
	if code != 0 || strings.Contains(out+errs, canary) {
		t.Fatalf("exit code %d, %s%s", code, out, errs)
	}
	checkRuns(t, out)
	if keys, err := client.Keys(t.Context(), "*").Result(); err != nil || len(keys) != 1 || keys[0] != "mine" {
		t.Errorf("left in Redis: %q, %v", keys, err)
	}
}

func TestDemoEndsWithCtrlC(t *testing.T) {
	t.Parallel()
	c, prefix := demoConsole(t)
	s := c.start("demo", "--delay", "100ms")
	s.stdout.await(t, "4 worker processes")
	if n := workersOf(t, prefix); n != 4 {
		t.Errorf("%d worker processes run, want 4", n)
	}
	s.ctrlC()
	if code := s.wait(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if n := workersOf(t, prefix); n != 0 {
		t.Errorf("%d worker processes are left", n)
	}
	wantAll(t, s.stderr.String(), "worker-machine: interrupted")
}

func TestDemoKilled(t *testing.T) {
	t.Parallel()
	c, prefix := demoConsole(t)
	cmd, stdout, _ := c.process("demo", "--delay", "100ms")
	stdout.await(t, "4 worker processes")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	redistest.Eventually(t, patience, func() bool { return workersOf(t, prefix) == 0 }, "the worker processes end")
}

func TestDemoWorkerEndsWithItsStdin(t *testing.T) {
	t.Parallel()
	s := newConsole(t).start(demoWorkerCmd)
	s.stdout.await(t, readyLine+"\n")
	_ = s.stdin.Close()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
}

func TestCrewTellsWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	a := &app{env: []string{asMain}, prefix: "wm", logLevel: "warn", redis: "redis://127.0.0.1:1"}
	crew := newCrew(a)
	err := crew.grow(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), "no Redis answers at 127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(crew.dismiss()); err != nil {
		t.Error(err)
	}
}

func TestDev(t *testing.T) {
	t.Parallel()
	c := consoleAt(t, "redis://127.0.0.1:1")
	s := c.start("dev", "--port", "0")
	s.stdout.await(t, "ctrl-C ends it.")
	out := s.stdout.String()
	wantAll(t, out, "NOT FOR PRODUCTION", "worker-machine work --redis redis://127.0.0.1:", "map --redis", "stats --redis")
	url, _, _ := strings.Cut(out, " ")
	mine := consoleAt(t, url)
	worker := mine.work("--handle", "cat=cat")
	if got := mine.must("", "call", "cat", "x"); got != "x" {
		t.Errorf("got %q", got)
	}
	_, text := numbers(50)
	if got := mine.must(text, "map", "cat", "--ordered"); got != text {
		t.Errorf("got %q", got)
	}
	wantAll(t, mine.must("", "stats", "--json"), `"workers":1`, `"done":51`)
	worker.ctrlC()
	worker.wait()
	_, errs, code := c.run("", "dev", "--port", url[strings.LastIndexByte(url, ':')+1:])
	if code != exitFailed {
		t.Errorf("a port that is taken: exit code %d", code)
	}
	wantAll(t, errs, "may be taken")
	s.ctrlC()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d after ctrl-C", code)
	}
	wantAll(t, s.stderr.String(), "is gone")
}
