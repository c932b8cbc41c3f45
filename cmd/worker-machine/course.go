package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/joblog"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// course is the way of the inputs of one map: which are left out since the joblog has them, and what is noted of the others.
type course struct {
	flags    *mapFlags
	function string
	log      *joblog.Log // nil without --joblog
	stop     chan struct{}

	failed, ended int // inputs, for --halt
	halted        *haltError

	mu      sync.Mutex
	err     error         // of the log
	taken   map[int]taken // by index of the batch; with a log only
	skipped int
}

// taken is an input that is out.
type taken struct {
	seq   int // from 1, of all inputs
	begun time.Time
}

// newCourse opens the joblog.
func (a *app) newCourse(f *mapFlags, function string) (*course, error) {
	c := &course{flags: f, function: function, stop: make(chan struct{})}
	if f.joblog == "" {
		return c, nil
	}
	c.taken = map[int]taken{}
	var err error
	if c.log, err = openLog(f); err != nil {
		return nil, err
	}
	if n := c.log.Mended(); n > 0 {
		a.note("the last line of %s was torn; %d bytes of it were removed, its input runs again", f.joblog, n)
	}
	return c, nil
}

func openLog(f *mapFlags) (*joblog.Log, error) {
	if f.resume {
		return joblog.Resume(f.joblog)
	}
	log, err := joblog.Create(f.joblog)
	if errors.Is(err, joblog.ErrExists) {
		return nil, fmt.Errorf("%w.\nAdd --resume to go on with it, or remove it", err)
	}
	return log, err
}

// close closes the joblog.
func (c *course) close() error {
	if c.log == nil {
		return nil
	}
	return c.log.Close()
}

// inputs are those that are to run. They end early with --halt soon, and when the joblog turns out to be of other inputs.
func (c *course) inputs(ctx context.Context, all iter.Seq[[]byte]) iter.Seq[[]byte] {
	if c.flags.end != nil && c.flags.end.soon {
		all = until(ctx, c.stop, all)
	}
	if c.log == nil {
		return all
	}
	return func(yield func([]byte) bool) {
		seq, index := 0, 0
		for input := range all {
			seq++
			done, err := c.log.Done(seq, c.command(input))
			if err != nil {
				c.fail(err)
				return
			}
			if !c.take(index, seq, done) {
				continue
			}
			index++
			if !yield(input) {
				return
			}
		}
	}
}

// take notes an input that goes out, or leaves it out.
func (c *course) take(index, seq int, done bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done {
		c.skipped++
		return false
	}
	c.taken[index] = taken{seq: seq, begun: time.Now()}
	return true
}

// until yields what all does, and ends at stop even while all waits for more.
func until(ctx context.Context, stop <-chan struct{}, all iter.Seq[[]byte]) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		lines, over := make(chan []byte), make(chan struct{})
		defer close(over)
		go func() {
			defer close(lines)
			for line := range all {
				select {
				case lines <- line:
				case <-over:
					return
				}
			}
		}()
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case line, more := <-lines:
				if !more || !yield(line) {
					return
				}
			}
		}
	}
}

// index is the number of a result among all inputs, from 0.
func (c *course) index(r mapreduce.Result[[]byte, []byte]) int {
	if c.log == nil {
		return r.Index
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken[r.Index].seq - 1
}

// end notes a result that was printed. THE LOG COMES AFTER THE RESULT: a map that is killed in between prints it twice, and never not.
func (c *course) end(r mapreduce.Result[[]byte, []byte]) error {
	c.ended++
	if r.Err != nil {
		c.failed++
	}
	if c.halted == nil && c.flags.end.reached(c.failed, c.ended) {
		c.halted = &haltError{policy: c.flags.halt, failed: c.failed, ended: c.ended}
		close(c.stop)
	}
	if c.log == nil {
		return nil
	}
	c.mu.Lock()
	out := c.taken[r.Index]
	delete(c.taken, r.Index)
	c.mu.Unlock()
	exit, signal := exitOf(r.Err)
	return c.log.Append(joblog.Entry{
		Seq: out.seq, Start: out.begun, Took: time.Since(out.begun), Sent: len(r.Input), Received: len(r.Value),
		Exit: exit, Signal: signal, Command: c.command(r.Input), Cut: len(r.Input) > c.flags.maxPayload,
	})
}

// haltedNow tells whether what is out is to be given up.
func (c *course) haltedNow() bool { return c.halted != nil && !c.flags.end.soon }

// command is what the joblog says of an input.
func (c *course) command(input []byte) string { return c.function + " " + string(input) }

func (c *course) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// left is how many inputs were left out.
func (c *course) left() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skipped
}

// outcome is what the inputs ended with once all were read: an error of the joblog or of --halt.
func (c *course) outcome() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(c.err, joblog.ErrOther):
		return fmt.Errorf("%w.\nGive the function and the inputs it was written for, in the same order, or name another file with --joblog", c.err)
	case c.err != nil:
		return c.err
	case c.halted != nil:
		return c.halted
	case c.log != nil && c.log.Missed() > 0:
		return fmt.Errorf("--joblog %s holds %d inputs more than were given: was it written for others? What was given is done", c.flags.joblog, c.log.Missed())
	}
	return nil
}

var (
	exitStatus = regexp.MustCompile(`^[^:]+: exit status (\d{1,3})(?::|$)`)
	bySignal   = regexp.MustCompile(`^[^:]+: signal: ([a-z ]+)`)
)

// exitOf is how the program of a task ended, as far as the message of its worker says so; otherwise 1 for a failure.
func exitOf(err error) (exit, signal int) {
	if err == nil {
		return 0, 0
	}
	var task *stream.TaskError
	if !errors.As(err, &task) {
		return 1, 0
	}
	if found := exitStatus.FindStringSubmatch(task.Message); found != nil {
		if n, err := strconv.Atoi(found[1]); err == nil && n > 0 {
			return n, 0
		}
	}
	if found := bySignal.FindStringSubmatch(task.Message); found != nil {
		const signals = 32
		for n := syscall.Signal(1); n < signals; n++ {
			if n.String() == found[1] {
				return 0, int(n)
			}
		}
	}
	return 1, 0
}
