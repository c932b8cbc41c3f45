package stage

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/athoune/worker-machine/integration/internal/role"
)

// Process is a child process that plays a role. Its history and what it logs are files of the stage.
type Process struct {
	Name string
	Role string
	Link *Link // nil for one that reaches Redis directly

	stage  *Stage
	killed atomic.Bool // by the test
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	done   chan struct{} // closed once it has ended
	err    error         // how
}

// start runs a program with a role.
func (s *Stage) start(program string, spec role.Spec, link *Link) *Process {
	s.t.Helper()
	text, err := json.Marshal(spec)
	s.must(err)
	log, err := os.OpenFile(filepath.Join(s.Dir, spec.Process+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	s.must(err)
	cmd := exec.Command(program) //nolint:noctx // it is killed at the end of the test
	cmd.Env = append(os.Environ(), role.Variable+"="+string(text))
	cmd.Stdout, cmd.Stderr = log, log
	p := &Process{Name: spec.Process, Role: spec.Role, Link: link, stage: s, cmd: cmd, done: make(chan struct{})}
	p.stdin, err = cmd.StdinPipe()
	s.must(err)
	s.must(cmd.Start())
	s.t.Cleanup(p.Kill)
	go func() {
		p.err = cmd.Wait()
		_ = log.Close()
		close(p.done)
	}()
	return p
}

// Kill is kill -9; it waits until the process is gone.
func (p *Process) Kill() {
	p.killed.Store(true)
	p.signal(syscall.SIGKILL)
	<-p.done
}

// Freeze is SIGSTOP, Thaw is SIGCONT.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// Terminate sends SIGTERM.
func (p *Process) Terminate() { p.signal(syscall.SIGTERM) }

// Calm tells a client to take no new work, and to end when it has all it waits for.
func (p *Process) Calm() { _, _ = io.WriteString(p.stdin, "calm\n") }

// Ended tells whether the process is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Await waits for the end. When it takes too long, the process writes the stacks of its goroutines into its log and is killed.
func (p *Process) Await(patience time.Duration) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.done:
		return p.err
	case <-late.C:
		p.signal(syscall.SIGQUIT)
		select {
		case <-p.done:
		case <-time.After(time.Second):
		}
		p.Kill()
		return errors.New("still there after " + patience.String())
	}
}

func (p *Process) signal(s syscall.Signal) {
	if p.cmd.Process.Pid <= 1 { // would be a group, or init
		p.stage.t.Fatalf("signal %v: no process", s)
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.stage.t.Errorf("signal %v to %s: %v", s, p.Name, err)
	}
}
