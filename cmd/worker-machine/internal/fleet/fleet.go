package fleet

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Fleet keeps processes alive while it runs.
type Fleet struct {
	cfg      Config
	launch   func(reporter) (child, error)
	reports  chan report
	commands chan func()
	over     chan struct{} // closed at the end of Run

	// What follows is touched by the goroutine of Run alone.
	now, wake  time.Time // wake: when something is due next, if at all
	changed    bool      // act has started, stopped or put off something
	began      time.Time
	slots      []*slot
	alive      int // processes that have not ended
	generation int // of processes; a roll begins a new one

	turn      *turn
	lastTurn  int       // index of the slot that was replaced last
	replaceAt time.Time // not before
	lookAt    time.Time // when memory is looked at next

	stopping    bool
	crashes     int // in a row
	crashesEver int
	killed      int // while stopping, since they did not end
	failed      int // under the policy never
	failure     error
}

// report is what a process does, told by the goroutines that watch it.
type report struct {
	process *process
	ready   string // how it said so
	tasks   int64  // above 0: how many it has done
	end     *End
}

// End is how a process ended.
type End struct {
	Clean bool   // by itself, with code 0
	Text  string // as "exit status 1" or "signal: killed"
}

// reporter is given to what watches one process.
type reporter struct {
	process *process
	fleet   *Fleet
}

// send hands a report to the fleet, which is there until it has heard of the end of each process.
func (r reporter) send(what report) {
	what.process = r.process
	r.fleet.reports <- what
}

// New makes a fleet; it starts nothing. Errors name flags of the command line.
func New(cfg Config) (*Fleet, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	return newFleet(cfg), nil
}

func newFleet(cfg Config) *Fleet {
	f := &Fleet{cfg: cfg, reports: make(chan report), commands: make(chan func()), over: make(chan struct{}), lastTurn: -1}
	for i := range cfg.Processes {
		f.slots = append(f.slots, &slot{number: i + 1})
	}
	return f
}

// Run keeps the processes alive until ctx is done; then it asks them to end and returns once all have. It runs once.
//
// It returns nil after a clean end, a [*CrashLoopError] when processes crashed too often, and another error when processes had
// to be killed, or failed and are not to be started again.
func (f *Fleet) Run(ctx context.Context) error {
	defer close(f.over)
	if f.launch == nil {
		l := newLauncher(f.cfg)
		defer l.close()
		f.launch = l.start
	}
	f.began = time.Now()
	stop := ctx.Done()
	for {
		f.act()
		if f.finished() {
			return f.outcome()
		}
		if f.await(stop) {
			stop = nil
			f.stopAll(syscall.SIGTERM, "stopping")
		}
	}
}

// act does all that is due, and notes when something is due next. What it does may make something else due: it ends with a look
// that changed nothing.
func (f *Fleet) act() {
	f.now, f.changed = time.Now(), true
	for f.changed {
		f.wake, f.changed = time.Time{}, false
		f.lookAtMemory()
		for _, s := range f.slots {
			f.tend(s)
		}
		f.replace()
	}
}

// reached tells whether it is so late; if not, Run will act then.
func (f *Fleet) reached(at time.Time) bool {
	if !f.now.Before(at) {
		return true
	}
	if f.wake.IsZero() || at.Before(f.wake) {
		f.wake = at
	}
	return false
}

// await waits until there may be something to do. It tells whether the fleet is asked to stop.
func (f *Fleet) await(stop <-chan struct{}) bool {
	var due <-chan time.Time
	if !f.wake.IsZero() {
		timer := time.NewTimer(time.Until(f.wake))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-stop:
		f.now = time.Now()
		return true
	case <-due:
	case command := <-f.commands:
		f.now = time.Now()
		command()
	case r := <-f.reports:
		f.now = time.Now()
		f.hear(r)
	}
	return false
}

func (f *Fleet) hear(r report) {
	switch {
	case r.end != nil:
		f.ended(r.process, *r.end)
	case r.ready != "":
		f.becameReady(r.process, r.ready)
	default:
		r.process.tasks = r.tasks
	}
}

const memoryEvery = time.Second

