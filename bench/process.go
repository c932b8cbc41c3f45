package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// leaveTime is how long a process may take to end when asked to.
const leaveTime = 8 * time.Second

// job is what a process of the benchmark does; it is its argument.
type job struct {
	Role    string // "work", "produce", "call", "nats"
	System  string
	Address string
	Profile string  // where to write a CPU profile, "" for none
	Memory  bool    // look for the peak of the heap
	CPUs    int     // that Go may use; default all
	Pace    float64 // tasks per second that all handlers, or all callers, keep to; 0 for as many as they can

	Work workOptions
	// A worker: how many tasks end the run (0: none), how long a task takes, and whether it tells of each.
	Tasks int
	Sent  int // numbers of tasks there may be; default Tasks
	Sleep time.Duration
	Tell  bool
	Late  bool          // keep how late each task starts
	Stay  bool          // tasks stay in the queue at the end of the run: do not wait until there are none
	Poll  time.Duration // how often a worker that has run all looks whether they are gone; default 1ms

	// A producer: what it does, for how long or how many tasks, from how many callers.
	Action  string // see produce; for "call": "map", "call", "mapreduce"
	First   uint64 // the number of the first task
	Size    int
	Batch   int
	Callers int
	Time    time.Duration
}

// report is a line that such a process prints.
type report struct {
	Event   string // "ready", "start", "end", "done", "cpu", "bye", "error", "address"
	At      int64  `json:",omitempty"` // Unix time in ns
	Index   uint64 `json:",omitempty"` // of the task
	Since   int64  `json:",omitempty"` // ns from the time in the payload until the handler started
	Count   int64  `json:",omitempty"` // tasks
	Twice   int64  `json:",omitempty"` // tasks that ran more than once, or that nobody sent
	Left    int64  `json:",omitempty"`
	Seconds float64
	CPU     float64   // seconds of this process so far, or during the run
	Times   []float64 `json:",omitempty"` // ms
	Heap    float64   `json:",omitempty"` // MiB of objects, at most
	RSS     float64   `json:",omitempty"` // MiB of memory, at most
	Text    string    `json:",omitempty"` // an error, or an address

	Spent map[string]time.Duration `json:",omitempty"` // where the time of a worker of jobs went
}

// process is one that the benchmark started from its own program.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	events chan report
	exited chan struct{}
	errors *tail
	name   string
}

// spawn starts a process of this program with a job.
func spawn(ctx context.Context, j job) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	p := &process{
		cmd: exec.CommandContext(context.WithoutCancel(ctx), program, "child", string(text)), events: make(chan report, 4096), exited: make(chan struct{}),
		errors: &tail{}, name: j.System + " " + j.Role + " " + j.Action,
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = p.errors
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err = p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.read(stdout)
	return p, nil
}

func (p *process) read(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r report
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			p.events <- r
		}
	}
	_ = p.cmd.Wait() // how it ended does not matter: what it had to say are its events
	close(p.events)
	close(p.exited)
}

// await returns the next event of a kind; others are dropped.
func (p *process) await(ctx context.Context, event string) (report, error) {
	for {
		select {
		case r, ok := <-p.events:
			switch {
			case !ok:
				return r, fmt.Errorf("%s ended before it was %s: %s", p.name, event, p.errors.text())
			case r.Event == "error":
				return r, fmt.Errorf("%s: %s", p.name, r.Text)
			case r.Event == event:
				return r, nil
			}
		case <-ctx.Done():
			return report{}, fmt.Errorf("%s: wait until it is %s: %w", p.name, event, context.Cause(ctx))
		}
	}
}

func (p *process) say(word string) error {
	_, err := io.WriteString(p.stdin, word+"\n")
	return err
}

// stop asks the process to end, and kills it when it does not.
func (p *process) stop() {
	_ = p.stdin.Close() // it takes that for an order to stop
	timer := time.NewTimer(leaveTime)
	defer timer.Stop()
	for {
		select {
		case <-p.exited:
			return
		case _, ok := <-p.events: // it must not hang on a full pipe
			if !ok {
				<-p.exited
				return
			}
		case <-timer.C:
			p.kill()
			return
		}
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	for range p.events {     // until it is gone
	}
	<-p.exited
}

// tail keeps the last part of what is written to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

// Write never fails.
func (t *tail) Write(data []byte) (int, error) {
	const most = 2000
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, data...)
	if len(t.data) > 2*most {
		t.data = bytes.Clone(t.data[len(t.data)-most:])
	}
	return len(data), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.data))
}

// ownCPU is the CPU time of this process.
func ownCPU() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return seconds(usage.Utime) + seconds(usage.Stime)
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// voice prints reports, one line each.
type voice struct {
	mu   sync.Mutex
	out  *json.Encoder
	heap func() float64 // nil unless somebody wants to know
}

func (v *voice) say(r report) {
	if v.heap != nil {
		r.Heap, r.RSS = v.heap(), peakRSS()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.out.Encode(r); err != nil { // who does not listen any more has closed our standard input too
		fmt.Fprintln(os.Stderr, err)
	}
}

// child is the main of a process that was spawned.
func child(ctx context.Context, text string, stdin io.Reader, stdout io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	if j.CPUs > 0 {
		runtime.GOMAXPROCS(j.CPUs)
	}
	v := &voice{out: json.NewEncoder(stdout)}
	if j.Memory {
		v.heap = watchHeap(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	words := make(chan string)
	go func() {
		defer cancel()
		defer close(words)
		for lines := bufio.NewScanner(stdin); lines.Scan(); {
			words <- lines.Text()
		}
	}()
	stop, err := profile(j.Profile)
	if err != nil {
		return err
	}
	defer stop()
	if err := play(ctx, j, v, words); err != nil && ctx.Err() == nil {
		v.say(report{Event: "error", Text: err.Error()})
		return err
	}
	return nil
}

// play does a job until it is done or standard input ends.
func play(ctx context.Context, j job, v *voice, words <-chan string) error {
	switch j.Role {
	case "work":
		return work(ctx, j, v, words)
	case "produce":
		return produce(ctx, j, v, words)
	case "call":
		return callAndMap(ctx, j, v)
	case "nats":
		return serveNATS(ctx, j, v)
	case jobsRole:
		return jobsWorker(ctx, j, v, words)
	default:
		return errors.New("unknown role " + j.Role)
	}
}
