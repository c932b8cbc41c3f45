package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/fleet"
	"github.com/athoune/worker-machine/internal/redistest"
)

func (c *console) self() string {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	return self
}

// noRedisConsole is for commands that use none.
func noRedisConsole(t *testing.T) *console {
	t.Helper()
	return &console{t: t, env: []string{"PATH=" + os.Getenv("PATH"), asMain}}
}

// obedient is a program that does what supervise asks for, in shell: it says ready, counts, and ends on SIGTERM.
const obedient = `trap 'echo bye; exit 0' TERM; trap 'echo got usr1' USR1; echo ready >&$WM_SUPERVISOR_FD; while :; do sleep 0.05; done`

func TestSuperviseGivesUp(t *testing.T) {
	t.Parallel()
	c := noRedisConsole(t)
	cmd, _, stderr := c.process("supervise", "-n", "3", "--crash-limit", "4", "--min-delay", "40ms", "--",
		"sh", "-c", `echo "cannot open /etc/worker.conf" >&2; exit 7`)
	began := time.Now()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitCrashLoop {
		t.Errorf("exit code %d, want %d", code, exitCrashLoop)
	}
	wantAll(t, stderr.String(),
		"crash 1 in a row: starts again in ", "(at most 40ms)", "crash 3 in a row", "(at most 160ms)", "given up after 4 crashes in a row",
		"worker-machine: given up: sh crashed 12 times in a row, each time before it was ready and 2s old; the last end: exit status 7",
		"Its last words:\n  cannot open /etc/worker.conf",
	)
	if n := strings.Count(stderr.String(), ") started\n"); n != 12 {
		t.Errorf("%d starts, want 12", n)
	}
	t.Logf("gave up after %v", time.Since(began))
}

func TestSuperviseUsage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no program":          {[]string{"supervise", "-n", "3"}, "the program is missing"},
		"missing program":     {[]string{"supervise", "--", "no-such-program"}, `"no-such-program": executable file not found`},
		"no process":          {[]string{"supervise", "-n", "-1", "--", "true"}, "--processes"},
		"restart":             {[]string{"supervise", "--restart", "maybe", "--", "true"}, "--restart: it is backoff, always or never"},
		"memory":              {[]string{"supervise", "--max-rss", "much", "--", "true"}, "64KiB"},
		"open address":        {[]string{"supervise", "--status-addr", "0.0.0.0:0", "--", "true"}, "not a loopback address"},
		"every address":       {[]string{"supervise", "--status-addr", ":0", "--", "true"}, "not a loopback address"},
		"name of a host":      {[]string{"supervise", "--status-addr", "example.org:80", "--", "true"}, "not a loopback address"},
		"prefix":              {[]string{"supervise", "--prefix", "x", "--", "true"}, "after --"},
		"flags without fleet": {[]string{"work", "--handle", "f=cat", "--max-age", "1h"}, "--max-age: it goes with --processes"},
		"worker's mistake":    {[]string{"work", "--processes", "2", "--handle", "f=no-such-program"}, `program "no-such-program": not found`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, errs, code := noRedisConsole(t).run("", test.args...)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			wantAll(t, errs, test.want)
		})
	}
}

func TestSuperviseSignals(t *testing.T) {
	t.Parallel()
	c := noRedisConsole(t)
	p := c.supervised("supervise", "-n", "2", "--name", "w", "--", "sh", "-c", obedient)
	p.awaitReady(2)
	p.signal(syscall.SIGUSR1)
	p.stdout.await(t, "w/1 | got usr1\n")
	p.stdout.await(t, "w/2 | got usr1\n")
	old := p.pids()
	p.signal(syscall.SIGHUP)
	redistest.Eventually(t, patience, func() bool {
		s := p.status()
		return s.State == "running" && s.Starts == 4 && s.Ready == 2
	}, "it rolls")
	for _, pid := range old {
		if isAlive(pid) {
			t.Errorf("%d is left after a roll", pid)
		}
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(p.stdout.String(), "| bye\n"); n != 4 {
		t.Errorf("%d of 4 processes ended by themselves\n%s", n, p.stdout)
	}
}

func TestSupervisePassesInterruptOn(t *testing.T) {
	t.Parallel()
	p := noRedisConsole(t).supervised("supervise", "--", "sh", "-c", `trap 'echo interrupted; exit 0' INT; echo ready; while :; do sleep 0.05; done`)
	p.awaitReady(1)
	p.signal(syscall.SIGINT)
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	wantAll(t, p.stdout.String(), "sh/1 | interrupted\n")
}

// deafProgram does not end when it is asked to, and has a child of its own.
const deafProgram = `trap '' TERM; sleep 1000 & echo $! > "$PIDFILE"; echo ready; while :; do wait; done`

func (c *console) deaf(args ...string) (p *fleetProcess, child int) {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "pid")
	c.env = append(c.env, "PIDFILE="+file)
	p = c.supervised(append(append([]string{"supervise"}, args...), "--", "sh", "-c", deafProgram)...)
	p.awaitReady(1)
	return p, c.pidIn(file)
}

