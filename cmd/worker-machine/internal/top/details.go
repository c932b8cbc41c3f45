package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
)

// details are what is known of the selected row, from where the person has scrolled to.
func (m *model) details(room int) []string {
	var lines []string
	switch m.view {
	case workerView:
		lines = m.workerDetails(m.worker())
	case functionView:
		lines = m.functionDetails(m.function())
	case deadView:
		lines = m.groupDetails(m.group())
	default:
		lines = m.queueDetails(m.queue())
	}
	if len(lines) == 0 {
		lines = []string{m.said("it is gone")}
	}
	m.scroll = max(min(m.scroll, len(lines)-room), 0)
	return lines[m.scroll:]
}

// facts are names and values; those without a value are left out, and long ones are wrapped.
func (m *model) facts(rows ...[2]string) (lines []string) {
	const names = 12
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		name := row[0]
		for part := range strings.SplitSeq(ansi.Wrap(plain.Line(row[1]), m.width-names-2, ""), "\n") {
			lines = append(lines, fit(" "+m.look.faint.Render(fmt.Sprintf("%-*s", names, name))+part, m.width))
			name = ""
		}
	}
	return lines
}

func (m *model) queueDetails(q *Queue) []string {
	if q == nil {
		return nil
	}
	state, _ := queueState(q, m.look)
	last := inspect.Minute{}
	if n := len(q.Trend); n > 1 {
		last = q.Trend[n-2] // the last full one
	}
	lines := m.facts(
		[2]string{"queue", q.Name},
		[2]string{"state", strings.TrimSpace(state + " " + q.Error)},
		[2]string{"tasks", fmt.Sprintf("%s waiting, %s running, %s delayed, %s dead", count(q.Waiting), count(q.Running), count(q.Delayed), count(q.Dead))},
		[2]string{"oldest", seconds(q.Oldest)},
		[2]string{"workers", count(q.Workers)},
		[2]string{"in all", fmt.Sprintf("%d done, %d retried, %d dead", q.Totals["done"], q.Totals["retried"], q.Totals["dead"])},
		[2]string{"waited", latencies(last.Wait)},
		[2]string{"ran", latencies(last.Handler)},
	)
	lines = append(append(lines, fit("", m.width)), m.indent(m.charts(q, chartLines))...)
	var of []*Function
	all := sorted(m.snapshot.Functions, busiest)
	for i := range all {
		if all[i].Queue == q.Name {
			of = append(of, &all[i])
		}
	}
	if len(of) == 0 {
		return lines
	}
	return append(append(lines, fit("", m.width)), m.all(m.functionGrid(of))...)
}

func (m *model) workerDetails(w *inspect.Worker) []string {
	if w == nil {
		return nil
	}
	state := "dead: others take its tasks over"
	if w.Alive {
		state = "alive, its lease lasts " + seconds(w.LeaseLeft)
	}
	handlers := ""
	if w.Concurrency > 0 {
		handlers = fmt.Sprintf("%d at a time", w.Concurrency)
	}
	lines := m.facts(
		[2]string{"worker", w.Name},
		[2]string{"queue", w.Queue},
		[2]string{"state", state},
		[2]string{"process", process(w)},
		[2]string{"version", w.Version},
		[2]string{"started", when(w.Started)},
		[2]string{"handlers", handlers},
		[2]string{"functions", strings.Join(w.Functions, " ")},
		[2]string{"reads", strings.Join(w.Queues, " ")},
		[2]string{"tasks", fmt.Sprintf("%d running or fetched", w.Pending)},
	)
	if len(m.snapshot.Tasks) == 0 {
		return lines
	}
	g := &grid{columns: []column{{title: "TASK"}, {title: "FUNCTION", grow: 20}, {title: "FOR", right: true}, {title: "ATTEMPT", right: true}, {title: "DELIVERED", right: true, rank: 1}}}
	for i := range m.snapshot.Tasks {
		t := &m.snapshot.Tasks[i]
		g.rows = append(g.rows, []cell{
			{text: plain.Short(t.ID, 26), style: m.look.faint},
			{text: plain.Short(t.Function, 40), style: m.look.title},
			text(plain.Since(t.Since)), text(fmt.Sprint(t.Attempt)), text(fmt.Sprint(t.Deliveries)),
		})
	}
	return append(append(lines, fit("", m.width)), m.all(g)...)
}

func (m *model) functionDetails(f *Function) []string {
	if f == nil {
		return nil
	}
	lines := m.facts(
		[2]string{"function", f.Name},
		[2]string{"queue", f.Queue},
		[2]string{"5 minutes", fmt.Sprintf("%d done, %d failed and tried again, %d dead", f.Done, f.Retried, f.Dead)},
		[2]string{"ran", latencies(f.Handler)},
	)
	var done, failed []int64
	for i := range m.snapshot.Queues {
		if m.snapshot.Queues[i].Name == f.Queue {
			done, failed = byMinute(m.snapshot.Queues[i].Trend, f.Name)
		}
	}
	half := (m.width - 4) / 2
	return append(append(lines, fit("", m.width)), m.indent(beside(
		chart{"done a minute", done, m.look.mark}.lines(m.look, half, chartLines),
		chart{"failed a minute", failed, m.look.bad}.lines(m.look, half, chartLines), half))...)
}

// byMinute is what a function did in each minute.
func byMinute(trend []inspect.Minute, name string) (done, failed []int64) {
	done, failed = make([]int64, len(trend)), make([]int64, len(trend))
	for i := range trend {
		for _, f := range trend[i].By {
			if f.Name == name {
				done[i], failed[i] = f.Done, f.Retried+f.Dead
			}
		}
	}
	return done, failed
}

func (m *model) groupDetails(g *Group) []string {
	if g == nil {
		return nil
	}
	choice := " --queue " + g.Queue + " --group " + g.ID
	return m.facts(
		[2]string{"letters", fmt.Sprintf("%d that failed alike", g.N)},
		[2]string{"queue", g.Queue},
		[2]string{"function", g.Function},
		[2]string{"reason", g.Reason},
		[2]string{"first", when(g.First)},
		[2]string{"last", when(g.Last)},
		[2]string{"newest", g.Example},
		[2]string{"error", g.Error},
		[2]string{"look", "worker-machine dead list" + choice},
		[2]string{"again", "worker-machine dead replay" + choice},
		[2]string{"away", "worker-machine dead purge" + choice},
	)
}

// all are all lines of a grid.
func (m *model) all(g *grid) []string {
	g.width = m.width - 2
	header, rows := g.lines(m.look, -1)
	return m.indent(append([]string{header}, rows...))
}

// when is a time and how long ago that is.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime) + ", " + plain.Since(t) + " ago"
}
