package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
)

// decoded are the objects of --json, one a line.
func decoded[T any](t *testing.T, out string) (list []T) {
	t.Helper()
	for line := range strings.Lines(out) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, one)
	}
	return list
}

func TestTasks(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, strings.TrimSpace(c.must("", "enqueue", fmt.Sprintf("f%d", i%2), "x", "--queue", "web")))
	}
	later := strings.TrimSpace(c.must("", "enqueue", "late", "x", "--queue", "web", "--after", "1h"))
	list := func(args ...string) []inspect.Task {
		return decoded[inspect.Task](t, c.must("", append([]string{"tasks", "list", "-q", "web", "--json"}, args...)...))
	}
	if got := list(); len(got) != 5 || got[0].ID != ids[0] || got[0].State != inspect.Waiting {
		t.Fatalf("got %+v", got)
	}
	if got := list("--function", "f1"); len(got) != 2 || got[0].ID != ids[1] {
		t.Errorf("those of a function: %+v", got)
	}
	out, errs, _ := c.run("", "tasks", "list", "-q", "web", "--limit", "2")
	wantAll(t, out, "waits for", ids[0], ids[1])
	wantAll(t, errs, "2, of 5 waiting tasks of queue web; go on with --after ")
	_, after, _ := strings.Cut(errs, "--after ")
	after, _, _ = strings.Cut(after, ",")
	if got := list("--limit", "2", "--after", after); len(got) != 2 || got[0].ID != ids[2] {
		t.Errorf("the next page: %+v", got)
	}
	if got := list("--all"); len(got) != 5 {
		t.Errorf("all: %d", len(got))
	}
	wantAll(t, c.must("", "tasks", "list", "-q", "web", "--state", "delayed"), "due in", later, "59m")
	_, errs, _ = c.run("", "tasks", "list", "-q", "web", "--state", "running")
	wantAll(t, errs, "no running tasks in queue web")

	if got := c.must("", "tasks", "cancel", "-q", "web", ids[0], "--json"); got != `{"queue":"web","removed":1,"told":0,"missing":0}`+"\n" {
		t.Errorf("got %q", got)
	}
	_, errs, code := c.run("", "tasks", "cancel", "-q", "web", ids[0])
	if code != exitFailed {
		t.Errorf("exit code %d for a task that is gone", code)
	}
	wantAll(t, errs, "removed 0", "1 of 1 are not in queue web", "worker-machine tasks show "+ids[0])
	if got := c.must("", "tasks", "retry", "-q", "web", later, "--json"); got != `{"missing":0,"queue":"web","retried":1}`+"\n" {
		t.Errorf("got %q", got)
	}
	if got := c.must("", "tasks", "delete", "-q", "web", ids[1], later, "--json"); got != `{"deleted":2,"missing":0,"queue":"web"}`+"\n" {
		t.Errorf("got %q", got)
	}
	if got := list(); len(got) != 3 {
		t.Errorf("%d are left", len(got))
	}

	_, errs, code = c.run("", "purge", "web", "--state", "waiting")
	if code != exitUsage {
		t.Errorf("purge without being asked: exit code %d", code)
	}
	wantAll(t, errs, "remove 3 waiting tasks of queue web for good", "--yes")
	if got := c.must("", "purge", "web", "--state", "waiting", "--yes", "--json"); got != `{"queue":"web","removed":3,"state":"waiting"}`+"\n" {
		t.Errorf("got %q", got)
	}
	if got := list(); len(got) != 0 {
		t.Errorf("%d are left", len(got))
	}
}

// TestPurgeAsks answers on a terminal.
func TestPurgeAsks(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("", "enqueue", "f", "--queue", "web")
	for answer, left := range map[string]string{"n": `"waiting":{"n":1`, "": `"waiting":{"n":1`} {
		term := c.openTerminal([2]int{80, 24}, nil, "purge", "web", "--state", "waiting")
		term.await("remove 1 waiting tasks of queue web for good? [y/N]")
		term.press(answer, "Enter")
		term.await("nothing was done", "ended with 1")
		wantAll(t, c.must("", "queues", "--json"), left)
	}
	term := c.openTerminal([2]int{80, 24}, nil, "purge", "web", "--state", "waiting")
	term.await("[y/N]")
	term.press("y", "Enter")
	term.await("removed 1", "ended with 0")
	wantAll(t, c.must("", "queues", "--json"), `"waiting":{"n":0`)
}

