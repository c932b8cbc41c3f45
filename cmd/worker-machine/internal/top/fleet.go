package top

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/fleet"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// askFleet adds the state of the supervisor, if one is named. One that does not answer is told, and spoils nothing else.
func (w *Watcher) askFleet(ctx context.Context, s *Snapshot) {
	if w.Supervisor == "" {
		return
	}
	status, err := fleet.Ask(ctx, w.Supervisor)
	if err != nil {
		s.Unheard = err.Error()
		return
	}
	s.Fleet = &status
}

// fleetText is the state of the supervisor in a line, "" where none is named.
func (s *Snapshot) fleetText() string {
	switch {
	case s.Unheard != "":
		return "supervise does not answer: " + plain.Line(s.Unheard)
	case s.Fleet == nil:
		return ""
	}
	f := s.Fleet
	text := fmt.Sprintf("supervise %s: %s, %d of %d ready, %d starts, %d crashes", plain.Line(f.Name), plain.Line(f.State), f.Ready, f.Processes, f.Starts, f.Crashes)
	for _, slot := range f.Slots {
		if slot.State != "ready" {
			text += fmt.Sprintf("; %d %s", slot.Number, plain.Line(slot.State))
		}
	}
	return text
}

// printFleet writes the processes of the supervisor.
func (s *Snapshot) printFleet(w io.Writer) error {
	text := s.fleetText()
	if text == "" {
		return nil
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", text); err != nil || s.Fleet == nil {
		return err
	}
	rows := make([][]string, 0, len(s.Fleet.Slots))
	for _, slot := range s.Fleet.Slots {
		age := (time.Duration(slot.Age) * time.Second).String()
		rows = append(rows, []string{
			strconv.Itoa(slot.Number), plain.Line(slot.State), strconv.Itoa(slot.PID), age, strconv.FormatInt(slot.RSS>>20, 10) + " MiB",
			strconv.FormatInt(slot.Tasks, 10), strconv.Itoa(slot.Starts), strconv.Itoa(slot.Crashes), plain.Line(slot.LastEnd),
		})
	}
	return plain.Table(w, []string{"slot", "state", "pid", "age", "memory", "tasks", "starts", "crashes", "last end"}, rows)
}
