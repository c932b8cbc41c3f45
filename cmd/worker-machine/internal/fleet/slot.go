package fleet

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// slot is the place of one process. Only the goroutine of Run touches it.
type slot struct {
	number  int
	current *process
	next    *process // started to stand for current

	startAt  time.Time // not before
	starts   int
	crashes  int    // in a row
	gaveUp   bool   // after too many of them
	over     bool   // not to be started again, by policy
	lastEnd  string // how the last process ended
	lastSaid []string
}

// process is one child, from its start until it has ended.
type process struct {
	slot       *slot
	child      child
	generation int
	began      time.Time
	lifetime   time.Duration

	ready bool
	well  bool // ready, and past MinUptime
	tasks int64
	rss   int64

	stopping string    // why it was asked to end, "" while it should run
	killAt   time.Time // once it was asked
	killed   bool
}

// child is what a [Fleet] needs of a process of the system. After its end calls do nothing.
type child interface {
	PID() int
	Signal(sig os.Signal)
	Kill() // with all of its group
	RSS() int64
	Said() []string // its last lines
}

// processes are those of the slot.
func (s *slot) processes() []*process {
	var list []*process
	for _, p := range []*process{s.current, s.next} {
		if p != nil {
			list = append(list, p)
		}
	}
	return list
}

// tend does what is due in a slot.
func (f *Fleet) tend(s *slot) {
	for _, p := range s.processes() {
		f.watch(p)
	}
	if s.current != nil || s.next != nil || f.stopping || s.gaveUp || s.over || !f.reached(s.startAt) {
		return
	}
	if s.current = f.start(s, "started"); s.current == nil {
		f.crashed(s)
	}
}

// watch does what is due for a process.
func (f *Fleet) watch(p *process) {
	if p.stopping != "" {
		if !p.killed && f.reached(p.killAt) {
			f.tell(Event{Kind: "kill", Slot: p.slot.number, PID: p.child.PID(), Text: fmt.Sprintf("has not ended %v after it was asked to: killed", f.cfg.Drain)})
			f.kill(p)
		}
		return
	}
	if !p.ready && f.reached(p.began.Add(f.cfg.Ready)) {
		f.becameReady(p, "has not said so, but runs")
	}
	if p.ready && !p.well && f.reached(p.began.Add(f.cfg.Restart.MinUptime)) {
		p.well = true
		p.slot.crashes, f.crashes = 0, 0
	}
}

// start starts a process in a slot. It is nil when that failed.
func (f *Fleet) start(s *slot, how string) *process {
	p := &process{slot: s, generation: f.generation, began: f.now, lifetime: f.cfg.Limits.lifetime()}
	s.starts++
	f.changed = true
	var err error
	if p.child, err = f.launch(reporter{process: p, fleet: f}); err != nil {
		s.lastEnd, s.lastSaid = "it cannot be started: "+err.Error(), nil
		return nil
	}
	f.alive++
	f.tell(Event{Kind: "started", Slot: s.number, PID: p.child.PID(), Text: how})
	return p
}

func (f *Fleet) becameReady(p *process, how string) {
	if p.ready || p.stopping != "" {
		return
	}
	p.ready, f.changed = true, true
	f.tell(Event{Kind: "ready", Slot: p.slot.number, PID: p.child.PID(), Text: "ready: " + how})
}

// stop asks a process to end.
func (f *Fleet) stop(p *process, sig os.Signal, why string) {
	if p.stopping != "" {
		return
	}
	p.stopping, p.killAt, f.changed = why, f.now.Add(f.cfg.Drain), true
	p.child.Signal(sig)
}

func (f *Fleet) kill(p *process) {
	p.killed = true
	if f.stopping {
		f.killed++
	}
	p.child.Kill()
}

// ended is told once for each process that was started.
func (f *Fleet) ended(p *process, end End) {
	f.alive--
	s := p.slot
	replacement := s.next == p
	if s.current == p {
		s.current, s.next = s.next, nil
	} else {
		s.next = nil
	}
	s.lastEnd, s.lastSaid = end.Text, p.child.Said()
	asked := p.stopping != "" || f.stopping
	f.tell(Event{Kind: "ended", Slot: s.number, PID: p.child.PID(), Text: endText(p, end, f.now)})
	switch {
	case asked:
		s.startAt = f.now
	case replacement:
		f.replacementCrashed()
	case s.current != nil: // the next one is there already
	case f.cfg.Restart.Policy == Never:
		s.over = true
		if !end.Clean {
			f.failed++
		}
	case p.well || p.ready && end.Clean:
		s.startAt = f.now.Add(f.cfg.Restart.delay(1))
	default:
		f.crashed(s)
	}
}

func endText(p *process, end End, now time.Time) string {
	text := "ended: " + end.Text
	if p.stopping != "" {
		text += " (" + p.stopping + ")"
	}
	return fmt.Sprintf("%s, after %v", text, now.Sub(p.began).Round(time.Millisecond))
}

// crashed decides whether a slot is started again, and when.
func (f *Fleet) crashed(s *slot) {
	f.changed = true
	s.crashes++
	f.crashes++
	f.crashesEver++
	restart := f.cfg.Restart
	if restart.Policy == Never {
		s.over = true
		f.failed++
		return
	}
	if restart.gaveUp(s.crashes) {
		s.gaveUp = true
		f.tell(Event{Kind: "gave up", Slot: s.number, Text: fmt.Sprintf("given up after %d crashes in a row (SIGHUP tries again)", s.crashes)})
	}
	if restart.allGaveUp(f.crashes) || f.allGaveUp() {
		f.failure = f.crashLoop(s)
		f.stopAll(syscall.SIGTERM, "the fleet is given up")
		return
	}
	if !s.gaveUp {
		wait := restart.delay(s.crashes)
		s.startAt = f.now.Add(wait)
		f.tell(Event{Kind: "crashed", Slot: s.number, Text: fmt.Sprintf(
			"crash %d in a row: starts again in %v (at most %v)", s.crashes, wait.Round(time.Millisecond), restart.ceiling(s.crashes),
		)})
	}
}

func (f *Fleet) allGaveUp() bool {
	for _, s := range f.slots {
		if !s.gaveUp {
			return false
		}
	}
	return true
}
