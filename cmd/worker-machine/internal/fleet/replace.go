package fleet

import (
	"fmt"
	"syscall"
	"time"
)

// turn is the replacement of one process; the fleet has one at a time.
type turn struct {
	slot    *slot
	old     *process
	why     string
	crashes int       // of processes that should stand for old
	startAt time.Time // of the next one, not before
}

const replaceTries = 3

// replace goes on with the replacement of a process, or begins with the next one.
func (f *Fleet) replace() {
	if f.stopping {
		f.turn = nil
		return
	}
	if f.turn != nil && f.advance(f.turn) {
		f.turn, f.changed = nil, true
	}
	if f.turn == nil && f.reached(f.replaceAt) {
		if f.turn = f.choose(); f.turn != nil {
			f.tell(Event{Kind: "replace", Slot: f.turn.slot.number, PID: f.turn.old.child.PID(), Text: "is replaced: " + f.turn.why})
			f.advance(f.turn)
		}
	}
}

// choose takes the next slot, after the one before in a circle, whose process is due.
func (f *Fleet) choose() *turn {
	for i := range f.slots {
		s := f.slots[(f.lastTurn+1+i)%len(f.slots)]
		if p := s.current; p != nil && p.stopping == "" {
			if why := f.due(p); why != "" {
				f.lastTurn = s.number - 1
				return &turn{slot: s, old: p, why: why, startAt: f.now}
			}
		}
	}
	return nil
}

// advance does the next step of a replacement, and tells whether it is over: the old process has ended and the new one is ready.
// Until then no other one is touched, so that a new program that does not work stops one process and not all.
func (f *Fleet) advance(t *turn) (over bool) {
	s := t.slot
	switch {
	case s.gaveUp || s.over:
		f.abandon(t)
		return true
	case s.current != t.old:
		return s.current != nil && s.current.ready
	case t.old.stopping != "":
		return false
	case f.cfg.Roll == StopFirst, s.next != nil && s.next.ready:
		f.stop(t.old, syscall.SIGTERM, "replaced: "+t.why)
		return false
	}
	return f.seekNext(t)
}

// seekNext starts a process that stands for the old one; it tells when it has given up trying.
func (f *Fleet) seekNext(t *turn) (gaveUp bool) {
	s := t.slot
	switch {
	case s.next != nil: // and not ready yet
	case t.crashes >= replaceTries:
		f.abandon(t)
		return true
	case f.reached(t.startAt):
		if s.next = f.start(s, "started beside the old one"); s.next == nil {
			f.replacementCrashed()
		}
	}
	return false
}

// replacementCrashed puts the next try off.
func (f *Fleet) replacementCrashed() {
	f.crashesEver++
	if t := f.turn; t != nil {
		t.crashes++
		t.startAt = f.now.Add(f.cfg.Restart.delay(t.crashes))
	}
}

// abandon ends a replacement that does not succeed: the old processes stay.
func (f *Fleet) abandon(t *turn) {
	f.replaceAt = f.now.Add(f.cfg.Restart.MaxDelay)
	text := "not replaced: new processes end before they are ready"
	if t.why == "roll" {
		for _, s := range f.slots {
			if s.current != nil {
				s.current.generation = f.generation
			}
		}
		text += "; the roll is abandoned, and what runs stays"
	}
	said := ""
	for _, line := range t.slot.lastSaid {
		said += "\n  " + line
	}
	f.tell(Event{Kind: "abandoned", Slot: t.slot.number, Text: fmt.Sprintf("%s (%s)%s", text, t.slot.lastEnd, said)})
}
