package top

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// column is one of a table.
type column struct {
	title string
	right bool // flush right, as numbers are
	grow  int  // at least so wide, and takes the width that is left; one column of a table
	rank  int  // the highest rank is left out first where there is no room; 0 stays
}

// cell is a text of one line, and how it looks.
type cell struct {
	text  string
	style lipgloss.Style
	bars  bool // it is drawn with bars, which read wrongly in reverse: it stays as it is in a selected row
}

func text(s string) cell { return cell{text: s} }

const gap = 2 // blanks between columns

// grid is a table of a width: its header, and its lines.
type grid struct {
	columns []column
	rows    [][]cell
	width   int
}

// lines are the header and the rows, each exactly as wide as the grid. The selected row is shown as such, -1 is none.
func (g *grid) lines(look *looks, selected int) (header string, rows []string) {
	shown, widths := g.fit()
	titles := make([]cell, len(g.columns))
	for i, c := range g.columns {
		titles[i] = cell{text: c.title, style: look.faint}
	}
	header = g.line(look, shown, widths, titles, false)
	for i, row := range g.rows {
		rows = append(rows, g.line(look, shown, widths, row, i == selected))
	}
	return header, rows
}

// fit chooses the columns that have room, and how wide they are.
func (g *grid) fit() (shown, widths []int) {
	widths = make([]int, len(g.columns))
	grows := -1
	for i, c := range g.columns {
		widths[i] = lipgloss.Width(c.title)
		for _, row := range g.rows {
			widths[i] = max(widths[i], lipgloss.Width(row[i].text))
		}
		if c.grow > 0 {
			grows = i
		}
		shown = append(shown, i)
	}
	for {
		free := g.width + gap
		for _, i := range shown {
			free -= widths[i] + gap
		}
		if free >= 0 || grows >= 0 && widths[grows]+free >= min(widths[grows], g.columns[grows].grow) {
			return shown, g.grown(widths, grows, free)
		}
		least := g.least(shown)
		if least < 0 {
			return shown, g.grown(widths, grows, free)
		}
		shown = append(shown[:least:least], shown[least+1:]...)
	}
}

// grown gives what is free, or missing, to the column that grows.
func (g *grid) grown(widths []int, grows, free int) []int {
	if grows >= 0 {
		widths[grows] = max(widths[grows]+free, 1)
	}
	return widths
}

// least is where the column stands that is left out first, or -1.
func (g *grid) least(shown []int) int {
	found := -1
	for at, i := range shown {
		if r := g.columns[i].rank; r > 0 && (found < 0 || r >= g.columns[shown[found]].rank) {
			found = at
		}
	}
	return found
}

// line writes one row. Styles end with each cell, so that a selected row is one bar.
func (g *grid) line(look *looks, shown, widths []int, row []cell, selected bool) string {
	var b strings.Builder
	for at, i := range shown {
		if at > 0 {
			b.WriteString(style(look, lipgloss.Style{}, selected).Render(strings.Repeat(" ", gap)))
		}
		content := ansi.Truncate(row[i].text, widths[i], "…")
		blank := strings.Repeat(" ", max(widths[i]-lipgloss.Width(content), 0))
		if g.columns[i].right {
			content = blank + content
		} else {
			content += blank
		}
		b.WriteString(style(look, row[i].style, selected && !row[i].bars).Render(content))
	}
	line := ansi.Truncate(b.String(), g.width, "")
	return line + style(look, lipgloss.Style{}, selected).Render(strings.Repeat(" ", max(g.width-lipgloss.Width(line), 0)))
}

func style(look *looks, s lipgloss.Style, selected bool) lipgloss.Style {
	if selected {
		return look.selected
	}
	return s
}
