package execute

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// outputPatience is how long an execution waits for the end of the output once its group was killed. Only a process that left
// the group can still hold it open.
const outputPatience = 500 * time.Millisecond

// execution is one run of a program. The pipes are its own and not those of os/exec, whose Wait reaps the program before its
// group can be killed and then waits for whoever holds the output.
type execution struct {
	child  *exec.Cmd
	stdin  *os.File
	limit  int
	stdout bytes.Buffer // belongs to its reader until read is done
	stderr *Tail
	tooBig chan struct{}
	read   sync.WaitGroup // the readers of stdout and stderr
	outs   []*os.File

	mu     sync.Mutex
	reaped bool // the process ID may belong to a stranger
}

// start starts the program, what feeds it and what reads it.
func start(child *exec.Cmd, payload []byte, limit int) (*execution, error) {
	var ends []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(ends)
			return nil, err
		}
		ends = append(ends, r, w)
	}
	theirs := []*os.File{ends[0], ends[3], ends[5]}
	child.Stdin, child.Stdout, child.Stderr = theirs[0], theirs[1], theirs[2]
	if err := child.Start(); err != nil {
		closeAll(ends)
		return nil, err
	}
	closeAll(theirs)

	e := &execution{
		child: child, limit: limit, stdin: ends[1], outs: []*os.File{ends[2], ends[4]},
		stderr: NewTail(stderrKept), tooBig: make(chan struct{}),
	}
	go func() {
		// A program need not read its input, so a broken pipe is no failure. wait closes the pipe when the program is over.
		_, _ = e.stdin.Write(payload)
		_ = e.stdin.Close()
	}()
	e.read.Go(func() { e.readOutput(e.outs[0]) })
	e.read.Go(func() { _, _ = io.Copy(e.stderr, e.outs[1]) })
	return e, nil
}

func closeAll(files []*os.File) {
	for _, file := range files {
		_ = file.Close()
	}
}

// readOutput keeps up to limit bytes and reports when there are more.
func (e *execution) readOutput(r io.Reader) {
	_, _ = io.Copy(&e.stdout, io.LimitReader(r, int64(e.limit)))
	if n, _ := io.CopyN(io.Discard, r, 1); n > 0 {
		close(e.tooBig)
	}
}

// wait returns once the program and its group are gone: killed is why the group was killed before the program ended, err how
// the program ended otherwise.
func (e *execution) wait(ctx context.Context) (killed, err error) {
	over := make(chan error, 1)
	go func() { over <- e.reap() }()
	select {
	case err = <-over:
	case <-ctx.Done():
		killed = context.Cause(ctx)
	case <-e.tooBig:
		killed = &OutputError{Limit: e.limit}
	}
	if killed != nil {
		e.kill()
		err = <-over
	}
	_ = e.stdin.Close()
	e.awaitReaders()
	select { // it wrote the last bytes and ended before the reader saw how many they were
	case <-e.tooBig:
		killed = errors.Join(killed, &OutputError{Limit: e.limit})
	default:
	}
	return killed, err
}

// kill kills the group unless the program was reaped: its number may have been given away then.
func (e *execution) kill() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.reaped {
		killGroup(e.child)
	}
}

// reap waits for the program's end and kills what it left behind in its group.
func (e *execution) reap() error {
	finish := awaitExit(e.child)
	e.mu.Lock()
	defer e.mu.Unlock()
	killGroup(e.child)
	e.reaped = true
	return finish()
}

// awaitReaders returns when all output was read, or soon.
func (e *execution) awaitReaders() {
	done := make(chan struct{})
	go func() {
		e.read.Wait()
		close(done)
	}()
	late := time.NewTimer(outputPatience)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
	closeAll(e.outs) // ends the readers
	<-done
}
