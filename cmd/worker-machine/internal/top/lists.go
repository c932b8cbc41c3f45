package top

import (
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
)

const sparkMinutes = 15

func (m *model) queueGrid(queues []*Queue) *grid {
	g := &grid{columns: []column{
		{title: "QUEUE", grow: 12},
		{title: ""},
		{title: "WAIT", right: true},
		{title: "RUN", right: true},
		{title: "LATER", right: true, rank: 2},
		{title: "DEAD", right: true},
		{title: "OLDEST", right: true},
		{title: "WORKERS", right: true, rank: 3},
		{title: "DONE/S", right: true},
		{title: "TREND", rank: 1},
	}}
	for _, q := range queues {
		state, style := queueState(q, m.look)
		g.rows = append(g.rows, []cell{
			{text: plain.Short(q.Name, 60), style: m.look.title},
			{text: state, style: style},
			{text: count(q.Waiting), style: m.look.when(q.Waiting.N, lipgloss.Style{})},
			{text: count(q.Running), style: m.look.when(q.Running.N, lipgloss.Style{})},
			{text: count(q.Delayed), style: m.look.when(q.Delayed.N, lipgloss.Style{})},
			{text: count(q.Dead), style: m.look.when(q.Dead.N, m.look.bad)},
			text(seconds(q.Oldest)),
			{text: count(q.Workers), style: m.look.when(q.Workers.N, lipgloss.Style{})},
			{text: rateText(q.Rate), style: m.look.when(int64(q.Rate*10), m.look.good)},
			{text: spark(q), style: m.look.mark, bars: true},
		})
	}
	return g
}

// queueState is a word for what needs somebody.
func queueState(q *Queue, look *looks) (string, lipgloss.Style) {
	switch {
	case q.Error != "":
		return "broken", look.bad
	case q.Paused:
		return "paused", look.warn
	case q.Workers.N == 0 && q.Waiting.N+q.Running.N > 0:
		return "no worker", look.bad
	}
	return "", look.faint
}

// spark is what was done in the last minutes; before the first minute is known, since this program began.
func spark(q *Queue) string {
	if trend := q.Trend[max(len(q.Trend)-sparkMinutes, 0):]; len(trend) > 0 {
		return plain.Spark(doneOf(trend))
	}
	return plain.Spark(q.Pulses[max(len(q.Pulses)-sparkMinutes, 0):])
}

func doneOf(trend []inspect.Minute) []int64 {
	done := make([]int64, len(trend))
	for i := range trend {
		done[i] = trend[i].Done
	}
	return done
}

func (m *model) workerGrid() *grid {
	g := &grid{columns: []column{
		{title: "WORKER", grow: 22},
		{title: "QUEUE", rank: 1},
		{title: "STATE"},
		{title: "PROCESS", rank: 3},
		{title: "TASKS", right: true},
		{title: "OLDEST", right: true},
		{title: "ON", rank: 2},
		{title: "LEASE", right: true, rank: 4},
		{title: "VERSION", rank: 5},
	}}
	for _, w := range m.workers() {
		state, style, lease := "alive", m.look.good, seconds(w.LeaseLeft)
		if !w.Alive {
			state, style, lease = "dead", m.look.bad, "over"
		}
		oldest, on := "-", ""
		if len(w.Tasks) > 0 {
			oldest, on = plain.Since(w.Tasks[0].Since), plain.Short(w.Tasks[0].Function, 24)
		}
		g.rows = append(g.rows, []cell{
			{text: plain.Short(w.Name, 60), style: m.look.title},
			text(plain.Short(w.Queue, 20)),
			{text: state, style: style},
			text(process(w)),
			{text: plain.Number(w.Pending), style: m.look.when(w.Pending, lipgloss.Style{})},
			text(oldest), text(on), text(lease), text(plain.Short(w.Version, 16)),
		})
	}
	return g
}

func process(w *inspect.Worker) string {
	if w.Host == "" {
		return "?"
	}
	return plain.Short(w.Host, 20) + ":" + strconv.Itoa(w.PID)
}

func (m *model) functionGrid(functions []*Function) *grid {
	g := &grid{columns: []column{
		{title: "FUNCTION", grow: 22},
		{title: "QUEUE", rank: 3},
		{title: "DONE", right: true},
		{title: "FAILED", right: true},
		{title: "DEAD", right: true, rank: 4},
		{title: "MEAN", right: true},
		{title: "P95", right: true, rank: 1},
		{title: "P99", right: true, rank: 2},
		{title: "5 MIN", rank: 5},
	}}
	for _, f := range functions {
		g.rows = append(g.rows, []cell{
			{text: plain.Short(f.Name, 60), style: m.look.title},
			text(plain.Short(f.Queue, 20)), text(plain.Number(f.Done)),
			{text: plain.Number(f.Failed()), style: m.look.when(f.Failed(), m.look.warn)},
			{text: plain.Number(f.Dead), style: m.look.when(f.Dead, m.look.bad)},
			text(plain.Took(f.Handler.Mean)), text(plain.Took(f.Handler.P95)), text(plain.Took(f.Handler.P99)),
			{text: plain.Spark(f.Minutes), style: m.look.mark, bars: true},
		})
	}
	return g
}

func (m *model) groupGrid() *grid {
	g := &grid{columns: []column{
		{title: "LETTERS", right: true}, {title: "QUEUE", rank: 2}, {title: "FUNCTION"}, {title: "REASON", rank: 3}, {title: "LAST", right: true}, {title: "ERROR", grow: 32},
	}}
	for _, d := range m.groups() {
		g.rows = append(g.rows, []cell{
			{text: plain.Number(d.N), style: m.look.bad},
			text(plain.Short(d.Queue, 20)),
			{text: plain.Short(d.Function, 24), style: m.look.title},
			text(plain.Short(d.Reason, 16)), text(plain.Since(d.Last)), text(plain.Short(d.Error, 200)),
		})
	}
	return g
}

func count(c inspect.Count) string {
	if c.Exact {
		return plain.Number(c.N)
	}
	return plain.Number(c.N) + "+"
}

func seconds(s float64) string { return strings.TrimSpace(plain.Age(duration(s))) }