func (f *Fleet) lookAtMemory() {
	if f.cfg.Limits.RSS == 0 || f.stopping || !f.reached(f.lookAt) {
		return
	}
	f.measure()
	f.lookAt, f.changed = f.now.Add(memoryEvery), true
}

func (f *Fleet) measure() {
	for _, s := range f.slots {
		for _, p := range s.processes() {
			p.rss = p.child.RSS()
		}
	}
}

// finished tells whether nothing runs and nothing will.
func (f *Fleet) finished() bool {
	if f.alive > 0 {
		return false
	}
	for _, s := range f.slots {
		if !f.stopping && !s.over && !s.gaveUp {
			return false
		}
	}
	return true
}

func (f *Fleet) outcome() error {
	switch {
	case f.failure != nil:
		return f.failure
	case f.killed > 0:
		return fmt.Errorf("%d processes did not end when they were asked to, and were killed", f.killed)
	case f.failed > 0:
		return fmt.Errorf("%d of %d processes failed: the last one with %s", f.failed, len(f.slots), f.lastFailure())
	}
	return nil
}

func (f *Fleet) lastFailure() string {
	last := ""
	for _, s := range f.slots {
		if s.lastEnd != "" {
			last = s.lastEnd
		}
	}
	return last
}

// stopAll asks all processes to end.
func (f *Fleet) stopAll(sig os.Signal, why string) {
	if !f.stopping && f.alive > 0 {
		f.tell(Event{Kind: "stopping", Text: fmt.Sprintf("%s: %d processes get %v to end (once more to kill them)", why, f.alive, f.cfg.Drain)})
	}
	f.stopping = true
	for _, s := range f.slots {
		for _, p := range s.processes() {
			f.stop(p, sig, why)
		}
	}
}

// do has Run call a function, unless it is over.
func (f *Fleet) do(command func()) (done bool) {
	called := make(chan struct{})
	select {
	case f.commands <- func() { command(); close(called) }:
		<-called
		return true
	case <-f.over:
		return false
	}
}

// Stop passes a signal that asks to end on to all processes, starts no further ones and lets Run return.
func (f *Fleet) Stop(sig os.Signal) { f.do(func() { f.stopAll(sig, "stopping") }) }

// Kill kills all processes and lets Run return.
func (f *Fleet) Kill() {
	f.do(func() {
		f.stopAll(syscall.SIGTERM, "stopping")
		for _, s := range f.slots {
			for _, p := range s.processes() {
				f.kill(p)
			}
		}
	})
}

// Roll replaces all processes, one at a time, and tries slots again that were given up.
func (f *Fleet) Roll() {
	f.do(func() {
		if f.stopping {
			return
		}
		f.tell(Event{Kind: "roll", Text: "all processes are replaced, one at a time"})
		f.generation++
		f.replaceAt = f.now
		for _, s := range f.slots {
			if s.gaveUp {
				s.gaveUp, s.crashes, s.startAt = false, 0, f.now
			}
		}
	})
}

// Signal passes a signal on to all processes.
func (f *Fleet) Signal(sig os.Signal) {
	f.do(func() {
		for _, s := range f.slots {
			for _, p := range s.processes() {
				p.child.Signal(sig)
			}
		}
	})
}

func (f *Fleet) tell(e Event) {
	e.Time = f.now
	f.cfg.Printer.Tell(e)
}

// CrashLoopError is the end of a fleet whose processes crash again and again.
type CrashLoopError struct {
	Program string
	Crashes int      // in a row
	Uptime  string   // what they did not reach
	Last    string   // how the last one ended
	Said    []string // its last lines
}

// Error names the cause, with the last words of the program.
func (e *CrashLoopError) Error() string {
	text := fmt.Sprintf("given up: %s crashed %d times in a row, each time before it was ready and %s old; the last end: %s", e.Program, e.Crashes, e.Uptime, e.Last)
	if len(e.Said) == 0 {
		return text + "; it said nothing"
	}
	text += "\nIts last words:"
	for _, line := range e.Said {
		text += "\n  " + line
	}
	return text
}

func (f *Fleet) crashLoop(s *slot) error {
	return &CrashLoopError{
		Program: f.cfg.Argv[0], Crashes: f.crashes, Uptime: f.cfg.Restart.MinUptime.String(), Last: s.lastEnd, Said: s.lastSaid,
	}
}
