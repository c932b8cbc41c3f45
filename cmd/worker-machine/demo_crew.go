package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
)

const (
	readyLine     = "ready"
	crewPatience  = 30 * time.Second // for processes to get ready, on a machine that is busy
	crewFarewell  = 5 * time.Second  // for processes to end by themselves
	keptOfStderr  = 4 << 10
	demoWorkerCmd = "demo-worker"
)

// crew is a number of worker processes of this program. They end when their stdin does, so that they do not outlive this process
// however it ends.
type crew struct {
	app     *app
	members []*member
}

// member is one worker process.
type member struct {
	process *exec.Cmd
	stdin   io.Closer
	stderr  *execute.Tail
	ready   chan error    // one result: nil once it said that it is ready
	ended   chan struct{} // closed once it is gone
}

func newCrew(a *app) *crew { return &crew{app: a} }

// grow starts processes until there are n, and returns when all are ready.
func (c *crew) grow(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, crewPatience, fmt.Errorf("the workers are not ready after %v", crewPatience))
	defer cancel()
	started := c.members
	for len(c.members) < n {
		m, err := c.start()
		if err != nil {
			return fmt.Errorf("start a worker process: %w", err)
		}
		c.members = append(c.members, m)
	}
	for _, m := range c.members[len(started):] {
		select {
		case err := <-m.ready:
			if err != nil {
				return fmt.Errorf("a worker process ended before it was ready: %w: %s", err, m.stderr.Text())
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// start starts one process. The address goes through its environment: arguments are visible to all users of a machine.
func (c *crew) start() (*member, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	process := exec.Command(self, demoWorkerCmd, "--prefix", c.app.prefix, "--log-level", c.app.logLevel) //nolint:noctx // dismiss ends it
	process.Env = append(append([]string{}, c.app.env...), "REDIS_URL="+c.app.redis)
	process.SysProcAttr = dieWithParent()
	m := &member{process: process, stderr: execute.NewTail(keptOfStderr), ready: make(chan error, 1), ended: make(chan struct{})}
	process.Stderr = m.stderr
	if m.stdin, err = process.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(m.ended)
		lines := bufio.NewReader(stdout)
		line, err := lines.ReadString('\n')
		if err == nil && line != readyLine+"\n" {
			err = fmt.Errorf("it said %q", line)
		}
		if err == nil {
			m.ready <- nil
		}
		_, _ = io.Copy(io.Discard, lines)
		waitErr := process.Wait()
		if err != nil {
			m.ready <- errors.Join(err, waitErr)
		}
	}()
	return m, nil
}

// dismiss ends all processes and waits until they are gone.
func (c *crew) dismiss() error {
	for _, m := range c.members {
		_ = m.stdin.Close()
	}
	late := time.NewTimer(crewFarewell)
	defer late.Stop()
	killed := 0
	for _, m := range c.members {
		select {
		case <-m.ended:
			continue
		case <-late.C:
			late.Reset(0) // for the others
		}
		killed++
		_ = m.process.Process.Kill()
		<-m.ended
	}
	c.members = nil
	if killed > 0 {
		return fmt.Errorf("%d worker processes did not end and were killed", killed)
	}
	return nil
}
