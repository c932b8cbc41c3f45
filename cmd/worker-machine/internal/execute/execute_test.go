package execute_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
)

var meta = execute.Meta{TaskID: "01J", Function: "f", Queue: "q", Attempt: 2, MaxAttempts: 5}

func newProgram(t *testing.T, cfg execute.Config) *execute.Program {
	t.Helper()
	if cfg.Environ == nil {
		cfg.Environ = os.Environ()
	}
	program, err := execute.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func run(t *testing.T, cfg execute.Config, payload string) (string, error) {
	t.Helper()
	out, err := newProgram(t, cfg).Run(t.Context(), meta, []byte(payload))
	return string(out), err
}

func TestRun(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcdef", 1<<16) // more than a pipe holds
	tests := map[string]struct {
		cfg           execute.Config
		payload, want string
	}{
		"stdin becomes stdout":            {execute.Config{Words: []string{"cat"}}, "a\x00b\n", "a\x00b\n"},
		"a megabyte there and back":       {execute.Config{Words: []string{"cat"}}, big, big},
		"shell text is inert":             {execute.Config{Words: []string{"cat"}}, "; rm -rf / $(id) `id` | x", "; rm -rf / $(id) `id` | x"},
		"an option is inert":              {execute.Config{Words: []string{"cat"}}, "--help", "--help"},
		"dollars are no variables":        {execute.Config{Words: []string{"printf", "%s", "$HOME;id"}}, "", "$HOME;id"},
		"input nobody reads":              {execute.Config{Words: []string{"true"}}, big, ""},
		"a shell on purpose":              {execute.Config{Shell: "cat | tr a-z A-Z"}, "abc", "ABC"},
		"another directory":               {execute.Config{Words: []string{"pwd"}, Dir: "/"}, "", "/\n"},
		"what it leaves behind is killed": {execute.Config{Shell: "sleep 1000 & echo done"}, "", "done\n"},
		"exactly the limit":               {execute.Config{Words: []string{"cat"}, MaxOutput: 4}, "1234", "1234"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := run(t, test.cfg, test.payload); err != nil || got != test.want {
				t.Errorf("got %.80q, %v; want %.80q", got, err, test.want)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	_, err := run(t, execute.Config{Shell: `printf 'one\n\033[31mtwo\007\n' >&2; exit 3`}, "")
	var exit *execute.ExitError
	if !errors.As(err, &exit) || exit.State != "exit status 3" || exit.Stderr != "one\ntwo" {
		t.Errorf("got %v, want exit status 3 with one and two", err)
	}
	_, err = run(t, execute.Config{Shell: `kill -9 $$`}, "")
	if !errors.As(err, &exit) || exit.State != "signal: killed" {
		t.Errorf("got %v, want signal: killed", err)
	}
	_, err = run(t, execute.Config{Shell: `i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1`}, "")
	if !errors.As(err, &exit) || len(exit.Stderr) > 8<<10+3 || !strings.HasPrefix(exit.Stderr, "...line ") || !strings.HasSuffix(exit.Stderr, "line 2999") {
		t.Errorf("got %d bytes of stderr, %.20q to %v", len(exit.Stderr), exit.Stderr, err)
	}
}

func TestOutputIsCapped(t *testing.T) {
	t.Parallel()
	_, err := run(t, execute.Config{Words: []string{"cat", "/dev/zero"}, MaxOutput: 1 << 20}, "")
	var tooBig *execute.OutputError
	if !errors.As(err, &tooBig) || !strings.Contains(err.Error(), "longer than 1.0 MiB") {
		t.Errorf("got %v, want an OutputError", err)
	}
	// It ended before anyone saw how much it wrote.
	_, err = run(t, execute.Config{Words: []string{"echo", "12345"}, MaxOutput: 5}, "")
	if !errors.As(err, &tooBig) {
		t.Errorf("got %v, want an OutputError", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	environ := []string{"PATH=" + os.Getenv("PATH"), "REDIS_URL=redis://:secret@h", "LC_ALL=C", "HOME=/home/x", "TOKEN=t", "MINE=yes", "LANG=C", "WM_TASK_ID=forged"}
	withHeaders := meta
	withHeaders.Headers = map[string]string{"trace-id": "7", "LD_PRELOAD": "x", "nul": "a\x00b"}
	out, err := newProgram(t, execute.Config{Words: []string{"env"}, Environ: environ, Pass: []string{"MINE"}}).Run(t.Context(), withHeaders, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(slices.Values(strings.Split(strings.TrimSpace(string(out)), "\n")))
	want := []string{
		"LANG=C", "LC_ALL=C", "MINE=yes", "PATH=" + os.Getenv("PATH"),
		"WM_ATTEMPT=2", "WM_FUNCTION=f", "WM_HEADER_LD_PRELOAD=x", "WM_HEADER_NUL=a", "WM_HEADER_TRACE_ID=7",
		"WM_MAX_ATTEMPTS=5", "WM_QUEUE=q", "WM_TASK_ID=01J",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	notExecutable := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(notExecutable, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]execute.Config{
		"nothing":                  {},
		"an empty word":            {Words: []string{""}},
		"a program that is not":    {Words: []string{"no-such-program-here"}},
		"a file, not a program":    {Words: []string{notExecutable}},
		"a relative PATH":          {Words: []string{"cat"}, Environ: []string{"PATH=.:bin"}},
		"no PATH":                  {Words: []string{"cat"}, Environ: []string{"X=y"}},
		"a directory that is not":  {Words: []string{"cat"}, Dir: notExecutable},
		"a shell without its PATH": {Shell: "id", Environ: []string{"PATH="}},
	} {
		if cfg.Environ == nil {
			cfg.Environ = os.Environ()
		}
		if program, err := execute.New(cfg); err == nil {
			t.Errorf("%s: got %v and no error", name, program.Path())
		}
	}
}

var errLate = errors.New("too late")

// TestCancelKillsTheGroup stops a program with a child and a grandchild of which one ignores SIGTERM.
func TestCancelKillsTheGroup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "pids")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	program := newProgram(t, execute.Config{Dir: dir, Shell: `trap '' TERM; sh -c 'trap "" TERM; sleep 1000 & echo $! $$ > pids; wait'; wait`})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	failed := make(chan error, 1)
	go func() {
		_, err := program.Run(ctx, meta, nil)
		failed <- err
	}()
	text, err := os.ReadFile(fifo) // blocks until they are there
	if err != nil {
		t.Fatal(err)
	}
	cancel(errLate)
	if err := <-failed; !errors.Is(err, errLate) {
		t.Errorf("got %v, want the cause", err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil || pid <= 1 {
			t.Fatalf("no process ID: %q", text)
		}
		awaitGone(t, pid)
	}
}

// awaitGone waits until a process is no more, or a zombie nobody here can reap.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-poll.C {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if syscall.Kill(pid, 0) != nil || err == nil && bytes.Contains(stat, []byte(") Z ")) {
			return
		}
	}
	t.Errorf("process %d still runs", pid)
}

// TestEndKillsTheGroup leaves a process behind that holds no pipe.
func TestEndKillsTheGroup(t *testing.T) {
	t.Parallel()
	out, err := run(t, execute.Config{Shell: "sleep 1000 >/dev/null 2>&1 </dev/null & echo $!"}, "")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || pid <= 1 {
		t.Fatalf("no process ID: %q", out)
	}
	awaitGone(t, pid)
}

func TestCancelledBeforeTheStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLate)
	if _, err := newProgram(t, execute.Config{Words: []string{"cat"}}).Run(ctx, meta, nil); !errors.Is(err, errLate) {
		t.Errorf("got %v", err)
	}
}

// TestForkThatLeaves has a process in a session of its own that holds the output open: the result is there without it.
func TestForkThatLeaves(t *testing.T) {
	t.Parallel()
	began := time.Now()
	out, err := run(t, execute.Config{Shell: "setsid sleep 3 & echo result"}, strings.Repeat("x", 1<<20))
	if err != nil || out != "result\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if took := time.Since(began); took > 2500*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

// TestManyRuns leaves neither file descriptors nor zombies behind.
func TestManyRuns(t *testing.T) { //nolint:paralleltest // counts the files of the whole process
	before := openFiles(t)
	for range 30 {
		if _, err := run(t, execute.Config{Words: []string{"cat"}}, "x"); err != nil {
			t.Fatal(err)
		}
		_, _ = run(t, execute.Config{Words: []string{"false"}}, "x")
	}
	if after := openFiles(t); after > before+3 {
		t.Errorf("%d files are open, %d were", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
