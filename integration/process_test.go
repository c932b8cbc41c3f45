package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// event is one line that a child process wrote: a verb, the task, the attempt, a number.
type event struct {
	At      time.Time // when it arrived here
	From    *process
	Verb    string
	Task    string
	Attempt int
	Number  int
}

// history gathers the events of all child processes of a test.
type history struct {
	mu     sync.Mutex
	events []event
	news   chan struct{} // closed and replaced with each event
}

func newHistory() *history { return &history{news: make(chan struct{})} }

func (h *history) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	close(h.news)
	h.news = make(chan struct{})
}

// find returns the events that match.
func (h *history) find(match func(event) bool) []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []event
	for _, e := range h.events {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}

// await waits for n events that match.
func (h *history) await(t *testing.T, n int, what string, match func(event) bool) []event {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		h.mu.Lock()
		news := h.news
		h.mu.Unlock()
		found := h.find(match)
		if len(found) >= n {
			return found
		}
		select {
		case <-news:
		case <-late.C:
			t.Fatalf("%s: got %d of %d within %v", what, len(found), n, patience)
		}
	}
}

// startedOn matches the starts of handlers on any of some processes.
func startedOn(processes ...*process) func(event) bool {
	return func(e event) bool {
		for _, p := range processes {
			if e.From == p && e.Verb == "start" {
				return true
			}
		}
		return false
	}
}

// process is a child process that plays a role.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	history *history
	done    chan struct{} // closed once it has ended and all it wrote was read
	err     error         // how it ended
	told    bool          // to end, by SIGTERM
}

// crew starts the child processes of one test on one server.
type crew struct {
	t       *testing.T
	backend *backend
	history *history
	spec    spec // that all of them share
}

func newCrew(t *testing.T, b *backend) *crew {
	t.Helper()
	return &crew{
		t: t, backend: b, history: newHistory(),
		spec: spec{Network: b.Network, Addr: b.Addr, Cluster: b.Cluster, Concurrency: 4},
	}
}

// worker starts a worker process; change may edit what it is to do.
func (c *crew) worker(change ...func(*spec)) *process { return c.start("worker", change) }

// workers starts some.
func (c *crew) workers(n int, change ...func(*spec)) []*process {
	all := make([]*process, n)
	for i := range all {
		all[i] = c.worker(change...)
	}
	return all
}

func (c *crew) start(role string, change []func(*spec)) *process {
	c.t.Helper()
	s := c.spec
	for _, edit := range change {
		edit(&s)
	}
	text, err := json.Marshal(s)
	must(c.t, err)
	program, err := os.Executable()
	must(c.t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, specVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	p := &process{t: c.t, cmd: cmd, history: c.history, done: make(chan struct{})}
	p.stdin, err = cmd.StdinPipe()
	must(c.t, err)
	stdout, err := cmd.StdoutPipe()
	must(c.t, err)
	must(c.t, cmd.Start())
	c.t.Cleanup(p.kill)
	go p.follow(stdout)
	return p
}

// follow turns lines into events until the process ends.
func (p *process) follow(stdout io.Reader) {
	input := bufio.NewScanner(stdout)
	for input.Scan() {
		fields := strings.Fields(input.Text())
		if len(fields) != 4 {
			continue // of a panic, or the like
		}
		attempt, _ := strconv.Atoi(fields[2])
		number, _ := strconv.Atoi(fields[3])
		p.history.add(event{At: time.Now(), From: p, Verb: fields[0], Task: fields[1], Attempt: attempt, Number: number})
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// name is the consumer name of a worker process.
func (p *process) name() string {
	p.t.Helper()
	return p.history.await(p.t, 1, "a worker says its name", func(e event) bool { return e.From == p && e.Verb == "name" })[0].Task
}

// open opens the gate of a worker's handlers.
func (p *process) open() {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, "open\n")
	must(p.t, err)
}

// cpu is what the process has used so far; 0 where the system does not tell.
func (p *process) cpu() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	const user, system, tick = 11, 12, 10 * time.Millisecond // fields after the name, in hundredths of a second
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) <= system {
		return 0
	}
	a, _ := strconv.Atoi(fields[user])
	b, _ := strconv.Atoi(fields[system])
	return time.Duration(a+b) * tick
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	p.told = p.told || s == syscall.SIGTERM
	if p.cmd.Process.Pid <= 1 { // would be a group, or init
		p.t.Fatalf("signal %v: no process", s)
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// kill is kill -9; it waits until the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate sends SIGTERM, unless the process has it already (a second one ends it the hard way), and waits until it has ended.
func (p *process) terminate() error {
	p.t.Helper()
	if !p.told {
		p.signal(syscall.SIGTERM)
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.done:
		return p.err
	case <-late.C:
		return fmt.Errorf("still there %v after SIGTERM", patience)
	}
}
