package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// logged are the columns of a joblog by Seq; of several lines of one the last.
func logged(t *testing.T, path string) map[int][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if lines[0] != "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand" {
		t.Fatalf("the header is %q", lines[0])
	}
	entries := map[int][]string{}
	for _, line := range lines[1:] {
		fields := strings.Split(line, "\t")
		seq, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) < 9 {
			t.Fatalf("line %q", line)
		}
		entries[seq] = fields
	}
	return entries
}

func TestMapWritesAJoblog(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", `f=read -r line; case "$line" in bad*) exit 7;; killed*) kill -9 $$;; esac; printf '%s\n' "$line"`, "--shell")
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("x", 1000)
	text := "good\nbad one\nkilled\ntab\there\\n\n" + long + "\n"
	_, _, code := c.run(text, "map", "f", "--joblog", path, "--retries", "1", "--max-payload", "100")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	entries := logged(t, path)
	for seq, want := range map[int]string{
		1: "4 5 0 0 f good", 2: "7 0 7 0 f bad one", 3: "6 0 0 9 f killed", 4: `10 11 0 0 f tab\there\\n`, 5: "101 0 1 0 f " + long[:101] + " ...",
	} {
		if got := entries[seq]; len(got) < 9 || strings.Join(got[4:], " ") != want || got[1] != "-" || len(got[2]) != len("1700000000.123") {
			t.Errorf("line of input %d: %q, want %q", seq, got, want)
		}
	}

	_, errs, code := c.run(text, "map", "f", "--joblog", path)
	if code != exitFailed {
		t.Errorf("a log that exists: exit code %d", code)
	}
	wantAll(t, errs, "it exists and is not empty", "Add --resume")

	// Those that failed run again, and what is printed keeps its number.
	out, errs, code := c.run(text, "map", "f", "--joblog", path, "--resume", "--retries", "1", "--json", "--ordered", "--max-payload", "2000")
	if code != exitFailed || strings.Count(out, "\n") != 3 {
		t.Errorf("exit code %d, stdout %s", code, out)
	}
	wantAll(t, out, `{"index":1,"input":"bad one","error"`, `{"index":2,`, `{"index":4,"input":"xxx`)
	wantAll(t, errs, "1 done, 2 failed, 0 cancelled, 2 done before in ")
	if got := logged(t, path)[5]; len(got) != 9 || got[6] != "0" {
		t.Errorf("the long one: %q", got)
	}
}

