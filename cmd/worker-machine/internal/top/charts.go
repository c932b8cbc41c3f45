package top

import (
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
)

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// chart is numbers as bars, from the left to now at the right.
type chart struct {
	title  string
	values []int64
	style  lipgloss.Style
}

// lines draws the bars below a title that names the largest.
func (c chart) lines(look *looks, width, height int) []string {
	top := int64(0)
	for _, v := range c.values {
		top = max(top, v)
	}
	lines := []string{fit(look.title.Render(c.title)+look.faint.Render("  at most "+plain.Number(top)), width)}
	if len(c.values) == 0 {
		return lines
	}
	const widest = 3 // columns of a bar and the blank after it
	each := max(min(width/len(c.values), widest), 1)
	values := c.values[max(len(c.values)-width/each, 0):]
	for row := height - 2; row >= 0; row-- {
		var b strings.Builder
		for _, v := range values {
			b.WriteString(strings.Repeat(barAt(row, height-1, v, top), max(each-1, 1)) + strings.Repeat(" ", min(each-1, 1)))
		}
		lines = append(lines, fit(c.style.Render(b.String()), width))
	}
	return lines
}

// barAt is the part of a bar in a row, counted from below.
func barAt(row, rows int, v, top int64) string {
	bars := []rune(" ▁▂▃▄▅▆▇█")
	const eighths = 8
	if v <= 0 || top <= 0 {
		return map[bool]string{true: "·", false: " "}[row == 0]
	}
	filled := max(int(float64(v)/float64(top)*float64(rows*eighths)), 1)
	return string(bars[max(min(filled-row*eighths, eighths), 0)])
}

// beside joins two blocks of lines of a width each.
func beside(left, right []string, width int) (lines []string) {
	for i := range max(len(left), len(right)) {
		l, r := "", ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		lines = append(lines, fit(l, width)+"  "+r)
	}
	return lines
}

const (
	panelRows  = 5 // functions in a panel
	panelLines = panelRows + 3
	chartLines = 8
	chartMost  = 14
	listLines  = 7 // that the list of queues keeps at least: its header and six queues
)

// overview is the list of queues, and below it, where there is room, charts of the selected one and the functions that need a look.
func (m *model) overview(room int) []string {
	queues := m.queues()
	var below []string
	rest := room
	if rest >= listLines+panelLines {
		rest -= panelLines
		below = append([]string{fit("", m.width)}, m.indent(m.panels())...)
	}
	if q := m.queue(); q != nil && rest >= listLines+chartLines {
		high := max(min(rest-len(queues)-2, chartMost), chartLines)
		rest -= high
		below = append(append([]string{fit("", m.width)}, m.indent(m.charts(q, high-1))...), below...)
	}
	lines := m.list(m.queueGrid(queues), rest, "no queue yet; a client or a worker makes one by using it")
	for len(lines) < rest {
		lines = append(lines, fit("", m.width))
	}
	return append(lines, below...)
}

// charts are what was done in a queue, and what waited.
func (m *model) charts(q *Queue, height int) []string {
	half := (m.width - 4) / 2
	if len(q.Trend) == 0 {
		return chart{plain.Short(q.Name, 40) + ": done each second", q.Pulses, m.look.mark}.lines(m.look, m.width-2, height)
	}
	waiting := make([]int64, len(q.Trend))
	for i := range q.Trend {
		waiting[i] = q.Trend[i].Waiting
	}
	return beside(
		chart{plain.Short(q.Name, 20) + ": done a minute", doneOf(q.Trend), m.look.mark}.lines(m.look, half, height),
		chart{"waiting", waiting, m.look.warn}.lines(m.look, half, height), half)
}

// panels are the slowest functions and those that fail most, side by side.
func (m *model) panels() []string {
	half := (m.width - 4) / 2
	var failed []Function
	for _, f := range sorted(m.snapshot.Functions, failing) {
		if f.Failed() > 0 {
			failed = append(failed, f)
		}
	}
	slow := m.panel("Slowest functions", sorted(m.snapshot.Functions, slowest), half, "nothing ran", func(f *Function) []cell {
		return []cell{text(plain.Took(f.Handler.Mean)), text(plain.Took(f.Handler.P95))}
	}, "MEAN", "P95")
	return beside(slow, m.panel("Failing functions", failed, half, "nothing failed", func(f *Function) []cell {
		return []cell{{text: plain.Number(f.Failed()), style: m.look.warn}, {text: plain.Number(f.Dead), style: m.look.when(f.Dead, m.look.bad)}}
	}, "FAILED", "DEAD"), half)
}

// panel is a short list of functions with two numbers.
func (m *model) panel(title string, functions []Function, width int, without string, numbers func(*Function) []cell, heads ...string) []string { //nolint:revive // six arguments say what a panel is
	lines := []string{fit(m.look.title.Render(title)+m.look.faint.Render("  5 minutes"), width)}
	if len(functions) == 0 {
		return append(lines, fit(m.look.faint.Render(without), width))
	}
	g := &grid{width: width, columns: []column{{title: "FUNCTION", grow: 20}, {title: "QUEUE", rank: 1}, {title: heads[0], right: true}, {title: heads[1], right: true}}}
	for i := range functions[:min(len(functions), panelRows)] {
		f := &functions[i]
		g.rows = append(g.rows, append([]cell{text(plain.Short(f.Name, 40)), {text: plain.Short(f.Queue, 16), style: m.look.faint}}, numbers(f)...))
	}
	header, rows := g.lines(m.look, -1)
	return append(append(lines, header), rows...)
}

// indent puts a blank before each line.
func (m *model) indent(lines []string) []string {
	for i := range lines {
		lines[i] = fit(" "+lines[i], m.width)
	}
	return lines
}

// latencies is the line of latencies of a minute.
func latencies(l inspect.Latency) string {
	if l.N == 0 {
		return ""
	}
	return "mean " + plain.Took(l.Mean) + ", p50 " + plain.Took(l.P50) + ", p95 " + plain.Took(l.P95) + ", p99 " + plain.Took(l.P99)
}
