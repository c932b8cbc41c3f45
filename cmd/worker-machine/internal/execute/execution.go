package execute

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/pgroup"
)

// outputPatience is how long an execution waits for the end of the output once its group was killed. Only a process that left
// the group can still hold it open.
const outputPatience = 500 * time.Millisecond

// execution is one run of a program. The pipes are its own and not those of os/exec, whose Wait reaps the program before its
// group can be killed and then waits for whoever holds the output.
type execution struct {
	child  *exec.Cmd
	stdin  *os.File
	outs   []*outlet // stdout and stderr
	stderr *Tail
	failed chan error     // why feed or read ended early; the first counts
	fed    sync.WaitGroup // what writes to stdin
	read   sync.WaitGroup // what reads stdout and stderr

	mu     sync.Mutex
	reaped bool // the process ID may belong to a stranger
}

// start starts the program, with feed to write its stdin and read to read its stdout to the end.
func start(child *exec.Cmd, feed func(io.Writer) error, read func(io.Reader) error) (*execution, error) {
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
		child: child, stdin: ends[1], outs: []*outlet{{file: ends[2]}, {file: ends[4]}},
		stderr: NewTail(stderrKept), failed: make(chan error, 2),
	}
	e.fed.Go(func() {
		// A program need not read its input, so a broken pipe is no failure. wait closes the pipe when the program is over.
		if err := feed(inlet{e.stdin}); err != nil && !errors.Is(err, errUnread) {
			e.failed <- err
		}
		_ = e.stdin.Close()
	})
	e.read.Go(func() {
		if err := read(e.outs[0]); err != nil {
			e.failed <- err
		}
	})
	e.read.Go(func() { _, _ = io.Copy(e.stderr, e.outs[1]) })
	return e, nil
}

// inlet is the standard input of a program.
type inlet struct{ file *os.File }

// errUnread says that the program does not read its input any more.
var errUnread = errors.New("execute: the program has closed its input")

// Write writes to the program.
func (i inlet) Write(data []byte) (int, error) {
	n, err := i.file.Write(data)
	if err != nil {
		err = errUnread
	}
	return n, err
}

// outlet is the standard output or standard error of a program. Once the program is over it ends soon: only a process that left the
// group can still hold it open.
type outlet struct {
	file *os.File
	over atomic.Bool
	late int // bytes read since
}

// lateBytes is more than any pipe holds: what is written after the end of the program does not count.
const lateBytes = 2 << 20

// Read reads what the program wrote.
func (o *outlet) Read(data []byte) (int, error) {
	late := o.over.Load()
	if late {
		if o.late > lateBytes {
			return 0, io.EOF
		}
		_ = o.file.SetReadDeadline(time.Now().Add(outputPatience)) // from now: whoever reads may have been slow
	}
	n, err := o.file.Read(data)
	if late {
		o.late += n
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if !late && n == 0 {
			return o.Read(data) // it was in the middle of something when the program ended
		}
		err = io.EOF
	}
	return n, err
}

// end makes a read end that waits for more.
func (o *outlet) end() {
	o.over.Store(true)
	_ = o.file.SetReadDeadline(time.Now().Add(outputPatience))
}

func closeAll(files []*os.File) {
	for _, file := range files {
		_ = file.Close()
	}
}

// wait returns once the program and its group are gone, and feed and read have returned: killed is why the group was killed before
// the program ended, err how the program ended otherwise.
func (e *execution) wait(ctx context.Context) (killed, err error) {
	over := make(chan error, 1)
	go func() { over <- e.reap() }()
	select {
	case err = <-over:
	case <-ctx.Done():
		killed = context.Cause(ctx)
	case killed = <-e.failed:
	}
	if killed != nil {
		e.kill()
		err = <-over
	}
	_ = e.stdin.Close()
	for _, out := range e.outs {
		out.end()
	}
	e.read.Wait()
	e.fed.Wait()
	for _, out := range e.outs {
		_ = out.file.Close()
	}
	if killed == nil {
		select { // it wrote the last bytes and ended before the reader saw what they were
		case killed = <-e.failed:
		default:
		}
	}
	return killed, err
}

// kill kills the group unless the program was reaped: its number may have been given away then.
func (e *execution) kill() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.reaped {
		pgroup.Kill(e.child)
	}
}

// reap waits for the program's end and kills what it left behind in its group.
func (e *execution) reap() error {
	finish := pgroup.AwaitExit(e.child)
	e.mu.Lock()
	defer e.mu.Unlock()
	pgroup.Kill(e.child)
	e.reaped = true
	return finish()
}
