package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
)

// terminal is a real one, that of a tmux server of its own: what the program draws is what a person would see.
type terminal struct {
	t      *testing.T
	socket string
}

// openTerminal runs the command of a console in a terminal of a size.
func (c *console) openTerminal(size [2]int, env []string, args ...string) *terminal {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "wm") // sockets want short paths
	if err != nil {
		c.t.Fatal(err)
	}
	term := &terminal{t: c.t, socket: dir + "/s"}
	c.t.Cleanup(func() {
		_ = exec.Command("tmux", "-S", term.socket, "kill-server").Run()
		_ = os.RemoveAll(dir)
	})
	line := []string{"-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(size[0]), "-y", fmt.Sprint(size[1]), "env"}
	line = append(append(line, c.env...), env...)
	line = append(append(line, self), args...)
	// The shell stays behind the program, to show what it leaves on the terminal.
	last := line[8:]
	for i, word := range last {
		last[i] = "'" + word + "'"
	}
	term.tmux(append(line[:8:8], strings.Join(last, " ")+`; echo "ended with $?"; read x`)...)
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-u", "-S", term.socket}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %q: %v: %s (apt-get install tmux)", args, err, out)
	}
	return string(out)
}

func (term *terminal) press(keys ...string) {
	term.t.Helper()
	term.tmux(append([]string{"send-keys"}, keys...)...)
}

// await returns the screen once it holds all parts.
func (term *terminal) await(parts ...string) string {
	term.t.Helper()
	var screen string
	redistest.Eventually(term.t, patience, func() bool {
		screen = term.tmux("capture-pane", "-p")
		for _, part := range parts {
			if !strings.Contains(screen, part) {
				return false
			}
		}
		return true
	}, fmt.Sprintf("%q are on the screen", parts))
	return screen
}

func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := consoleAt(t, server.URL())
	c.work("--queue", "web", "--handle", "title=sleep 1000", "--handle", "bad=sh -c 'echo no luck >&2; exit 3'", "--max-attempts", "1", "-c", "2")
	c.must("", "enqueue", "title", "--queue", "mail")
	for range 4 {
		c.run("", "call", "bad", "--queue", "web")
	}
	for range 3 {
		c.must("", "enqueue", "title", "--queue", "web")
	}
	term := c.openTerminal([2]int{80, 24}, nil, "top")
	screen := term.await("1 Queues", "mail", "no worker", "web", "q quit", "p pause/resume", "Slowest functions")
	if lines := strings.Split(strings.TrimRight(screen, "\n"), "\n"); len(lines) != 24 {
		t.Errorf("%d lines:\n%s", len(lines), screen)
	}
	if colours := term.tmux("capture-pane", "-p", "-e"); !strings.Contains(colours, "31m") {
		t.Errorf("nothing is red:\n%q", colours)
	}
	term.press("Down")
	term.await("2 of 2")
	term.press("p")
	term.await("pause queue web?", "any other key no")
	term.press("y")
	term.await("queue web is paused", "paused")
	if paused := server.Client(t).HGet(t.Context(), "wm:{web}:state", "paused").Val(); paused == "" || paused == "0" {
		t.Errorf("in Redis paused is %q", paused)
	}
	term.press("2")
	term.await("WORKER", "alive", "title")
	term.press("Enter")
	term.await("2 at a time", "esc back", "TASK")
	term.press("4")
	term.await("LETTERS", "no luck")
	term.press("Enter")
	term.await("worker-machine dead replay --queue web --group")
	term.press("1", "/", "mai", "Enter")
	term.await("/mai", "1 of 1")
	term.tmux("resize-window", "-x", "120", "-y", "40")
	screen = term.await("mail: done")
	if lines := strings.Split(strings.TrimRight(screen, "\n"), "\n"); len(lines) != 40 {
		t.Errorf("%d lines after the window grew:\n%s", len(lines), screen)
	}
	term.press("Escape")
	term.await("1 of 2")
	term.press("q")
	if screen = term.await("ended with 0"); strings.Contains(screen, "1 Queues") {
		t.Errorf("it leaves its screen behind:\n%s", screen)
	}
}

func TestTopWithoutColours(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	c := consoleAt(t, server.URL())
	c.must("", "enqueue", "f", "--queue", "web")
	term := c.openTerminal([2]int{80, 24}, []string{"NO_COLOR=1"}, "top")
	term.await("web", "no worker")
	colours := term.tmux("capture-pane", "-p", "-e")
	for _, code := range []string{"\x1b[31", "\x1b[32", "\x1b[33", "\x1b[36", "\x1b[90", "\x1b[1;31", "\x1b[38"} {
		if strings.Contains(colours, code) {
			t.Errorf("%q is on the screen", code)
		}
	}
	server.Kill()
	term.await("Redis does not answer since", "web") // what was seen last stays
	server.Restart()
	redistest.Eventually(t, patience, func() bool { return !strings.Contains(term.tmux("capture-pane", "-p"), "does not answer") }, "it sees that Redis is back")
	term.press("C-c")
	term.await("ended with 0")
}

func TestTopWithoutATerminal(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("", "enqueue", "f", "--queue", "web")
	wantAll(t, c.must("", "top", "--once"), "1 waiting", "web", "no worker")
	var snapshot struct {
		Queues []struct {
			Queue string `json:"queue"`
		} `json:"queues"`
	}
	if err := json.Unmarshal([]byte(c.must("", "top", "--once", "--json")), &snapshot); err != nil || len(snapshot.Queues) != 1 || snapshot.Queues[0].Queue != "web" {
		t.Errorf("got %+v, %v", snapshot, err)
	}
	s := c.start("top", "web", "--interval", "100ms")
	s.stdout.await(t, "1 waiting")
	c.must("", "enqueue", "f", "--queue", "web")
	s.stdout.await(t, "2 waiting")
	s.ctrlC()
	if code := s.wait(); code != 0 || strings.Contains(s.stdout.String(), "\x1b") {
		t.Errorf("exit code %d, stdout %q", code, s.stdout)
	}
	if _, errs, code := c.run("", "top", "--interval", "1ms"); code != exitUsage || !strings.Contains(errs, "--interval: at least 100ms") {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
}

// TestTopShowsASupervisor shows real processes of supervise, on a terminal and without one, and that one which is gone spoils nothing else.
func TestTopShowsASupervisor(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("", "enqueue", "f", "--queue", "web")
	p := c.supervised("supervise", "-n", "2", "--name", "crew", "--", "sh", "-c", obedient)
	p.awaitReady(2)
	wantAll(t, c.must("", "top", "--once", "--supervisor", p.addr), "supervise crew: running, 2 of 2 ready", "slot", fmt.Sprint(p.pids()[0]), "1 waiting")
	wantAll(t, c.must("", "top", "--once", "--json", "--supervisor", p.addr), `"supervisor":{"name":"crew"`)
	term := c.openTerminal([2]int{80, 24}, nil, "top", "--supervisor", p.addr)
	screen := term.await("supervise crew: running, 2 of 2 ready", "web", "q quit")
	if lines := strings.Split(strings.TrimRight(screen, "\n"), "\n"); len(lines) != 24 {
		t.Errorf("%d lines:\n%s", len(lines), screen)
	}
	p.stop()
	term.await("supervise does not answer", "web")
	term.press("q")
	term.await("ended with 0")
	if _, errs, code := c.run("", "top", "--once", "--supervisor", "example.org:80"); code != exitUsage || !strings.Contains(errs, "--supervisor") {
		t.Errorf("exit code %d, stderr %q", code, errs)
	}
}
