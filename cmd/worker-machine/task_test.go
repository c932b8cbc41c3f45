package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

func TestCall(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", "cat=cat", "--handle", "env=env", "--handle", "fail=sh -c 'echo oh \x1b[31mno >&2; exit 7'")
	if got := c.must("", "call", "cat", "; rm -rf / $(id)"); got != "; rm -rf / $(id)" {
		t.Errorf("got %q", got)
	}
	if got := c.must("a\x00\xff\n", "call", "cat", "-"); got != "a\x00\xff\n" {
		t.Errorf("from stdin: got %q", got)
	}
	if got := c.must("ignored", "call", "cat"); got != "" {
		t.Errorf("without a payload: got %q", got)
	}
	if got := c.must("", "call", "cat", "--", "--option"); got != "--option" {
		t.Errorf("an option as payload: got %q", got)
	}
	wantAll(t, c.must("", "call", "env", "--header", "trace=7", "--max-attempts", "3", "--timeout", "9s"),
		"WM_HEADER_TRACE=7\n", "WM_MAX_ATTEMPTS=3\n", "WM_ATTEMPT=1\n", "WM_FUNCTION=env\n", "WM_QUEUE=default\n", "WM_TASK_ID=")
	wantAll(t, c.must("", "call", "cat", "x", "--json"), `"result":"x"`, `"function":"cat"`, `"queue":"default"`)
	wantAll(t, c.must("\xff", "call", "cat", "-", "--json"), `"result_base64":"/w=="`)

	out, errs, code := c.run("", "call", "fail", "--max-attempts", "2")
	if code != exitFailed || out != "" || strings.Contains(errs, "\x1b") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	wantAll(t, errs, "fail failed: sh: exit status 7: oh no (attempt 2, task ")
	out, _, code = c.run("", "call", "fail", "--max-attempts", "1", "--json")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, out, `"error":{"message":"sh: exit status 7: oh no","reason":"failed","attempt":1,"task":"`)
}

func TestErrorsAreSafeToPrint(t *testing.T) {
	t.Parallel()
	cause := &stream.TaskError{Function: "f", TaskID: "01J", Attempt: 2, Reason: "dropped", Message: "oh \x1b[31mno\a"}
	err := taskText(fmt.Errorf("stream: call f: %w", cause))
	if want := "f dropped: oh no (attempt 2, task 01J)"; err.Error() != want || !errors.Is(err, cause) {
		t.Errorf("got %q, want %q", err, want)
	}
	if got := taskText(errors.New("\x1b]0;title\ax")).Error(); got != "x" {
		t.Errorf("got %q", got)
	}
}

func TestCallWithoutWorker(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	_, errs, code := c.run("", "call", "f", "--wait", "2500ms", "--queue", "lonely")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "no worker reads queue lonely yet", "no result within --wait 2.5s")
	_, errs, _ = c.run("", "call", "f", "--wait", "300ms", "--queue", "lonely")
	wantAll(t, errs, "no result within --wait 300ms; the task is cancelled unless it has started; no worker reads queue lonely\n")
	wantAll(t, c.must("", "stats", "--json", "lonely"), `"backlog":0,"running":0,"delayed":0,"dead":0`) // cancelled
	s := c.start("call", "f")
	redistest.Eventually(t, patience, func() bool {
		return strings.Contains(c.must("", "stats", "--json", "default"), `"backlog":1`)
	}, "the task is stored")
	s.ctrlC()
	if code := s.wait(); code != exitFailed {
		t.Errorf("exit code %d after ctrl-C", code)
	}
	wantAll(t, s.stderr.String(), "worker-machine: interrupted")
	wantAll(t, c.must("", "stats", "--json", "default"), `"backlog":0`)
}

func TestEnqueue(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	id := strings.TrimSpace(c.must("", "enqueue", "f", "x", "--unique", "k", "--unique-ttl", "1h"))
	out, errs, code := c.run("", "enqueue", "f", "x", "--unique", "k")
	if code != 0 || strings.TrimSpace(out) != id {
		t.Errorf("a second one: exit code %d, stdout %q, want %q", code, out, id)
	}
	wantAll(t, errs, "not stored: task "+id)
	var record enqueued
	if err := json.Unmarshal([]byte(c.must("", "enqueue", "f", "x", "--unique", "k", "--json")), &record); err != nil || !record.Duplicate || record.ID != id {
		t.Errorf("got %+v, %v", record, err)
	}
	c.must("", "enqueue", "f", "--after", "1h")
	c.must("", "enqueue", "f", "--at", time.Now().Add(time.Hour).Format(time.RFC3339))
	c.must("", "enqueue", "f", "--at", "2001-02-03 04:05") // has passed; a worker finds it at once
	wantAll(t, c.must("", "stats", "--json"), `"backlog":1,"running":0,"delayed":3`)
}

func TestEnqueueLimits(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	_, errs, code := c.run(strings.Repeat("x", 1<<20+1), "enqueue", "f", "-")
	if code != exitFailed {
		t.Errorf("a payload that is too large: exit code %d", code)
	}
	wantAll(t, errs, "the payload is too large: stdin holds more than 1048576 bytes", "--max-payload")
	c.must(strings.Repeat("x", 1<<20+1), "enqueue", "f", "-", "--max-payload", "2000000", "--max-queue", "1")
	_, errs, code = c.run("", "enqueue", "f", "--max-queue", "1")
	if code != exitFailed {
		t.Errorf("a full queue: exit code %d", code)
	}
	wantAll(t, errs, "the queue is full", "Nothing was stored", "--max-queue")
}