func TestResumeWantsTheSameInputs(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", "f=cat", "--handle", "g=cat")
	path := filepath.Join(t.TempDir(), "log")
	c.must("a\nb\nc\n", "map", "f", "--joblog", path)
	for name, test := range map[string]struct{ text, function, want string }{
		"another input":    {"a\nx\nc\n", "f", "it was written for other inputs: input 2 is another one.\nGive the function and the inputs"},
		"another order":    {"b\na\nc\n", "f", "input 1 is another one"},
		"another function": {"a\nb\nc\n", "g", "input 1 is another one"},
		"fewer inputs":     {"a\nb\n", "f", "holds 1 inputs more than were given"},
	} {
		out, errs, code := c.run(test.text, "map", test.function, "--joblog", path, "--resume")
		if code != exitFailed || out != "" {
			t.Errorf("%s: exit code %d, stdout %q", name, code, out)
		}
		wantAll(t, errs, test.want, path)
	}
	if out := c.must("a\nb\nc\nd\n", "map", "f", "--joblog", path, "--resume"); out != "d\n" {
		t.Errorf("one more input: %q", out)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.WriteString("5\t-\t17")
	file.Close()
	out, errs, code := c.run("a\nb\nc\nd\ne\n", "map", "f", "--joblog", path, "--resume")
	if code != 0 || out != "e\n" {
		t.Errorf("after a torn line: exit code %d, %q", code, out)
	}
	wantAll(t, errs, "was torn; 6 bytes of it were removed", "1 done, 0 failed, 0 cancelled, 4 done before")
}

// TestResumeAfterKill kills the map with kill -9 while it prints: together the two of them have printed every input, and the second
// ran only what the log did not have.
func TestResumeAfterKill(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	gate := filepath.Join(t.TempDir(), "gate")
	c.work("--handle", fmt.Sprintf(`f=read line; case "$line" in *5) until test -e %[1]s; do sleep 0.05; done;; esac; echo "$line"`, gate), "--shell")
	lines, text := numbers(60)
	file := filepath.Join(t.TempDir(), "inputs")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	stdin, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	cmd, stdout, _ := c.processOf(stdin, "map", "f", "--joblog", path, "--window", "20")
	stdout.await(t, "line 11\n") // line 5 waits
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	before := logged(t, path)
	if len(before) == 0 || len(before) == len(lines) {
		t.Fatalf("%d inputs are in the log", len(before))
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out := c.must(text, "map", "f", "--joblog", path, "--resume")
	if got := strings.Count(out, "\n"); got != len(lines)-len(before) {
		t.Errorf("%d inputs ran again, %d were not in the log", got, len(lines)-len(before))
	}
	printed := strings.Split(strings.TrimSpace(stdout.String()+out), "\n")
	slices.Sort(printed)
	if got := slices.Compact(printed); len(got) != len(lines) {
		t.Errorf("%d inputs were printed, want %d", len(got), len(lines))
	}
	if got := logged(t, path); len(got) != len(lines) {
		t.Errorf("%d inputs are in the log at the end", len(got))
	}
}

// TestACourseForgetsWhatIsOver holds the memory of a map with a log to what is out.
func TestACourseForgetsWhatIsOver(t *testing.T) {
	t.Parallel()
	a := &app{stderr: newTranscript()}
	c, err := a.newCourse(&mapFlags{joblog: filepath.Join(t.TempDir(), "log")}, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.close() }()
	index := 0
	for input := range c.inputs(t.Context(), slices.Values([][]byte{{1}, {2}, {3}})) {
		if err := c.end(mapreduce.Result[[]byte, []byte]{Index: index, Input: input}); err != nil {
			t.Fatal(err)
		}
		index++
	}
	if len(c.taken) != 0 || index != 3 {
		t.Errorf("of %d inputs it remembers %v", index, c.taken)
	}
}

func TestMapWithoutAPlaceForItsLog(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	_, errs, code := c.run("a\n", "map", "f", "--joblog", filepath.Join(t.TempDir(), "no", "log"))
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "joblog: open: ", "no such file")
	path := filepath.Join(t.TempDir(), "log")
	s := c.start("map", "f", "--joblog", path)
	redistest.Eventually(t, patience, func() bool {
		_, err := os.Stat(path)
		return err == nil
	}, "the log is there")
	_, errs, _ = c.run("a\n", "map", "f", "--joblog", path, "--resume")
	wantAll(t, errs, "another process writes to it")
	s.ctrlC()
	s.wait()
}

func TestHalt(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", `f=read line; case "$line" in bad*) exit 7;; esac; echo "$line"`, "--shell", "--max-attempts", "1", "--concurrency", "1")
	text := "good\nbad 1\ngood\nbad 2\ngood\nbad 3\ngood\n"
	for policy, want := range map[string]string{
		"never":           "4 done, 3 failed",
		"soon":            "stopped by --halt soon: 1 of 2 inputs failed",
		"soon,fail=2":     "stopped by --halt soon,fail=2: 2 of 4 inputs failed",
		"soon,fail=50%":   "stopped by --halt soon,fail=50%: 3 of 6 inputs failed",
		"soon,fail=50.1%": "4 done, 3 failed",
		"now,fail=3":      "stopped by --halt now,fail=3: 3 of 6 inputs failed",
	} {
		out, errs, code := c.run(text, "map", "f", "--window", "1", "--halt", policy)
		if code != exitFailed {
			t.Errorf("%s: exit code %d", policy, code)
		}
		wantAll(t, errs, want)
		if strings.HasPrefix(want, "stopped") && strings.Count(out+errs, "\n") > 10 {
			t.Errorf("%s: it went on\n%s%s", policy, out, errs)
		}
	}
	_, many := numbers(300)
	out, errs, _ := c.run(text+many, "map", "f", "--window", "1", "--halt", "now,fail=3", "--retries", "2")
	if n := strings.Count(out, "\n"); n > 4 {
		t.Errorf("now: it went on for %d results", n)
	}
	wantAll(t, errs, "(attempt 2, task ", "stopped by --halt now,fail=3: 3 of 6 inputs failed")

	// Soon: an input that is awaited for ever does not hold the end up, and what is out is printed.
	s := c.start("map", "f", "--halt", "soon")
	if _, err := s.stdin.Write([]byte("bad 1\ngood 2\n")); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, s.stderr.String(), "stopped by --halt soon: 1 of 1 inputs failed")
	if out := s.stdout.String(); out != "good 2\n" && !strings.Contains(s.stderr.String(), "0 done, 1 failed, 0 cancelled") {
		t.Errorf("stdout %q\n%s", out, s.stderr)
	}
}

func TestHaltPolicies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*halt{
		"never": nil, "soon": {soon: true, count: 1}, "now": {count: 1}, "now,fail=12": {count: 12}, "soon,fail=2.5%": {soon: true, percent: 2.5},
	} {
		got, err := parseHalt(text)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: got %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "later", "never,fail=1", "now,", "now,done=3", "now,fail=0", "now,fail=-1", "now,fail=0%", "now,fail=101%", "now,fail=NaN%", "soon,fail=x"} {
		if got, err := parseHalt(text); err == nil || exitCode(err) != exitUsage {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestExitOf(t *testing.T) {
	t.Parallel()
	for message, want := range map[string][2]int{
		"sh: exit status 7: oh no": {7, 0}, "sh: exit status 7": {7, 0}, "sh: signal: killed": {0, 9}, "sh: signal: segmentation fault: x": {0, 11},
		"sh: exit status 0": {1, 0}, "sh: exit status 70000": {1, 0}, "other": {1, 0}, "it said: a: exit status 7": {1, 0}, "sh: signal: love": {1, 0},
	} {
		exit, signal := exitOf(&stream.TaskError{Message: message})
		if exit != want[0] || signal != want[1] {
			t.Errorf("%q: got %d, %d, want %v", message, exit, signal, want)
		}
	}
	if exit, _ := exitOf(nil); exit != 0 {
		t.Error("no error is a failure")
	}
	if exit, _ := exitOf(errors.New("sh: exit status 7")); exit != 1 {
		t.Error("an error of another kind has an exit status")
	}
}
