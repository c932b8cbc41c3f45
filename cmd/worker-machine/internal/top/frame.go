package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

const (
	frameLines = 7 // of the screen that are not rows of the list: two of facts, tabs, a blank, the header, the status, the keys
	leastWidth = 40
	leastLines = 10
)

// View draws the screen.
func (m *model) View() tea.View {
	v := tea.NewView(m.draw())
	v.AltScreen = true
	v.WindowTitle = "worker-machine top"
	return v
}

// draw writes all lines, each as wide as the screen.
func (m *model) draw() string {
	if m.width < leastWidth || m.height < leastLines {
		return fit("the window is too small", m.width)
	}
	lines := []string{m.firstLine(), m.sumLine()}
	if m.snapshot != nil && m.snapshot.fleetText() != "" {
		lines = append(lines, m.said(m.snapshot.fleetText()))
	}
	lines = append(lines, m.tabLine(), fit("", m.width))
	room := m.height - len(lines) - 2 // the status and the keys
	lines = append(lines, m.body(room)...)
	for len(lines) < m.height-2 {
		lines = append(lines, fit("", m.width))
	}
	return strings.Join(append(lines[:m.height-2], m.statusLine(), m.keyLine()), "\n")
}

// body is what the tab shows, in so many lines at most.
func (m *model) body(room int) []string {
	switch {
	case m.snapshot == nil && m.problem == nil:
		return []string{m.said("looking…")}
	case m.snapshot == nil:
		return m.wrapped(m.look.bad, "Redis does not answer: "+m.problem.Error())
	case m.detail:
		return m.details(room)
	}
	switch m.view {
	case workerView:
		return m.list(m.workerGrid(), room, "no worker; start one: worker-machine work --handle 'NAME=PROGRAM ARGS'")
	case functionView:
		return m.list(m.functionGrid(m.functions()), room, "no function has run in the last five minutes")
	case deadView:
		return m.list(m.groupGrid(), room, "no dead letters")
	default:
		return m.overview(room)
	}
}

// said is a line of prose.
func (m *model) said(text string) string { return fit(" "+m.look.faint.Render(text), m.width) }

// wrapped is a longer text.
func (m *model) wrapped(style lipgloss.Style, text string) (lines []string) {
	for line := range strings.SplitSeq(ansi.Wrap(plain.Line(text), m.width-2, ""), "\n") {
		lines = append(lines, fit(" "+style.Render(line), m.width))
	}
	return lines
}

func (m *model) firstLine() string {
	at := ""
	if m.snapshot != nil {
		at = m.snapshot.At.Local().Format(time.TimeOnly)
	}
	return m.ends(" "+m.look.title.Render("worker-machine")+"  "+m.look.faint.Render(plain.Short(m.where, max(m.width-40, 10))), m.look.faint.Render(at)+" ")
}

func (m *model) sumLine() string {
	if m.snapshot == nil {
		return fit("", m.width)
	}
	sum := m.snapshot.totals()
	parts := []string{}
	for _, p := range []struct {
		n     int64
		name  string
		style lipgloss.Style
	}{
		{sum.Waiting.N, "waiting", m.look.title},
		{sum.Running.N, "running", m.look.title},
		{sum.Delayed.N, "delayed", m.look.title},
		{sum.Dead.N, "dead", m.look.bad},
	} {
		parts = append(parts, m.look.when(p.n, p.style).Render(plain.Number(p.n))+" "+m.look.faint.Render(p.name))
	}
	parts = append(parts, m.look.good.Bold(true).Render(rateText(sum.Rate))+" "+m.look.faint.Render("done/s"))
	return fit(" "+strings.Join(parts, "   "), m.width)
}

var tabNames = [views]string{"Queues", "Workers", "Functions", "Dead letters"}

func (m *model) tabLine() string {
	var b strings.Builder
	for i, name := range tabNames {
		style := m.look.faint
		if view(i) == m.view {
			style = m.look.tab
		}
		fmt.Fprintf(&b, " %s %s  ", m.look.key.Render(fmt.Sprint(i+1)), style.Render(name))
	}
	right := ""
	switch {
	case m.typing:
		right = m.look.mark.Render("/" + plain.Line(m.filter) + "▏")
	case m.filter != "":
		right = m.look.mark.Render("/" + plain.Line(m.filter))
	case m.view == functionView:
		right = m.look.faint.Render("by " + m.order.String())
	}
	return m.ends(b.String(), right+" ")
}

