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
			all.add(round, r, name, &outcome{values: map[string]float64{"rate": value}})
		}
	}
	all.note("%s", "one is lost")
	all.finish()
	table := all.table()
	for _, want := range []string{
		"| row | work | floor | ours | river |",
		"| lone | enqueue | 1,500 [1,000 to 2,000] | 1,550 [900 to 2,200] **x1.00** | - |",
		"- one is lost",
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

// TestMain is also the main of the processes that a benchmark starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "child" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestQuick measures a little of everything that is ours, in processes of its own, goes on with the same file, and compares the results
// with themselves.
func TestQuick(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "out.json")
	quick := []string{
		"-quick", "-time", "50ms", "-only", "floor,ours", "-rows", "run100,callers,calls,map,mapreduce,flood", "-growth", "all", "-json", file, "-resume",
	}
	var out, progress strings.Builder
	if err := run(t.Context(), quick, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	r, err := readResults(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range r.Notes {
		if !strings.HasSuffix(note, "the machine is too slow") { // which is nobody's mistake here
			t.Error(note)
		}
	}
	for _, l := range r.Lines {
		if l.Cells["ours"] == nil || l.Cells["ours"].Median <= 0 {
			t.Errorf("%s: nothing was measured", l.Title)
		}
	}
	for _, c := range r.Growth {
		g := growths()[slices.IndexFunc(growths(), func(g growth) bool { return g.name == c.Name })]
		if want := len(g.quick) * len(g.systems); len(c.Points) != want {
			t.Errorf("%s has %d points, want %d", c.Name, len(c.Points), want)
		}
		if err := c.draw(filepath.Join(t.TempDir(), c.file())); err != nil {
			t.Error(err)
		}
	}
	progress.Reset()
	if err := run(t.Context(), append(quick, "-against", file), &out, &progress); err != nil {
		t.Errorf("compared with itself: %v", err)
	}
	if progress.Len() > 0 {
		t.Errorf("measured again what was there:\n%s", progress.String())
	}
}

func TestResumeBeginsAnewWithAnotherCommit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "out.json")
	old := &results{Versions: versions(t.Context()), Notes: []string{"from before"}}
	for commit, want := range map[string]int{old.Versions[ownName]: 1, "another": 0} {
		old.Versions[ownName] = commit
		if err := old.save(file); err != nil {
			t.Fatal(err)
		}
		s := settings{resume: true, json: file, rounds: 1, lab: lab{progress: io.Discard}}
		if all, err := s.begin(t.Context()); err != nil || len(all.Notes) != want {
			t.Errorf("%s: %v, notes %q, want %d", commit, err, all.Notes, want)
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	r, err := readResults("../docs/performance.json")
	if err != nil {
		t.Fatal(err)
	}
	if r.before, err = readResults("baseline.json"); err != nil {
		t.Fatal(err)
	}
	filled, err := r.fillIn(text)
	if err != nil {
		t.Fatal(err)
	}
	if string(filled) != string(text) {
		t.Error("docs/performance.md is not what its measurements say: run `go run . -report ../docs/performance.json -against baseline.json`")
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	before := &cell{Median: 100, Min: 99, Max: 101}
	for name, c := range map[string]struct {
		now  cell
		less bool
		want string
	}{
		"more of what is to be less":    {cell{Min: 104, Max: 105}, true, wordWorse},
		"less of what is to be less":    {cell{Min: 95, Max: 96}, true, "better"},
		"less of what is to be more":    {cell{Min: 95, Max: 96}, false, wordWorse},
		"hardly more":                   {cell{Min: 102, Max: 103}, true, "same"},
		"more, and once not":            {cell{Min: 100, Max: 120}, true, "same"},
		"as much as it was, or so much": {cell{Min: 90, Max: 100}, true, "same"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := judge(&c.now, before, 0.02, c.less); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestCompareFailsWhenOursIsWorse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "before.json")
	with := func(floor, ours float64) *results {
		r := &results{Systems: []string{floorName, "ours"}}
		w := row{name: "instructions", varies: []string{"run"}, metrics: []metric{
			{key: "inorder", title: "instructions", less: true}, {key: "run", title: "instructions that vary", less: true},
		}}
		r.add(0, w, floorName, &outcome{values: map[string]float64{"inorder": floor, "run": floor}})
		r.add(0, w, "ours", &outcome{values: map[string]float64{"inorder": ours, "run": 10 * (ours - 90)}})
		r.finish()
		return r
	}
	if err := with(100, 100).save(file); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		floor, ours float64
		fails       bool
	}{
		"the same": {100, 101, false}, "ours": {100, 103, true}, "the floor": {110, 100, false}, "better": {100, 90, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if err := compare(&out, file, with(c.floor, c.ours), 0.02); (err != nil) != c.fails {
				t.Errorf("got %v, in\n%s", err, out.String())
			}
		})
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	var m marks
	for _, index := range []uint64{0, 5, 5, 1 << 40} {
		m.mark(newPayload(minPayload, index, time.Now()))
	}
	if m.count != 2 || m.wrong != 2 {
		t.Errorf("counted %d and %d surplus, want 2 and 2", m.count, m.wrong)
	}
}
