package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// compare prints what was measured beside what a file holds, and fails when something of ours is worse by more than the tolerance.
func compare(stdout io.Writer, path string, now *results, tolerance float64) error {
	before, err := readResults(path)
	if err != nil {
		return err
	}
	worse, err := compareLines(stdout, before, now, tolerance)
	if err != nil {
		return err
	}
	for _, what := range []string{"redis-server", "go"} {
		if was, is := before.Versions[what], now.Versions[what]; was != is {
			_, _ = fmt.Fprintf(stdout, "not the same %s: was %s, is %s. Look at the floor.\n", what, was, is)
		}
	}
	if worse > 0 {
		return fmt.Errorf("%d figures of ours are worse than in %s by more than %g %%", worse, path, tolerance*100)
	}
	return nil
}

// compareLines counts what is worse.
func compareLines(stdout io.Writer, before, now *results, tolerance float64) (worse int, err error) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "work\tsystem\tbefore\tnow\tchange\t\t") // Flush fails when this does
	compared := 0
	for _, l := range now.Lines {
		old := before.find(l.Row, l.Key)
		if old == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(l.Cells)) {
			is, was := l.Cells[name], old.Cells[name]
			if was == nil {
				continue
			}
			compared++
			verdict := "varies"
			if !l.Varies {
				verdict = judge(is, was, tolerance, l.Less)
			}
			if verdict == wordWorse && name != floorName {
				worse++
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%+.1f %%\t%s\t\n", l.Title, name, was.spread(), is.spread(), (is.Median/was.Median-1)*100, verdict)
		}
	}
	if compared == 0 {
		return 0, errors.New("nothing to compare was measured")
	}
	return worse, w.Flush()
}

const wordWorse = "WORSE"

// judge says worse or better only when every round is, compared with every round before: a figure that varies by itself is the same.
func judge(is, was *cell, tolerance float64, less bool) string {
	above, below := is.Min > was.Max*(1+tolerance), is.Max < was.Min*(1-tolerance)
	switch {
	case above && less, below && !less:
		return wordWorse
	case above, below:
		return "better"
	default:
		return "same"
	}
}

// find is the line of a metric, nil when there is none.
func (r *results) find(row, key string) *line {
	for _, l := range r.Lines {
		if l.Row == row && l.Key == key {
			return l
		}
	}
	return nil
}