func TestStats(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	out, errs, code := c.run("", "stats")
	if code != 0 || out != "" {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
	wantAll(t, errs, "no queue with the prefix wm")
	c.must("", "enqueue", "f", "--queue", "web")
	c.must("", "enqueue", "f", "--queue", "mail", "--after", "1h")
	lines := strings.Split(c.must("", "stats"), "\n")
	for i, want := range []string{"queue backlog running delayed dead oldest workers done", "mail 0 0 1 0 - 0 0", "web 1 0 0 0"} {
		if got := strings.Join(strings.Fields(lines[i]), " "); !strings.HasPrefix(got, want) {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
	if out := c.must("", "stats", "web", "--json"); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"queue":"web"`) {
		t.Errorf("got %q", out)
	}
	if out := c.must("", "stats", "--prefix", "other", "--json"); out != "" {
		t.Errorf("another prefix: %q", out)
	}
	s := c.start("stats", "--watch", "1ms", "--json")
	s.stdout.await(t, `"queue":"web"`)
	c.must("", "enqueue", "f", "--queue", "web")
	s.stdout.await(t, `"queue":"web","backlog":2`)
	s.ctrlC()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d after ctrl-C", code)
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "-", 240 * time.Millisecond: "0.2s", 42 * time.Second: "42s", 310 * time.Second: "5m10s",
		3*time.Hour + 2*time.Minute: "3h2m", 292 * time.Hour: "12d4h",
	} {
		if got := ageText(d); got != want {
			t.Errorf("ageText(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestDead(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	worker := c.work("--handle", "fail=sh -c 'echo oh >&2; exit 7'", "--handle", "late=false", "--max-attempts", "1")
	for _, args := range [][]string{{"call", "fail", "evil \x1b[31m\nline"}, {"call", "late", "x"}, {"call", "late", "\xff"}} {
		if _, _, code := c.run("", args...); code != exitFailed {
			t.Fatalf("%v did not fail", args)
		}
	}
	worker.ctrlC()
	worker.wait()

	out := c.must("", "dead", "list")
	wantAll(t, out, "id ", "function", "reason", `evil \x1b[31m\nline`, "sh: exit status 7: oh", "failed")
	if strings.Contains(out, "\x1b") {
		t.Errorf("an escape character reaches the terminal: %q", out)
	}
	var letters []letterRecord
	for line := range strings.Lines(c.must("", "dead", "list", "--json")) {
		var letter letterRecord
		if err := json.Unmarshal([]byte(line), &letter); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		letters = append(letters, letter)
	}
	if len(letters) != 3 || letters[2].Payload == nil || *letters[2].Payload != "evil \x1b[31m\nline" || letters[0].Base64 != "/w==" {
		t.Fatalf("got %+v", letters)
	}
	if _, errs, _ := c.run("", "dead", "list", "--limit", "1"); !strings.Contains(errs, "there are more") {
		t.Errorf("stderr is %q", errs)
	}
	if got := c.must("", "dead", "list", "--function", "fail", "--json"); strings.Count(got, "\n") != 1 {
		t.Errorf("those of one function: %q", got)
	}

	_, errs, code := c.run("", "dead", "purge", "--all")
	if code != exitUsage {
		t.Errorf("purge without being asked: exit code %d", code)
	}
	wantAll(t, errs, "to purge 3 dead letters of queue default without being asked, add --yes")
	wantAll(t, c.must("", "dead", "replay", letters[2].ID, "--json"), `"replayed":1`)
	if _, errs, code := c.run("", "dead", "replay", letters[2].ID); code != exitFailed || !strings.Contains(errs, "no such dead letter") {
		t.Errorf("replayed twice: exit code %d, %q", code, errs)
	}
	wantAll(t, c.must("", "stats", "--json"), `"backlog":1`, `"dead":2`)
	wantAll(t, c.must("", "dead", "purge", "--all", "--function", "late", "--yes", "--json"), `"purged":2`)
	_, errs, _ = c.run("", "dead", "list")
	wantAll(t, errs, "no dead letters in queue default")
}

// TestArrangements takes the same commands through a socket, TLS aside, through sentinels and through a cluster.
func TestArrangements(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs Redis servers, left out by -short")
	}
	cluster := redistest.StartCluster(t, 3)
	server := redistest.StartTCP(t)
	sentinels := redistest.StartSentinel(t, server)
	_, errs, code := consoleAt(t, "redis+sentinel://"+sentinels.Addr+"/nobody").run("", "stats")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "the sentinels at "+sentinels.Addr+" know no primary named nobody")
	for _, args := range [][]string{
		{"stats"},
		{"call", "f"},
		{"enqueue", "f"},
		{"map", "f"},
		{"dead", "list"},
		{"work", "--handle", "f=cat"},
		{"demo", "--redis", "redis://" + cluster.Addrs()[0]},
	} {
		_, errs, code := consoleAt(t, "redis://"+cluster.Addrs()[0]).run("x\n", args...)
		if code != exitFailed {
			t.Errorf("%v of a cluster's node as a single server: exit code %d", args, code)
		}
		wantAll(t, errs, "is a node of a cluster", "redis+cluster://host:port", "redis+cluster://"+cluster.Addrs()[0])
	}
	for name, url := range map[string]string{
		"cluster":  "redis+cluster://" + strings.Join(cluster.Addrs(), ","),
		"sentinel": "redis+sentinel://" + sentinels.Addr + "/" + redistest.MasterName,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := consoleAt(t, url)
			c.work("--handle", "cat=cat", "--queue", "a", "--queue", "b")
			if got := c.must("", "call", "--queue", "b", "cat", "x"); got != "x" {
				t.Errorf("got %q", got)
			}
			wantAll(t, c.must("", "stats", "--json"), `"queue":"a"`, `"workers":1`, `"done":1`)
		})
	}
}
