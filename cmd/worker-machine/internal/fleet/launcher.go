package fleet

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/pgroup"
)

// launcher starts processes.
type launcher struct {
	cfg      Config
	orders   chan func()
	adopting *adoption

	// mu is held while a process is started, and while one is reaped: in between its number is ours. Whoever adopts strays
	// looks at own under it, and whoever kills a group knows that its number was not given to others.
	mu  sync.Mutex
	own map[int]bool
}

func newLauncher(cfg Config) *launcher {
	l := &launcher{cfg: cfg, orders: make(chan func()), own: map[int]bool{}}
	go func() {
		// The kernel sends Pdeathsig when the THREAD ends that started the child. This one ends with the fleet.
		runtime.LockOSThread()
		for order := range l.orders {
			order()
		}
	}()
	if cfg.Adopt {
		l.adopting = l.adopt()
	}
	return l
}

// close is called once all processes have ended.
func (l *launcher) close() {
	l.adopting.end()
	close(l.orders)
}

// TasksVariable is the environment variable that tells a process its Config.Limits.Tasks.
const TasksVariable = "WM_MAX_TASKS"

// running is a process of the system.
type running struct {
	launcher *launcher
	cmd      *exec.Cmd
	from     reporter
	said     lastLines
	outputs  [3]*os.File // our ends of stdout, stderr and the descriptor for reports
	readers  sync.WaitGroup
}

const (
	fdVariable   = "WM_SUPERVISOR_FD"
	slotVariable = "WM_SLOT"
	reportFD     = 3                      // what os/exec makes of the first of ExtraFiles
	lastWords    = 500 * time.Millisecond // to read what is left of the output of a process that has ended
)

// start starts a process and watches it.
func (l *launcher) start(from reporter) (child, error) {
	r := &running{launcher: l, from: from}
	r.cmd = exec.Command(l.cfg.Argv[0], l.cfg.Argv[1:]...) //nolint:gosec,noctx // the program of the command line; the fleet ends it
	r.cmd.Env = l.environment(from.process.slot.number)
	r.cmd.SysProcAttr = pgroup.Own()
	var theirs []*os.File
	defer func() {
		for _, file := range theirs {
			_ = file.Close()
		}
	}()
	for i := range r.outputs {
		ours, child, err := os.Pipe()
		if err != nil {
			r.closeOutputs()
			return nil, err
		}
		r.outputs[i], theirs = ours, append(theirs, child)
	}
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.ExtraFiles = theirs[0], theirs[1], theirs[2:]
	started := make(chan error)
	l.orders <- func() { started <- l.fork(r.cmd) }
	if err := <-started; err != nil {
		r.closeOutputs()
		return nil, err
	}
	r.readers.Add(len(r.outputs))
	go r.read(r.outputs[0], false)
	go r.read(r.outputs[1], true)
	go r.listen(r.outputs[2])
	go r.await()
	return r, nil
}

func (l *launcher) fork(cmd *exec.Cmd) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := cmd.Start()
	if err == nil {
		l.own[cmd.Process.Pid] = true
	}
	return err
}

// environment is that of a process; what an outer supervisor said to us is not for it.
func (l *launcher) environment(slot int) []string {
	env := slices.DeleteFunc(slices.Clone(l.cfg.Env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == fdVariable || name == TasksVariable && l.cfg.Limits.Tasks > 0 || name == slotVariable
	})
	env = append(env, fmt.Sprintf("%s=%d", fdVariable, reportFD), fmt.Sprintf("%s=%d", slotVariable, slot))
	if l.cfg.Limits.Tasks > 0 {
		env = append(env, fmt.Sprintf("%s=%d", TasksVariable, l.cfg.Limits.Tasks))
	}
	return env
}

// read passes lines of output on.
func (r *running) read(file *os.File, stderr bool) {
	defer r.readers.Done()
	from := source{
		name: r.launcher.cfg.Name, slot: r.from.process.slot.number, pid: r.PID(),
		width: len(strconv.Itoa(r.launcher.cfg.Processes)), stderr: stderr,
	}
	eachLine(file, func(line string) {
		r.said.add(stderr, line)
		r.launcher.cfg.Printer.line(from, line)
		if saysReady(line) {
			r.from.send(report{ready: "it says so"})
		}
	})
}

// listen hears what the program reports.
func (r *running) listen(file *os.File) {
	defer r.readers.Done()
	const longestReport = 256
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, longestReport), longestReport)
	for lines.Scan() { // a longer line is the end of listening
		word, value, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "ready":
			r.from.send(report{ready: "it reports so"})
		case "tasks":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
				r.from.send(report{tasks: n})
			}
		}
	}
}

// await waits for the end of the process, kills what it left in its group, and reports.
func (r *running) await() {
	finish := pgroup.AwaitExit(r.cmd)
	r.launcher.mu.Lock()
	pgroup.Kill(r.cmd)
	err := finish()
	delete(r.launcher.own, r.cmd.Process.Pid)
	r.launcher.mu.Unlock()
	late := time.Now().Add(lastWords)
	for _, file := range r.outputs {
		_ = file.SetReadDeadline(late) // whoever left the group may hold it open
	}
	r.readers.Wait()
	r.closeOutputs()
	end := End{Clean: err == nil, Text: "exit status 0"}
	if err != nil {
		end.Text = err.Error()
	}
	r.from.send(report{end: &end})
}

func (r *running) closeOutputs() {
	for _, file := range r.outputs {
		if file != nil {
			_ = file.Close()
		}
	}
}

// PID is the number of the process.
func (r *running) PID() int { return r.cmd.Process.Pid }

// Signal sends a signal to the process, not to its group: what it started is its own to end.
func (r *running) Signal(sig os.Signal) {
	r.whileOwn(func() { _ = r.cmd.Process.Signal(sig) })
}

// Kill kills the process and its group.
func (r *running) Kill() { r.whileOwn(func() { pgroup.Kill(r.cmd) }) }

func (r *running) whileOwn(call func()) {
	r.launcher.mu.Lock()
	defer r.launcher.mu.Unlock()
	if r.launcher.own[r.PID()] {
		call()
	}
}

// RSS is the memory of the process, 0 when it cannot be told.
func (r *running) RSS() int64 {
	n, err := rssOf(r.PID())
	if err != nil {
		return 0
	}
	return n
}

// Said are the last lines of the process.
func (r *running) Said() []string { return r.said.get() }

func selfPID() int { return os.Getpid() }
