package main

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []float64
		q      float64
		want   float64
	}{
		"median of an odd number":    {[]float64{3, 1, 2}, 0.5, 2},
		"median of an even number":   {[]float64{4, 1, 2, 3}, 0.5, 2.5},
		"of one value":               {[]float64{7}, 0.99, 7},
		"the most":                   {[]float64{1, 9, 5}, 1, 9},
		"between two near the top":   {[]float64{0, 10, 20, 30, 40}, 0.9, 36},
		"of nothing there is no one": {nil, 0.5, math.NaN()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(c.values)
			got := quantile(c.values, c.q)
			if math.Abs(got-c.want) > 1e-9 || math.IsNaN(got) != math.IsNaN(c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if !slices.Equal(before, c.values) {
				t.Errorf("the values were changed to %v", c.values)
			}
		})
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	t.Parallel()
	got := ratios(map[int]float64{0: 10, 1: 30, 3: 7}, map[int]float64{0: 20, 1: 10, 2: 5})
	if want := []float64{0.5, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	all := &results{Machine: map[string]string{"CPUs": "2"}, Rounds: 2, Systems: []string{floorName, "ours", "river"}}
	r := row{name: "lone", metrics: []metric{{key: "rate", title: "enqueue"}}}
	for round, values := range []map[string]float64{{floorName: 1000, "ours": 900}, {floorName: 2000, "ours": 2200}} {
		for name, value := range values {
			all.add(round, r, name, &outcome{values: map[string]float64{"rate": value}, trouble: []string{"one is lost"}[:round]})
		}
	}
	all.finish()
	table := all.table()
	for _, want := range []string{
		"| row | work | floor | ours | river |",
		"| lone | enqueue | 1,500 [1,000 to 2,000] | 1,550 [900 to 2,200] **x1.00** | - |",
		"- lone, ours, round 1: one is lost",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{1234567: "1,234,567", 1000: "1,000", 123.4: "123", 12.34: "12.3", 1.234: "1.23", 0.01234: "0.012"} {
		if got := short(value); got != want {
			t.Errorf("short(%v) = %q, want %q", value, got, want)
		}
	}
}

func TestTallyCountsEachTaskOnce(t *testing.T) {
	t.Parallel()
	tally := newTally(job{Tasks: 2}, nil)
	for _, index := range []uint64{1, 1, 0} {
		tally.handle(newPayload(smallTask, index, time.Now()))
	}
	tally.handle([]byte("not one of ours"))
	select {
	case <-tally.all:
	default:
		t.Error("all tasks ran, and it does not say so")
	}
	if tally.count() != 2 || tally.twice.Load() != 2 {
		t.Errorf("counted %d tasks and %d surplus, want 2 and 2", tally.count(), tally.twice.Load())
	}
}

func TestReadTotal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callgrind.out")
	if err := os.WriteFile(path, []byte("version: 1\nfn=(1) main\n1 20\ntotals: 12345\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readTotal(path); err != nil || got != 12345 {
		t.Errorf("got %v, %v, want 12345", got, err)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"-rows nothing", "-only nobody", "-rounds 0", "-scale 0", "surplus"} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