func TestWorkersAndPending(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	_, errs, _ := c.run("", "workers")
	wantAll(t, errs, "no worker; start one")
	cmd, _, stderr := c.process("work", "--queue", "web", "--handle", "title=sleep 1000", "-c", "2", "--lease", "2s")
	stderr.await(t, "ready: worker ")
	id := strings.TrimSpace(c.must("", "enqueue", "title", "x", "--queue", "web"))
	var w inspect.Worker
	redistest.Eventually(t, patience, func() bool {
		list := decoded[inspect.Worker](t, c.must("", "workers", "--json"))
		if len(list) == 1 {
			w = list[0]
		}
		return w.Pending == 1
	}, "the task runs")
	if !w.Alive || w.PID != cmd.Process.Pid || w.Concurrency != 2 || len(w.Tasks) != 1 || w.Tasks[0].ID != id {
		t.Errorf("got %+v", w)
	}
	wantAll(t, c.must("", "workers"), w.Name, "alive", fmt.Sprint(cmd.Process.Pid), "s title")
	wantAll(t, c.must("", "workers", w.Name), "2 at a time", "1 running or fetched", id)
	wantAll(t, c.must("", "pending", "web", "--limit", "5"), "1 entries of queue web are pending", w.Name, "alive", id, "once")
	wantAll(t, c.must("", "tasks", "list", "--worker", w.Name, "-q", "web"), id, "title")
	_, errs, code := c.run("", "workers", "nobody")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "there is no worker nobody")

	if err := cmd.Process.Kill(); err != nil { // nobody else is there to take its task over
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, func() bool {
		holders := decoded[holder](t, c.must("", "pending", "web", "--json"))
		return len(holders) == 1 && !holders[0].Alive && holders[0].N == 1 && holders[0].Worker == w.Name
	}, "it is seen as dead once its lease is over")
	wantAll(t, c.must("", "pending", "web"), "dead, others take them over")
	wantAll(t, c.must("", "workers"), "dead", "over")
	out := c.must("", "tasks", "cancel", "-q", "web", id, "--json")
	wantAll(t, out, `"told":1`)
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := consoleAt(t, server.URL())
	c.work("--queue", "web", "--handle", "cat=cat")
	c.must("", "call", "cat", "x", "--queue", "web")
	out, _, code := c.run("", "doctor")
	if code != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	wantAll(t, out, "passed   redis.version", "warning  redis.aof", "→ ", "\nqueue web\n", " 0 failed")
	if _, _, code := c.run("", "doctor", "--strict"); code != exitFailed {
		t.Errorf("strict: exit code %d", code)
	}
	server.Client(t).ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru")
	server.Client(t).ConfigSet(t.Context(), "maxmemory", "1gb")
	out, _, code = c.run("", "doctor", "web", "--json")
	if code != exitFailed {
		t.Errorf("a policy that throws leases away: exit code %d", code)
	}
	failed := 0
	for _, check := range decoded[inspect.Check](t, out) {
		if check.Grade == inspect.Refused {
			failed++
			if check.Name != "redis.maxmemory-policy" || check.Remedy == "" {
				t.Errorf("got %+v", check)
			}
		}
	}
	if failed != 1 {
		t.Errorf("%d checks failed", failed)
	}
	term := c.openTerminal([2]int{120, 50}, nil, "doctor")
	term.await("ended with 1")
	if colours := term.tmux("capture-pane", "-p", "-e"); !strings.Contains(colours, "31m") || !strings.Contains(colours, "32m") {
		t.Errorf("no red and green: %q", colours)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("", "enqueue", "f", "--queue", "web")
	_, errs, _ := c.run("", "batches")
	wantAll(t, errs, "nobody waits for outcomes")
	c.start("call", "f", "--queue", "web")
	redistest.Eventually(t, patience, func() bool {
		list := decoded[inspect.Batch](t, c.must("", "batches", "web", "--json"))
		return len(list) == 1 && list[0].Alive && list[0].Queue == "web"
	}, "the call is there")
	wantAll(t, c.must("", "batches"), "session", "alive", "web")
}

func TestTasksShow(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--queue", "web", "--handle", "fail=sh -c 'echo oh >&2; exit 7'", "--max-attempts", "1")
	_, errs, _ := c.run("secret\x1b[31m \u202epayload", "call", "fail", "-", "--queue", "web", "--header", "trace=7")
	_, id, _ := strings.Cut(errs, "task ")
	id = id[:26]
	out := c.must("", "tasks", "show", id)
	wantAll(t, out, "state        dead for ", "sh: exit status 7: oh", "header       trace=7", "time ", "enqueued")
	if strings.Contains(out, "secret") {
		t.Errorf("the payload is shown unasked:\n%s", out)
	}
	wantAll(t, c.must("", "tasks", "show", id, "--payload", "-q", "web"), "\npayload:\nsecret payload\n")
	if out := c.must("", "tasks", "show", id, "--json"); strings.Contains(out, "secret") || !strings.Contains(out, `"events":[`) {
		t.Errorf("got %s", out)
	}
	var record taskRecord
	if err := json.Unmarshal([]byte(c.must("", "tasks", "show", id, "--json", "--payload")), &record); err != nil || record.Payload == nil ||
		*record.Payload != "secret\x1b[31m \u202epayload" || record.State != inspect.Dead {
		t.Errorf("got %+v, %v", record, err)
	}
	_, errs, code := c.run("", "tasks", "show", "01M842GNH5PAD9BP9VDYDARKF0")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "task 01M842GNH5PAD9BP9VDYDARKF0 is not in any queue")
}
