package main

import (
	"bytes"
	"errors"
	"image/color"
	"math"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours are readable on white and on black; there is no background.
var (
	ink     = color.RGBA{R: 0x80, G: 0x80, B: 0x80, A: 0xff}
	faint   = color.NRGBA{R: 0x80, G: 0x80, B: 0x80, A: 0x50}
	colours = map[string]color.Color{
		floorName: color.RGBA{R: 0xd9, G: 0x73, B: 0x0d, A: 0xff},
		oursName:  color.RGBA{R: 0x2f, G: 0x81, B: 0xf7, A: 0xff},
	}
)

const (
	plotWidth   = 480
	panelHeight = 165
)

// draw writes the plot of a curve: its panels below each other.
func (c *curve) draw(path string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	rows := make([][]*plot.Plot, len(c.Panels))
	for i, p := range c.Panels {
		one, err := c.diagram(p)
		if err != nil {
			return err
		}
		rows[i] = []*plot.Plot{one}
	}
	if len(rows) == 0 || len(c.Points) == 0 {
		return errors.New("nothing to draw for " + c.Name)
	}
	rows[len(rows)-1][0].X.Label.Text = c.X
	canvas := vgsvg.New(plotWidth, vg.Length(panelHeight*len(rows)+15))
	tiles := draw.Tiles{Rows: len(rows), Cols: 1, PadY: 6, PadRight: 14, PadLeft: 2, PadTop: 4, PadBottom: 2}
	for i, row := range plot.Align(rows, tiles, draw.New(canvas)) {
		rows[i][0].Draw(row[0])
	}
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return err
	}
	// Elsewhere another font without serifs has to do.
	svg := bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	return os.WriteFile(path, svg, 0o644)
}

// diagram draws the lines of all systems for the keys of a panel.
func (c *curve) diagram(p panel) (*plot.Plot, error) {
	d := plot.New()
	d.BackgroundColor = color.Transparent
	// What the y axis shows stands above it: a name along a logarithmic axis would take room from the axis.
	d.Title.Text, d.Title.TextStyle.Color, d.Title.TextStyle.Font.Size, d.Title.Padding = p.Title, ink, 10, 4
	d.Legend.TextStyle.Color, d.Legend.TextStyle.Font.Size = ink, 9
	d.Legend.Left, d.Legend.Top, d.Legend.Padding, d.Legend.ThumbnailWidth = c.rises(p), true, 1, 18
	d.X.Scale, d.X.Tick.Marker = plot.LogScale{}, logTicks{}
	d.Y.Tick.Marker = plainTicks{}
	if p.Log {
		d.Y.Scale, d.Y.Tick.Marker = plot.LogScale{}, logTicks{}
	}
	for _, axis := range []*plot.Axis{&d.X, &d.Y} {
		axis.Color, axis.Label.TextStyle.Color, axis.Tick.Color, axis.Tick.Label.Color = ink, ink, ink, ink
		axis.Label.TextStyle.Font.Size, axis.Tick.Label.Font.Size, axis.Padding = 10, 9, 3
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	grid.Horizontal.Width, grid.Vertical.Width = 0.5, 0.5
	d.Add(grid)
	for _, system := range []string{floorName, oursName} {
		for i, key := range p.Keys {
			if err := c.line(d, p, system, key, i > 0); err != nil {
				return nil, err
			}
		}
	}
	limits(d, p)
	return d, nil
}

// rises tells whether the last value of ours is above the first, so that there is room at the left.
func (c *curve) rises(p panel) bool {
	xys := c.xys(p, oursName, p.Keys[0])
	return len(xys) == 0 || xys[len(xys)-1].Y >= xys[0].Y
}

// line adds a line and its name.
func (c *curve) line(d *plot.Plot, p panel, system, key string, second bool) error {
	xys := c.xys(p, system, key)
	if len(xys) == 0 {
		return nil
	}
	line, dots, err := plotter.NewLinePoints(xys)
	if err != nil {
		return err
	}
	line.Color, line.Width = colours[system], 1.5
	dots.Color, dots.Radius, dots.Shape = colours[system], 2, draw.CircleGlyph{}
	if second {
		line.Dashes = []vg.Length{4, 3}
	}
	d.Add(line, dots)
	name := system
	if len(p.Keys) > 1 {
		name += ", " + key
	}
	d.Legend.Add(name, line)
	return nil
}

// xys are the points of a line. What a logarithm cannot show is left out.
func (c *curve) xys(p panel, system, key string) (xys plotter.XYs) {
	for _, point := range c.Points {
		if v, ok := point.Values[key]; ok && point.System == system && (!p.Log || v > 0) {
			xys = append(xys, plotter.XY{X: float64(point.N), Y: v})
		}
	}
	slices.SortFunc(xys, func(a, b plotter.XY) int { return int(math.Copysign(1, a.X-b.X)) })
	return xys
}

// limits widens the axes: from 0, or to whole powers of ten.
func limits(d *plot.Plot, p panel) {
	if math.IsInf(d.Y.Min, 0) || math.IsInf(d.Y.Max, 0) { // there is nothing, or a logarithm cannot show it
		d.X.Min, d.X.Max, d.Y.Min, d.Y.Max = 1, 10, 1, 10
	}
	d.X.Max = max(d.X.Max, 10*d.X.Min)
	if !p.Log {
		d.Y.Min, d.Y.Max = 0, d.Y.Max*1.3
		return
	}
	d.Y.Min = math.Pow(10, math.Floor(math.Log10(d.Y.Min)))
	d.Y.Max = math.Pow(10, math.Ceil(math.Log10(d.Y.Max*1.5)))
}

// logTicks are the powers of ten, with thousands apart, and unnamed ones between.
type logTicks struct{}

// Ticks implements plot.Ticker.
func (logTicks) Ticks(least, most float64) (ticks []plot.Tick) {
	for power := math.Pow(10, math.Floor(math.Log10(least))); power <= most*1.001; power *= 10 {
		ticks = append(ticks, plot.Tick{Value: power, Label: plain(power)})
		for i := 2.0; i < 10; i++ {
			ticks = append(ticks, plot.Tick{Value: i * power})
		}
	}
	return slices.DeleteFunc(ticks, func(t plot.Tick) bool { return t.Value < least*0.999 || t.Value > most*1.001 })
}

// plainTicks are those of a linear axis, with thousands apart.
type plainTicks struct{}

// Ticks implements plot.Ticker.
func (plainTicks) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = plain(ticks[i].Value)
		}
	}
	return ticks
}

// plain prints a round number.
func plain(v float64) string {
	if v >= 1000 {
		return short(v)
	}
	return trimFloat(v)
}
