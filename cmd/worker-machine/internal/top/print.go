package top

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// printed is how many workers, functions and groups a plain snapshot has.
const printed = 20

// Print writes a snapshot as plain text.
func (s *Snapshot) Print(w io.Writer) error {
	sum := s.totals()
	if _, err := fmt.Fprintf(w, "%s  %d waiting, %d running, %d delayed, %d dead, %s done/s\n", s.At.Local().Format(time.DateTime),
		sum.Waiting.N, sum.Running.N, sum.Delayed.N, sum.Dead.N, rateText(sum.Rate)); err != nil {
		return err
	}
	for _, part := range []struct {
		header []string
		rows   [][]string
		left   int
	}{
		{[]string{"queue", "state", "waiting", "running", "delayed", "dead", "oldest", "workers", "done/s", "15 minutes"}, s.queueRows(), s.Unseen},
		{[]string{"worker", "queue", "state", "process", "tasks", "oldest", "on"}, s.workerRows(), len(s.Workers) - printed},
		{[]string{"function, slowest first", "queue", "done", "failed", "dead", "mean", "p95"}, s.functionRows(), len(s.Functions) - printed},
		{[]string{"letters", "queue", "function", "reason", "last", "error"}, s.groupRows(), len(s.Groups) - printed},
	} {
		if len(part.rows) == 0 {
			continue
		}
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
		if err := plain.Table(w, part.header, part.rows); err != nil {
			return err
		}
		if part.left > 0 {
			if _, err := fmt.Fprintf(w, "and %d more\n", part.left); err != nil {
				return err
			}
		}
	}
	if err := s.printFleet(w); err != nil {
		return err
	}
	if s.MoreWork && len(s.Workers) == 0 {
		_, err := io.WriteString(w, "\nthere are many workers: worker-machine workers lists them\n")
		return err
	}
	return nil
}

func (s *Snapshot) queueRows() (rows [][]string) {
	look := newLooks()
	for i := range s.Queues {
		q := &s.Queues[i]
		state, _ := queueState(q, look)
		if state == "" {
			state = "open"
		}
		rows = append(rows, []string{
			plain.Line(q.Name), state, exact(q.Waiting.N), exact(q.Running.N), exact(q.Delayed.N), exact(q.Dead.N), seconds(q.Oldest), exact(q.Workers.N),
			rateText(q.Rate), spark(q),
		})
	}
	return rows
}

func (s *Snapshot) workerRows() (rows [][]string) {
	for i := range s.Workers[:min(len(s.Workers), printed)] {
		w := &s.Workers[i]
		state, oldest, on := "alive", "-", ""
		if !w.Alive {
			state = "dead"
		}
		if len(w.Tasks) > 0 {
			oldest, on = plain.Since(w.Tasks[0].Since), plain.Short(w.Tasks[0].Function, 40)
		}
		rows = append(rows, []string{plain.Line(w.Name), plain.Line(w.Queue), state, process(w), exact(w.Pending), oldest, on})
	}
	return rows
}

func (s *Snapshot) functionRows() (rows [][]string) {
	list := sorted(s.Functions, slowest)
	for i := range list[:min(len(list), printed)] {
		f := &list[i]
		rows = append(rows, []string{plain.Line(f.Name), plain.Line(f.Queue), exact(f.Done), exact(f.Failed()), exact(f.Dead), plain.Took(f.Handler.Mean), plain.Took(f.Handler.P95)})
	}
	return rows
}

func (s *Snapshot) groupRows() (rows [][]string) {
	for i := range s.Groups[:min(len(s.Groups), printed)] {
		g := &s.Groups[i]
		rows = append(rows, []string{exact(g.N), plain.Line(g.Queue), plain.Line(g.Function), plain.Line(g.Reason), plain.Since(g.Last), plain.Short(g.Error, 100)})
	}
	return rows
}

func exact(n int64) string { return strconv.FormatInt(n, 10) }
