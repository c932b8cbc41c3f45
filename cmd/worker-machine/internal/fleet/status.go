package fleet

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// Status is the state of a fleet. It holds no arguments and no output of the program: both may hold secrets.
type Status struct {
	Name      string    `json:"name"`
	PID       int       `json:"pid"` // of the supervisor
	Began     time.Time `json:"began"`
	State     string    `json:"state"` // running, rolling or stopping
	Processes int       `json:"processes"`
	Ready     int       `json:"ready"`
	Starts    int       `json:"starts"`
	Crashes   int       `json:"crashes"`
	Slots     []Slot    `json:"slots"`
}

// Slot is one place of a fleet.
type Slot struct {
	Number  int       `json:"slot"`
	State   string    `json:"state"` // starting, ready, replaced, stopping, waiting, given up or over
	PID     int       `json:"pid,omitempty"`
	Next    int       `json:"next_pid,omitempty"` // of the process that is started to stand for it
	Began   time.Time `json:"began,omitzero"`
	Age     float64   `json:"age_seconds,omitempty"`
	RSS     int64     `json:"rss_bytes,omitempty"` // 0: not known
	Tasks   int64     `json:"tasks,omitempty"`     // 0: none yet, or the program does not tell
	Starts  int       `json:"starts"`
	Crashes int       `json:"crashes"`                    // in a row
	StartIn float64   `json:"start_in_seconds,omitempty"` // of one that waits
	LastEnd string    `json:"last_end,omitempty"`
}

// Status tells the state; false once Run is over.
func (f *Fleet) Status() (s Status, ok bool) {
	ok = f.do(func() { s = f.status() })
	return s, ok
}

func (f *Fleet) status() Status {
	f.measure()
	s := Status{
		Name: f.cfg.Name, PID: os.Getpid(), Began: f.began, State: "running", Processes: len(f.slots), Crashes: f.crashesEver,
	}
	switch {
	case f.stopping:
		s.State = "stopping"
	case f.turn != nil && f.turn.why == "roll":
		s.State = "rolling"
	}
	for _, slot := range f.slots {
		one := f.slotStatus(slot)
		s.Starts += one.Starts
		if one.State == "ready" {
			s.Ready++
		}
		s.Slots = append(s.Slots, one)
	}
	return s
}

func (f *Fleet) slotStatus(s *slot) Slot {
	one := Slot{Number: s.number, Starts: s.starts, Crashes: s.crashes, LastEnd: s.lastEnd}
	if p := s.current; p != nil {
		one.PID, one.Began, one.Age, one.RSS, one.Tasks = p.child.PID(), p.began, f.now.Sub(p.began).Seconds(), p.rss, p.tasks
	}
	if s.next != nil {
		one.Next = s.next.child.PID()
	}
	one.State = f.stateOf(s)
	if one.State == "waiting" {
		one.StartIn = max(s.startAt.Sub(f.now).Seconds(), 0)
	}
	return one
}

func (f *Fleet) stateOf(s *slot) string {
	switch p := s.current; {
	case p != nil && f.stopping:
		return "stopping"
	case p != nil && p.stopping != "":
		return "replaced"
	case p != nil && p.ready:
		return "ready"
	case p != nil:
		return "starting"
	case s.gaveUp:
		return "given up"
	case s.over || f.stopping:
		return "over"
	}
	return "waiting"
}

// Text writes the state for people.
func (s Status) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s: %s, %d of %d ready, %d started and %d crashed since %s (pid %d)\n\n", s.Name, s.State, s.Ready, s.Processes, s.Starts, s.Crashes,
		s.Began.Format(time.RFC3339), s.PID)
	if err != nil {
		return err
	}
	return plain.Table(w, []string{"slot", "state", "pid", "age", "memory", "tasks", "starts", "last end"}, s.rows())
}

func (s Status) rows() (rows [][]string) {
	orNone := func(known bool, text string) string {
		if !known {
			return "-"
		}
		return text
	}
	for _, one := range s.Slots {
		state := one.State
		if one.State == "waiting" {
			state += fmt.Sprintf(" %.1fs", one.StartIn)
		}
		rows = append(rows, []string{
			fmt.Sprint(one.Number), state, orNone(one.PID > 0, fmt.Sprint(one.PID)),
			orNone(one.PID > 0, time.Duration(one.Age*float64(time.Second)).Round(time.Second).String()),
			orNone(one.RSS > 0, plain.Bytes(one.RSS)), orNone(one.Tasks > 0, fmt.Sprint(one.Tasks)), fmt.Sprint(one.Starts), plain.Short(one.LastEnd, 60),
		})
	}
	return rows
}