// statusLine says what a person has to know or to answer.
func (m *model) statusLine() string {
	switch {
	case m.ask != "":
		verb := "pause"
		if q := m.queue(); q != nil && q.Paused {
			verb = "resume"
		}
		return fit(" "+m.look.warn.Bold(true).Render(verb+" queue "+plain.Short(m.ask, 50)+"?")+" "+m.look.key.Render("y")+"/N", m.width)
	case m.problem != nil && m.snapshot != nil:
		return fit(" "+m.look.bad.Render("Redis does not answer since "+plain.Since(m.since)+": "+plain.Line(m.problem.Error())), m.width)
	case m.told != "":
		return fit(" "+m.look.warn.Render(plain.Line(m.told)), m.width)
	case m.snapshot == nil:
		return fit("", m.width)
	}
	return fit(" "+m.look.faint.Render(m.position()), m.width)
}

// position says where in the list the person is, and what is not in it.
func (m *model) position() string {
	text, n := "", len(m.rowKeys())
	if !m.detail && n > 0 {
		text = fmt.Sprintf("%d of %d", m.cursor[m.view]+1, n)
	}
	if m.snapshot.Unseen > 0 && m.view == queueView {
		text += fmt.Sprintf("; %d queues more are not watched: name those you want to see", m.snapshot.Unseen)
	}
	if m.snapshot.MoreWork && m.view == workerView {
		text += "; there are more workers than are shown"
	}
	return text
}

// keyLine shows the keys that do something here; those that matter less are left out where there is no room.
func (m *model) keyLine() string {
	keys := [][2]string{{"q", "quit"}, {"tab", "view"}, {"↑↓", "select"}, {"enter", "details"}, {"/", "filter"}}
	switch {
	case m.ask != "":
		keys = [][2]string{{"y", "yes"}, {"any other key", "no"}}
	case m.typing:
		keys = [][2]string{{"enter", "keep"}, {"esc", "clear"}}
	case m.detail:
		keys = [][2]string{{"q", "quit"}, {"esc", "back"}, {"↑↓", "scroll"}, {"tab", "view"}}
	}
	if m.ask == "" && !m.typing {
		if m.view == queueView {
			keys = append(keys, [2]string{"p", "pause/resume"})
		}
		if m.view == functionView && !m.detail {
			keys = append(keys, [2]string{"s", "sort"})
		}
	}
	line := ""
	for _, k := range keys {
		next := line + " " + m.look.key.Render(k[0]) + " " + m.look.faint.Render(k[1]) + " "
		if lipgloss.Width(next) > m.width {
			break
		}
		line = next
	}
	return fit(line, m.width)
}

// ends puts one text on the left and one on the right.
func (m *model) ends(left, right string) string {
	room := max(m.width-lipgloss.Width(right), 0)
	return fit(fit(left, room)+right, m.width)
}

// list shows the part of a grid where the selection is, below its header.
func (m *model) list(g *grid, room int, without string) []string {
	if len(g.rows) == 0 {
		if m.filter != "" {
			without = "nothing matches the filter"
		}
		return []string{m.said(without)}
	}
	selected := m.cursor[m.view]
	g.width = m.width - 2
	first := window(len(g.rows), selected, room-1)
	g.rows = g.rows[first:min(len(g.rows), first+room-1)]
	header, rows := g.lines(m.look, selected-first)
	lines := []string{" " + header + " "}
	for _, row := range rows {
		lines = append(lines, " "+row+" ")
	}
	return lines
}

// window is the first row to show so that the selected one is seen.
func window(rows, selected, room int) int {
	return max(min(selected-room/2, rows-room), 0)
}

// fit makes a line exactly as wide.
func fit(line string, width int) string {
	line = ansi.Truncate(line, width, "…")
	return line + strings.Repeat(" ", max(width-lipgloss.Width(line), 0))
}

// rateText is a number a second.
func rateText(rate float64) string {
	if rate > 0 && rate < 9.95 {
		return fmt.Sprintf("%.1f", rate)
	}
	return plain.Number(int64(rate + 0.5))
}