func (c *console) pidIn(file string) (pid int) {
	c.t.Helper()
	redistest.Eventually(c.t, patience, func() bool {
		text, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 1
	}, "a process writes its number")
	return pid
}

func TestSuperviseKillsWhatDoesNotDrain(t *testing.T) {
	t.Parallel()
	p, child := noRedisConsole(t).deaf("--drain", "200ms")
	if code := p.stop(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	wantAll(t, p.stderr.String(), "has not ended 200ms after it was asked to: killed", "1 processes did not end when they were asked to")
	if isAlive(child) {
		t.Error("a child of the killed process is left")
	}
}

func TestSecondSignalKillsTheFleet(t *testing.T) {
	t.Parallel()
	p, child := noRedisConsole(t).deaf("--drain", "1h")
	pid := p.pids()[0]
	p.signal(syscall.SIGTERM)
	p.stderr.await(t, "once more to kill them")
	p.signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code != exitFailed || isAlive(pid) || isAlive(child) {
		t.Errorf("exit code %d; alive: the process %v, its child %v", code, isAlive(pid), isAlive(child))
	}
}

func TestWhatAProcessLeavesInItsGroupIsKilled(t *testing.T) {
	t.Parallel()
	p, child := noRedisConsole(t).deaf("--drain", "100ms")
	if err := syscall.Kill(p.pids()[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, patience, func() bool { return !isAlive(child) && p.status().Starts == 2 }, "its child dies, and it is started again")
	p.stop()
}

func TestProcessesDieWithAKilledSupervisor(t *testing.T) {
	t.Parallel()
	p := noRedisConsole(t).supervised("supervise", "-n", "3", "--", "sh", "-c", `trap '' TERM; echo ready; while :; do sleep 0.05; done`)
	p.awaitReady(3)
	pids := p.pids()
	p.signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	redistest.Eventually(t, patience, func() bool { return !isAlive(pids[0]) && !isAlive(pids[1]) && !isAlive(pids[2]) }, "they die")
}

// TestStraysAreReapedAndKilled has programs leave processes behind in groups of their own, some of which end and one of which does not.
func TestStraysAreReapedAndKilled(t *testing.T) {
	t.Parallel()
	c := noRedisConsole(t)
	file := filepath.Join(t.TempDir(), "pid")
	c.env = append(c.env, "PIDFILE="+file)
	p := c.supervised("supervise", "--", "sh", "-c",
		`(setsid sh -c 'echo $$ > "$PIDFILE"; exec sleep 1000' &); for i in 1 2 3 4 5; do (setsid sleep 0.1 &); done; `+obedient)
	p.awaitReady(1)
	stray := c.pidIn(file)
	redistest.Eventually(t, patience, func() bool {
		_, zombies, strays := familyOf(p.cmd.Process.Pid)
		return zombies == 0 && strays == 2 // the program, and what sleeps on
	}, "those that ended are reaped")
	pid := p.pids()[0]
	_ = syscall.Kill(pid, syscall.SIGKILL)
	redistest.Eventually(t, patience, func() bool { return p.status().Starts == 2 }, "the program is started again beside it")
	if !isAlive(stray) {
		t.Error("a process that left its group ended with its parent")
	}
	p.stop()
	if isAlive(stray) {
		t.Error("it is left at the end")
	}
}

// familyOf lists the children of a process.
func familyOf(parent int) (pids []int, zombies, alive int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		pids = append(pids, pid)
		if fields[0] == "Z" {
			zombies++
		} else {
			alive++
		}
	}
	return pids, zombies, alive
}

// TestSuperviseAsTheFirstProcess runs it as PID 1 of a namespace, as in a container: orphans come to it, and SIGTERM ends it.
func TestSuperviseAsTheFirstProcess(t *testing.T) {
	t.Parallel()
	c := noRedisConsole(t)
	args := []string{"--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	args = append(args, c.self(), "supervise", "--", "sh", "-c", `(sleep 0.05 & sleep 0.1 &); `+obedient)
	cmd := exec.Command("unshare", args...) // the test sends the signals
	stdout, stderr := newTranscript(), newTranscript()
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = c.env, stdout, stderr, dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	stderr.await(t, "ready: it reports so")
	inner, _, _ := familyOf(cmd.Process.Pid)
	if len(inner) != 1 {
		t.Fatalf("unshare has %d children\n%s", len(inner), stderr)
	}
	redistest.Eventually(t, patience, func() bool {
		_, zombies, alive := familyOf(inner[0])
		return zombies == 0 && alive == 1
	}, "orphans are reaped")
	if err := syscall.Kill(inner[0], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, stderr)
	}
	wantAll(t, stdout.String(), "sh/1 | bye\n")
}

func TestSuperviseReplacesBigProcesses(t *testing.T) {
	t.Parallel()
	// The first one keeps 64 MiB; its successors keep nothing.
	big := `[ -e "$MARK" ] || { touch "$MARK"; x=$(head -c 67108864 /dev/zero | tr '\0' x); }; ` + obedient
	c := noRedisConsole(t)
	c.env = append(c.env, "MARK="+filepath.Join(t.TempDir(), "mark"))
	p := c.supervised("supervise", "--max-rss", "32MiB", "--", "sh", "-c", big)
	p.stderr.await(t, "is replaced: memory")
	redistest.Eventually(t, patience, func() bool {
		s := p.status()
		return s.Ready == 1 && s.Starts == 2 && s.Slots[0].Next == 0 && s.Slots[0].RSS > 0 && s.Slots[0].RSS < 32<<20
	}, "a small one stands for it")
	p.stop()
}

func TestLinesOfProcessesAreWhole(t *testing.T) {
	t.Parallel()
	p, stdout, stderr := noRedisConsole(t).process("supervise", "-n", "4", "--restart", "never", "--name", "w", "--", "sh", "-c",
		`i=0; while [ $i -lt 200 ]; do printf 'out %d ' $i; echo "of $WM_SLOT end"; echo "err $WM_SLOT" >&2; i=$((i+1)); done;
		printf '\033[31mred\033[0m \007bell\n'; head -c 20000 /dev/zero | tr '\0' y; echo; printf 'no end of line'`)
	if err := p.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr)
	}
	whole := regexp.MustCompile(`^w/([1-4]) \| (out \d+ of ([1-4]) end|red bell|y+… \(11809 bytes more\)|no end of line)$`)
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if want := 4 * 203; len(lines) != want {
		t.Errorf("%d lines, want %d", len(lines), want)
	}
	for _, line := range lines {
		if m := whole.FindStringSubmatch(line); m == nil || m[3] != "" && m[1] != m[3] {
			t.Errorf("a line is %.100q", line)
		}
	}
	for _, line := range strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n") {
		if !regexp.MustCompile(`^(w/[1-4] \| err [1-4]|supervise \| .+)$`).MatchString(line) {
			t.Errorf("a line of stderr is %q", line)
		}
	}
}

