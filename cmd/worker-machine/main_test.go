package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
)

// patience bounds every wait; it is for machines that are busy, not for what is tested.
const patience = 60 * time.Second

// asMain makes the test binary behave as the command, for tests that need real processes.
const asMain = "WORKER_MACHINE_TEST_AS_MAIN=1"

func TestMain(m *testing.M) {
	quietRedis()
	if name, value, _ := strings.Cut(asMain, "="); os.Getenv(name) == value {
		os.Exit(withSignals())
	}
	if name, value, _ := strings.Cut(asWorker, "="); os.Getenv(name) == value {
		os.Exit(playWorker())
	}
	os.Exit(m.Run())
}

// console runs command lines against one Redis, in a prefix of its own.
type console struct {
	t     *testing.T
	env   []string
	flags []string
}

// newConsole is one with a private server.
func newConsole(t *testing.T) *console {
	t.Helper()
	return consoleAt(t, redistest.Start(t).URL())
}

func consoleAt(t *testing.T, url string) *console {
	t.Helper()
	return &console{t: t, env: []string{"PATH=" + os.Getenv("PATH"), "REDIS_URL=" + url, asMain}}
}

// run runs one command line to its end.
func (c *console) run(stdin string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	err := run(ctx, append(args, c.flags...), c.env, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), exitCode(err)
}

// must is run for command lines that have to work; it returns stdout.
func (c *console) must(stdin string, args ...string) string {
	c.t.Helper()
	out, errs, code := c.run(stdin, args...)
	if code != 0 {
		c.t.Fatalf("%q: exit code %d\n%s%s", args, code, out, errs)
	}
	return out
}

// session is a command line that runs.
type session struct {
	t              *testing.T
	stdin          *io.PipeWriter
	stdout, stderr *transcript
	interrupt      context.CancelCauseFunc
	quit           context.CancelFunc
	done           chan struct{}
	err            error // once done is closed
}

// start starts a command line; it is interrupted with the test at the latest.
func (c *console) start(args ...string) *session {
	c.t.Helper()
	stdin, feed := io.Pipe()
	s := &session{t: c.t, stdin: feed, stdout: newTranscript(), stderr: newTranscript(), done: make(chan struct{})}
	ctx, interrupt := context.WithCancelCause(context.WithoutCancel(c.t.Context()))
	quit, quitNow := context.WithCancel(context.WithoutCancel(c.t.Context()))
	s.interrupt, s.quit = interrupt, quitNow
	go func() {
		defer close(s.done)
		s.err = run(withQuit(ctx, quit), append(args, c.flags...), c.env, stdin, s.stdout, s.stderr)
	}()
	c.t.Cleanup(func() {
		s.ctrlC()
		s.quit()
		_ = feed.Close()
		<-s.done
	})
	return s
}

// work starts a worker and waits until it is ready.
func (c *console) work(args ...string) *session {
	c.t.Helper()
	s := c.start(append([]string{"work", "--backoff-min", "10ms"}, args...)...)
	s.stderr.await(c.t, "ready: worker ")
	return s
}

func (s *session) ctrlC() { s.interrupt(errInterrupted) }

// wait waits for the end and returns the exit code.
func (s *session) wait() int {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("it did not end\n%s%s", s.stdout, s.stderr)
	}
	return exitCode(s.err)
}

// transcript keeps what is written and wakes those who wait for it.
type transcript struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newTranscript() *transcript { return &transcript{changed: make(chan struct{})} }

func (t *transcript) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.changed)
	t.changed = make(chan struct{})
	return t.text.Write(data)
}

func (t *transcript) String() string {
	text, _ := t.look()
	return text
}

func (t *transcript) look() (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String(), t.changed
}

// await returns when part was written.
func (t *transcript) await(tb testing.TB, part string) {
	tb.Helper()
	late := time.After(patience)
	for {
		text, changed := t.look()
		if strings.Contains(text, part) {
			return
		}
		select {
		case <-changed:
		case <-late:
			tb.Fatalf("%q was not written, but\n%s", part, text)
		}
	}
}

// wantAll fails for each part that text does not hold.
func wantAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

// process runs the command as a process of its own.
func (c *console) process(args ...string) (cmd *exec.Cmd, stdout, stderr *transcript) {
	c.t.Helper()
	return c.processOf(nil, args...)
}

// processOf is process with a standard input.
func (c *console) processOf(stdin io.Reader, args ...string) (cmd *exec.Cmd, stdout, stderr *transcript) {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd = exec.Command(self, append(args, c.flags...)...) // the test sends the signals
	stdout, stderr = newTranscript(), newTranscript()
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.env, stdin, stdout, stderr
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, stdout, stderr
}

func TestSignalsOfAProcess(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	for name, sig := range map[string]os.Signal{"ctrl-C": os.Interrupt, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP} {
		cmd, _, stderr := c.process("work", "--handle", "f=cat")
		stderr.await(t, "ready: worker ")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: a worker ended with %v\n%s", name, err, stderr)
		}
		wantAll(t, stderr.String(), "stopping: ", "stopped\n")
	}
}

func TestHangupCancelsACall(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	cmd, _, stderr := c.process("call", "f")
	backlog := func(want string) func() bool {
		return func() bool { return strings.Contains(c.must("", "stats", "--json", "default"), want) }
	}
	redistest.Eventually(t, patience, backlog(`"backlog":1`), "the task is stored")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("it ended with %v", err)
	}
	wantAll(t, stderr.String(), "worker-machine: interrupted\n")
	redistest.Eventually(t, patience, backlog(`"backlog":0`), "the task is cancelled")
}

func TestSecondSignalKillsWhatRuns(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	dir := t.TempDir()
	cmd, _, stderr := c.process("work", "--handle", "f=touch started; sleep 1000", "--shell", "--dir", dir)
	stderr.await(t, "ready: worker ")
	call := c.start("call", "f")
	redistest.Eventually(t, patience, func() bool {
		_, err := os.Stat(filepath.Join(dir, "started"))
		return err == nil
	}, "the task starts")
	for _, said := range []string{"stopping: ", "stopped\n"} {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		stderr.await(t, said)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	c.work("--handle", "f=printenv WM_ATTEMPT")
	if code := call.wait(); code != 0 || call.stdout.String() != "1\n" {
		t.Errorf("the task ran in attempt %q (exit code %d), want 1: being killed costs none", call.stdout, code)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{nil: 0, errReported: 1, errors.New("x"): 1, usagef("x"): 2, errors.Join(usagef("x"), usagef("y")): 2} {
		if got := exitCode(err); got != want {
			t.Errorf("exitCode(%v) = %d, want %d", err, got, want)
		}
	}
}
