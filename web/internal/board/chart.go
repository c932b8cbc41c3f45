package board

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The coordinates of a chart. The drawing is stretched to the place it has; its text is HTML around it, so that it keeps its size.
const (
	chartWide, chartHigh = 600.0, 150.0
	sparkWide, sparkHigh = 120.0, 28.0
)

// series is a row of values of a chart, one a minute; NaN where there is none.
type series struct {
	Name   string
	Class  string // of the style sheet: what colour it has
	Values []float64
	Area   bool
}

// chart is what is drawn of some series, and said about it.
type chart struct {
	ID, Title string
	Lines     []drawn
	Bars      []bar
	Ticks     []string // of the vertical axis, from the top
	Hits      []hit
	Legend    []legend
	Summary   string // the same in words
	Empty     bool
}

type drawn struct{ Class, Path, Area string }

type bar struct {
	Class      string
	X, Y, W, H string
}

// hit is the stripe of a minute: it says its numbers when pointed at.
type hit struct{ X, W, Text string }

type legend struct{ Class, Name, Now string }

// plot is what a chart is made of.
type plot struct {
	id, title string
	times     []time.Time
	series    []series
	bars      bool // stacked bars, not lines
	format    func(float64) string
	now       int // which value the legend tells
}

// draw makes the chart.
func (p plot) draw() chart {
	c := chart{ID: p.id, Title: p.title}
	top, any := p.top()
	c.Empty = !any
	limit := niceLimit(top)
	c.Ticks = []string{p.format(limit), p.format(limit / 2), p.format(0)}
	for _, s := range p.series {
		now := none
		if p.now < len(s.Values) && !math.IsNaN(s.Values[p.now]) {
			now = p.format(s.Values[p.now])
		}
		c.Legend = append(c.Legend, legend{Class: s.Class, Name: s.Name, Now: now})
		if !p.bars {
			c.Lines = append(c.Lines, line(s, limit, chartWide, chartHigh))
		}
	}
	if p.bars {
		c.Bars = p.stack(limit)
	}
	c.Hits = p.hits()
	c.Summary = p.summary()
	return c
}

// top is the highest value, and whether there is any above 0.
func (p plot) top() (top float64, any bool) {
	for i := range p.times {
		sum := 0.0
		for _, s := range p.series {
			v := s.Values[i]
			if math.IsNaN(v) {
				continue
			}
			if p.bars {
				sum += v
				v = sum
			}
			top = max(top, v)
		}
	}
	return top, top > 0
}

// niceLimit is a round number at or above v whose half is round too.
func niceLimit(v float64) float64 {
	if v <= 0 {
		return 2
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	steps := []float64{1, 2, 3, 4, 5, 6, 8, 10}
	if unit == 1 {
		steps = []float64{2, 4, 6, 8, 10} // half of a task is none
	}
	for _, m := range steps {
		if limit := m * unit; limit >= v {
			return limit
		}
	}
	return 10 * unit
}

// line is the path of a series; it breaks where a value is missing, and a value alone is a short stroke.
func line(s series, limit, wide, high float64) drawn {
	var path, area strings.Builder
	step := wide / float64(max(len(s.Values)-1, 1))
	start := -1
	end := func(until int) {
		if start < 0 {
			return
		}
		if until-start == 1 {
			fmt.Fprintf(&path, "h%s", coordinate(step/2))
		}
		if s.Area {
			fmt.Fprintf(&area, "L%s %sL%s %sZ", coordinate(float64(until-1)*step), coordinate(high), coordinate(float64(start)*step), coordinate(high))
		}
		start = -1
	}
	for i, v := range s.Values {
		if math.IsNaN(v) {
			end(i)
			continue
		}
		command := "L"
		if start < 0 {
			start, command = i, "M"
		}
		point := command + coordinate(float64(i)*step) + " " + coordinate(high-v/limit*high)
		path.WriteString(point)
		if s.Area {
			area.WriteString(point)
		}
	}
	end(len(s.Values))
	return drawn{Class: s.Class, Path: path.String(), Area: area.String()}
}

// stack are bars, those of one minute upon each other.
func (p plot) stack(limit float64) []bar {
	var bars []bar
	step := chartWide / float64(max(len(p.times), 1))
	for i := range p.times {
		y := chartHigh
		for _, s := range p.series {
			v := s.Values[i]
			if math.IsNaN(v) || v <= 0 {
				continue
			}
			high := max(v/limit*chartHigh, 1.5)
			y -= high
			bars = append(bars, bar{
				Class: s.Class, X: coordinate(float64(i)*step + step*0.15), Y: coordinate(max(y, 0)), W: coordinate(step * 0.7), H: coordinate(high),
			})
		}
	}
	return bars
}

func (p plot) hits() []hit {
	hits := make([]hit, 0, len(p.times))
	step := chartWide / float64(max(len(p.times), 1))
	for i, at := range p.times {
		var text strings.Builder
		text.WriteString(at.UTC().Format("15:04 UTC"))
		for _, s := range p.series {
			if v := s.Values[i]; !math.IsNaN(v) {
				fmt.Fprintf(&text, "\n%s: %s", s.Name, p.format(v))
			}
		}
		hits = append(hits, hit{X: coordinate(float64(i) * step), W: coordinate(step), Text: text.String()})
	}
	return hits
}

// summary says what the drawing shows.
func (p plot) summary() string {
	if _, any := p.top(); !any {
		return p.title + ": nothing in the last hour."
	}
	parts := make([]string, 0, len(p.series))
	for _, s := range p.series {
		high, at := math.Inf(-1), 0
		for i, v := range s.Values {
			if !math.IsNaN(v) && v > high {
				high, at = v, i
			}
		}
		if math.IsInf(high, -1) {
			parts = append(parts, s.Name+": nothing")
			continue
		}
		text := s.Name + ": highest " + p.format(high) + " at " + p.times[at].UTC().Format("15:04 UTC")
		if p.now < len(s.Values) && !math.IsNaN(s.Values[p.now]) {
			text += ", last " + p.format(s.Values[p.now])
		}
		parts = append(parts, text)
	}
	return p.title + " in the last hour. " + strings.Join(parts, "; ") + "."
}

// spark is a line for a table cell.
func spark(values []float64) drawn {
	top := 0.0
	for _, v := range values {
		if !math.IsNaN(v) {
			top = max(top, v)
		}
	}
	if top == 0 {
		return drawn{}
	}
	const air = 2 // so that the stroke is not cut
	d := line(series{Values: values, Area: true}, top*1.08, sparkWide, sparkHigh-air)
	return d
}

// coordinate is short: there are some thousand of them in a page.
func coordinate(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }
