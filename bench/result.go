package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// results is all that a run of the benchmark has found; it is what -json writes.
type results struct {
	Machine  map[string]string `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Systems  []string          `json:"systems"`
	Lines    []*line           `json:"lines"`
	Growth   []*curve          `json:"growth,omitempty"`
	Profiles map[string]string `json:"profiles,omitempty"` // the top of each
	before   *results
	Notes    []string `json:"notes"` // what is missing, and what went wrong
}

// line is one metric of one row.
type line struct {
	Row    string           `json:"row"`
	Key    string           `json:"key"`
	Title  string           `json:"title"`
	Less   bool             `json:"less_is_better"`
	Varies bool             `json:"varies,omitempty"` // -against shows it and does not judge it
	Cells  map[string]*cell `json:"systems"`
}

// cell is one metric of one system.
type cell struct {
	Values map[int]float64 `json:"values"` // by round
	Median float64         `json:"median"`
	Min    float64         `json:"min"`
	Max    float64         `json:"max"`
	Ratios []float64       `json:"ratios,omitempty"` // to the floor of the same round
	Ratio  float64         `json:"ratio,omitempty"`  // their median
}

// line finds or adds the line of a metric.
func (r *results) line(row string, m metric) *line {
	if l := r.find(row, m.key); l != nil {
		return l
	}
	l := &line{Row: row, Key: m.key, Title: m.title, Less: m.less, Cells: map[string]*cell{}}
	r.Lines = append(r.Lines, l)
	return l
}

// add takes in the outcome of one run.
func (r *results) add(round int, w row, system string, o *outcome) {
	for _, m := range w.metrics {
		l := r.line(w.name, m)
		l.Varies = slices.Contains(w.varies, m.key)
		value, ok := o.values[m.key]
		if !ok {
			continue
		}
		if l.Cells[system] == nil {
			l.Cells[system] = &cell{Values: map[int]float64{}}
		}
		l.Cells[system].Values[round] = value
	}
}

// note keeps a remark once.
func (r *results) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// finish computes medians, ranges and ratios.
func (r *results) finish() {
	for _, l := range r.Lines {
		for name, c := range l.Cells {
			values := []float64{}
			for _, v := range c.Values {
				values = append(values, v)
			}
			c.Median, c.Min, c.Max = median(values), slices.Min(values), slices.Max(values)
			if floor := l.Cells[floorName]; floor != nil && name != floorName {
				if c.Ratios = ratios(c.Values, floor.Values); len(c.Ratios) > 0 {
					c.Ratio = median(c.Ratios)
				}
			}
		}
	}
}

// table renders the results as Markdown.
func (r *results) table() string {
	var b strings.Builder
	b.WriteString(r.machineList())
	fmt.Fprintf(&b, "\nMedians of %d rounds, [least to most], and the ratio to the floor of the same round.\n\n", r.Rounds)
	b.WriteString(linesTable(r.Lines, r.Systems))
	for _, note := range r.Notes {
		b.WriteString("\n- " + note)
	}
	return b.String() + "\n"
}

// spread is the median and the range.
func (c *cell) spread() string {
	if len(c.Values) == 1 {
		return short(c.Median)
	}
	return short(c.Median) + " [" + short(c.Min) + " to " + short(c.Max) + "]"
}

// String is a cell of the table.
func (c *cell) String() string {
	if c == nil || len(c.Values) == 0 {
		return "-"
	}
	text := c.spread()
	if c.Ratio != 0 {
		text += " **x" + short(c.Ratio) + "**"
	}
	return text
}

// short prints a number with three digits that matter, and thousands apart.
func short(v float64) string {
	switch {
	case v >= 1000:
		whole := fmt.Sprintf("%.0f", v)
		for at := len(whole) - 3; at > 0; at -= 3 {
			whole = whole[:at] + "," + whole[at:]
		}
		return whole
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

func sortedKeys(m map[string]string) []string {
	names := []string{}
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// machine describes where this runs.
func machine() map[string]string {
	model := ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
				model = string(bytes.TrimSpace(value))
				break
			}
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte(runtime.GOOS)
	}
	return map[string]string{
		"CPUs": fmt.Sprintf("%d x %s", runtime.NumCPU(), model), "kernel": string(bytes.TrimSpace(kernel)), "load before": load(),
	}
}

// load is the load average of 1, 5 and 15 minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}

const ownName = "worker-machine"

// ownVersion is the tag or the commit of what is measured, and whether it was changed since; "" outside of a repository.
func ownVersion(ctx context.Context) string {
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--tags").Output()
	if err != nil {
		return ""
	}
	// What a run itself writes lies in docs.
	changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--", ":/", ":(top,exclude)docs").Output()
	if err != nil || len(changed) > 0 {
		return firstLine(commit) + ", changed"
	}
	return firstLine(commit)
}

// versions are those of what is compared.
func versions(ctx context.Context) map[string]string {
	found := map[string]string{"go": runtime.Version()}
	if out, err := exec.CommandContext(ctx, "redis-server", "--version").Output(); err == nil {
		found["redis-server"] = firstLine(out)
	}
	if commit := ownVersion(ctx); commit != "" {
		found[ownName] = commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			switch module.Path {
			case "github.com/redis/go-redis/v9", "github.com/hibiken/asynq", "github.com/ThreeDotsLabs/watermill-redisstream",
				"github.com/riverqueue/river", "github.com/nats-io/nats.go":
				found[module.Path] = module.Version
			}
		}
	}
	return found
}