func TestSuperviseLogsJSON(t *testing.T) {
	t.Parallel()
	p, stdout, stderr := noRedisConsole(t).process("supervise", "--json", "--restart", "never", "--", "sh", "-c",
		`echo plain; echo '{"level":"info"}' >&2; exit 3`)
	_ = p.Wait()
	if code := p.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	var line struct {
		Worker, Stream, Line, Event string
		Slot, PID                   int
		Log                         struct{ Level string }
	}
	decode := func(text string) {
		t.Helper()
		line.Event, line.Line, line.Log.Level = "", "", ""
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	decode(stdout.String())
	if line.Worker != "sh/1" || line.Slot != 1 || line.PID < 2 || line.Stream != "stdout" || line.Line != "plain" {
		t.Errorf("it is %+v", line)
	}
	seen := ""
	for text := range strings.Lines(stderr.String()) {
		if strings.HasPrefix(text, "worker-machine: ") {
			continue // the error of the command
		}
		decode(text)
		seen += line.Event + line.Log.Level + " "
	}
	if seen != "started info ended " {
		t.Errorf("on stderr: %q\n%s", seen, stderr)
	}
}

func TestStatusAddress(t *testing.T) {
	t.Parallel()
	p := noRedisConsole(t).supervised("supervise", "-n", "2", "--", "sh", "-c", `echo "tasks 17" >&$WM_SUPERVISOR_FD; `+obedient, "secret-"+canary)
	p.awaitReady(2)
	get := func(change func(*http.Request)) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(request)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	code, body := get(func(*http.Request) {})
	wantAll(t, body, "sh: running, 2 of 2 ready", "slot  state", "17")
	if code != http.StatusOK || strings.Contains(body, canary) {
		t.Errorf("status %d\n%s", code, body)
	}
	for what, change := range map[string]func(*http.Request){
		"host of another": func(r *http.Request) { r.Host = "evil.example" },
		"a post":          func(r *http.Request) { r.Method = http.MethodPost },
		"another path":    func(r *http.Request) { r.URL.Path = "/../etc" },
	} {
		if code, body := get(change); code < 400 || strings.Contains(body, "ready") {
			t.Errorf("%s: status %d, %s", what, code, body)
		}
	}
	if s := p.status(); s.Slots[0].Tasks != 17 || s.PID != p.cmd.Process.Pid || s.Slots[0].RSS == 0 {
		t.Errorf("the state is %+v", s)
	}
	p.stop()
	if _, err := fleet.Ask(t.Context(), p.addr); err == nil {
		t.Error("the address answers after the end")
	}
}

// TestWorkProcesses runs the built-in worker in several processes, which are replaced after some tasks each.
func TestWorkProcesses(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	p := c.supervised("work", "--processes", "2", "--max-tasks", "10", "--handle", "upper=tr a-z A-Z", "-c", "2")
	p.awaitReady(2)
	var in, want strings.Builder
	for i := range 60 {
		fmt.Fprintf(&in, "line %d\n", i)
		fmt.Fprintf(&want, "LINE %d\n", i)
	}
	if got := c.must(in.String(), "map", "upper", "--ordered"); got != want.String() {
		t.Errorf("got\n%s", got)
	}
	redistest.Eventually(t, patience, func() bool {
		s := p.status()
		return s.Starts >= 4 && s.Ready == 2 && s.State == "running"
	}, "workers are replaced after 10 tasks")
	if s := p.status(); s.Crashes > 0 {
		t.Errorf("the state is %+v\n%s", s, p.stderr)
	}
	wantAll(t, p.stderr.String(), "is replaced: tasks", "work/1 | ready: worker ", "work/2 | ready: worker ")
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

// TestMaxTasksOfOneWorker is what a worker does without a supervisor that would replace it.
func TestMaxTasksOfOneWorker(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flags []string
		env   string
	}{"by the flag": {[]string{"--max-tasks", "3"}, "X=y"}, "by the variable": {nil, "WM_MAX_TASKS=3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			c := consoleAt(t, server.URL())
			c.env = append(c.env, test.env)
			for range 5 {
				c.must("x", "enqueue", "f")
			}
			s := c.start(append([]string{"work", "--handle", "f=cat", "-c", "1"}, test.flags...)...)
			if code := s.wait(); code != 0 {
				t.Errorf("exit code %d\n%s", code, s.stderr)
			}
			wantAll(t, s.stderr.String(), "stopped\n")
			redis, ctx := server.Client(t), t.Context()
			done, _ := redis.HGet(ctx, "wm:{default}:counts", "done").Int()
			if left := redis.XLen(ctx, "wm:{default}:tasks").Val(); int(left)+done != 5 || done < 3 {
				t.Errorf("%d done and %d left of 5, want at least 3 done", done, left)
			}
		})
	}
}
