package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// page is the document whose tables come from measurements.
const page = "performance.md"

// writeReport puts tables into the page between their marks, and draws the plots.
func (s settings) writeReport() error {
	docs := s.docs
	r, err := readResults(s.report)
	if err != nil {
		return err
	}
	if s.against != "" {
		if r.before, err = readResults(s.against); err != nil {
			return err
		}
	}
	name := filepath.Join(docs, page)
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	text, err = r.fillIn(text)
	if err != nil {
		return err
	}
	for _, c := range r.Growth {
		if err := c.draw(filepath.Join(docs, c.file())); err != nil {
			return err
		}
	}
	return os.WriteFile(name, text, 0o644)
}

func (c *curve) file() string { return "growth-" + c.Name + ".svg" }

// fillIn renders every part of a page that has marks: <!-- measured:NAME --> and <!-- end -->.
func (r *results) fillIn(text []byte) ([]byte, error) {
	var out bytes.Buffer
	for {
		before, rest, found := bytes.Cut(text, []byte("<!-- measured:"))
		out.Write(before)
		if !found {
			return out.Bytes(), nil
		}
		name, rest, ok := bytes.Cut(rest, []byte(" -->\n"))
		_, after, ended := bytes.Cut(rest, []byte("<!-- end -->"))
		if !ok || !ended {
			return nil, errors.New("a mark has no end")
		}
		part, err := r.part(string(name))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "<!-- measured:%s -->\n\n%s\n\n<!-- end -->", name, strings.TrimSpace(part))
		text = after
	}
}

// part renders what a mark asks for: a kind, and after a colon what of it.
func (r *results) part(mark string) (string, error) {
	kind, of, _ := strings.Cut(mark, ":")
	switch kind {
	case "machine":
		return r.machineList(), nil
	case "table":
		return r.chosenTable(strings.Split(of, ",")), nil
	case "notes":
		return "- " + strings.Join(append(slices.Clone(r.Notes), "Every other check passed: no task was lost, and none ran twice."), "\n- "), nil
	case "growth":
		for _, c := range r.Growth {
			if c.Name == of {
				return fmt.Sprintf("![%s](%s)\n\n%s", c.Title, c.file(), c.table()), nil
			}
		}
		return "Not measured.", nil
	case "profile":
		return fenced(r.Profiles[of]), nil
	case "profile-before":
		return fenced(r.before.Profiles[of]), nil
	case "before":
		return r.beforeTable(strings.Split(of, ",")), nil
	default:
		return "", fmt.Errorf("nothing is called %s", mark)
	}
}

func fenced(text string) string {
	if text == "" {
		return "Not measured."
	}
	return "```text\n" + strings.TrimSpace(text) + "\n```"
}

// beforeTable shows some rows of ours beside what they were, as ratios to the floor of the same run.
func (r *results) beforeTable(rows []string) string {
	var b strings.Builder
	b.WriteString("| work | floor | before | of the floor | now | of the floor |\n|" + strings.Repeat(" --- |", 6) + "\n")
	for _, l := range r.Lines {
		old := r.before.find(l.Row, l.Key)
		if !slices.Contains(rows, l.Row) || old == nil || l.Cells[oursName] == nil || old.Cells[oursName] == nil || l.Cells[floorName] == nil {
			continue
		}
		was, is := old.Cells[oursName], l.Cells[oursName]
		fmt.Fprintf(&b, "| %s | %s | %s | x%s | %s | x%s |\n", l.Title, short(l.Cells[floorName].Median), short(was.Median), short(was.Ratio), short(is.Median), short(is.Ratio))
	}
	return b.String()
}

func (r *results) machineList() string {
	var b strings.Builder
	for _, name := range sortedKeys(r.Machine) {
		fmt.Fprintf(&b, "- %s: %s\n", name, r.Machine[name])
	}
	for _, name := range sortedKeys(r.Versions) {
		fmt.Fprintf(&b, "- %s: %s\n", name, r.Versions[name])
	}
	return b.String()
}

// chosenTable is the table of some rows, with the systems that have something to show in them.
func (r *results) chosenTable(rows []string) string {
	lines := []*line{}
	for _, l := range r.Lines {
		if slices.Contains(rows, l.Row) && len(l.Cells) > 0 {
			lines = append(lines, l)
		}
	}
	systems := slices.DeleteFunc(slices.Clone(r.Systems), func(name string) bool {
		return !slices.ContainsFunc(lines, func(l *line) bool { return l.Cells[name] != nil })
	})
	slices.SortStableFunc(lines, func(a, b *line) int { return slices.Index(rows, a.Row) - slices.Index(rows, b.Row) })
	return linesTable(lines, systems)
}

func linesTable(lines []*line, systems []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| row | work | %s |\n|%s\n", strings.Join(systems, " | "), strings.Repeat(" --- |", 2+len(systems)))
	for _, l := range lines {
		fmt.Fprintf(&b, "| %s | %s |", l.Row, l.Title)
		for _, name := range systems {
			fmt.Fprintf(&b, " %s |", l.Cells[name])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// table shows all values of a curve, a line for each point.
func (c *curve) table() string {
	points := slices.Clone(c.Points)
	slices.SortStableFunc(points, func(a, b *point) int { return a.N - b.N })
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | system |", c.X)
	for _, one := range c.Columns {
		fmt.Fprintf(&b, " %s |", one.Title)
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", 2+len(c.Columns)) + "\n")
	for _, p := range points {
		fmt.Fprintf(&b, "| %s | %s |", plain(float64(p.N)), p.System)
		for _, one := range c.Columns {
			text := "-"
			if v, ok := p.Values[one.Key]; ok {
				text = short(v)
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// growthTables are the tables of all curves.
func (r *results) growthTables() string {
	var b strings.Builder
	for _, c := range r.Growth {
		fmt.Fprintf(&b, "\n%s\n\n%s", c.Title, c.table())
	}
	return b.String()
}

// trimFloat prints a number as short as it is.
func trimFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
