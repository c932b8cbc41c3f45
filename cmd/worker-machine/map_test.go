package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/mapreduce"
)

func numbers(n int) (lines []string, text string) {
	for i := range n {
		lines = append(lines, "line "+strconv.Itoa(i))
	}
	return lines, strings.Join(lines, "\n") + "\n"
}

func TestMapPrintsResults(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", "cat=cat", "--handle", "wc=xargs wc -l", "--handle", "two=printf 'a\\n\\n'")
	lines, text := numbers(300)

	got := strings.Split(strings.TrimSuffix(c.must(text, "map", "cat"), "\n"), "\n")
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(lines)); !slices.Equal(got, want) {
		t.Errorf("got %d results, want %d", len(got), len(want))
	}
	if got := c.must(text, "map", "cat", "--ordered", "--window", "7"); got != text {
		t.Errorf("in order: got\n%.300s", got)
	}
	if got := c.must("a\nb", "map", "cat", "--ordered", "--with-input"); got != "a\ta\nb\tb\n" {
		t.Errorf("with input: got %q", got)
	}
	if got := c.must("a\r\n", "map", "cat"); got != "a\n" {
		t.Errorf("a line of Windows: got %q", got)
	}
	if got := c.must("x\n", "map", "two"); got != "a\n" {
		t.Errorf("newlines at the end: got %q", got)
	}
	if got := c.must("a\nb\x00c\x00", "map", "cat", "--null", "--ordered"); got != "a\nb\x00c\x00" {
		t.Errorf("NUL: got %q", got)
	}
	out, errs, code := c.run("", "map", "cat")
	if code != 0 || out != "" {
		t.Errorf("nothing: exit code %d, stdout %q", code, out)
	}
	wantAll(t, errs, "0 done, 0 failed, 0 cancelled")

	file := filepath.Join(t.TempDir(), "a b")
	if err := os.WriteFile(file, []byte("1\n2\n3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.must(strings.ReplaceAll(file, " ", `\ `)+"\n", "map", "wc"); got != "3 "+file+"\n" {
		t.Errorf("xargs wc -l: got %q", got)
	}
}

func TestMapFailures(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", "odd=grep -v '[13579]$'", "--max-attempts", "1")
	_, text := numbers(10)
	out, errs, code := c.run(text+"evil \x1b[31m1\n", "map", "odd", "--ordered")
	if code != exitFailed || strings.Count(out, "\n") != 5 || strings.Contains(errs, "\x1b") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	wantAll(t, errs, "failed: line 3: odd failed: grep: exit status 1", `failed: evil \x1b[31m1: `, "5 done, 6 failed, 0 cancelled in ")

	out, _, code = c.run("line 0\nline 1\n\xff2\n", "map", "odd", "--json", "--ordered")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	var records []mappedResult
	for line := range strings.Lines(out) {
		var record mappedResult
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		records = append(records, record)
	}
	if len(records) != 3 || *records[0].Result != "line 0\n" || *records[0].Input != "line 0" ||
		records[1].Failure == nil || records[1].Failure.Reason != "failed" || records[1].Result != nil || records[2].InputBase64 != "/zI=" {
		t.Errorf("got %s", out)
	}

	_, errs, code = c.run(text, "map", "odd", "--fail-fast", "--window", "1")
	if code != exitFailed {
		t.Errorf("--fail-fast: exit code %d", code)
	}
	wantAll(t, errs, "1 failed, ")
}

func TestMapRefusesLongLines(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", "cat=cat")
	long := strings.Repeat("x", 1000)
	out, errs, code := c.run("a\n"+long+"\nb\n"+long[:100]+"\n", "map", "cat", "--ordered", "--max-payload", "100")
	if want := "a\nb\n" + long[:100] + "\n"; code != exitFailed || out != want {
		t.Errorf("exit code %d, stdout %q, want %q", code, out, want)
	}
	wantAll(t, errs, "failed: xxx", "the payload is too large", "3 done, 1 failed")
}

// TestMapStreams feeds an input that does not end.
func TestMapStreams(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", "cat=cat")
	s := c.start("map", "cat")
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		if _, err := s.stdin.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		s.stdout.await(t, line) // before there is another one
	}
	s.ctrlC()
	if code := s.wait(); code != exitFailed {
		t.Errorf("exit code %d after ctrl-C", code)
	}
	wantAll(t, s.stderr.String(), "3 done, 0 failed", "worker-machine: interrupted")
}

// brokenPipe is a stdout whose reader went away.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken pipe")

func TestMapEndsWithItsReader(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.work("--handle", "cat=cat")
	_, text := numbers(100)
	errs := newTranscript()
	err := run(t.Context(), []string{"map", "cat"}, c.env, strings.NewReader(text), brokenPipe{}, errs)
	if !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	wantAll(t, c.must("", "stats", "--json"), `"delayed":0`)
}

func TestInputs(t *testing.T) {
	t.Parallel()
	const limit = 5
	for text, want := range map[string][]string{
		"":                                   nil,
		"\n":                                 {""},
		"a":                                  {"a"},
		"a\n\nb\n":                           {"a", "", "b"},
		"12345\n123456\n1234567\nx":          {"12345", "123456", "123456", "x"},
		strings.Repeat("y", 1<<18) + "\nz\n": {"yyyyyy", "z"},
	} {
		in := newInputs(strings.NewReader(text), false, limit)
		var got []string
		for line := range in.all(t.Context()) {
			got = append(got, string(line))
		}
		if !slices.Equal(got, want) || in.err() != nil || in.total.Load() != int64(len(want)) {
			t.Errorf("%.20q: got %q, total %d, %v; want %q", text, got, in.total.Load(), in.err(), want)
		}
	}
}

func TestInputsOfAFileAreCounted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 0, "a\nb\n": 2, "a\nb": 2, "head\na\nb\n": 3} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		in := newInputs(file, false, 100)
		if got := in.total.Load(); got != want {
			t.Errorf("%q: counted %d, want %d", text, got, want)
		}
		n := 0
		for range in.all(t.Context()) {
			n++
		}
		if int64(n) != want {
			t.Errorf("%q: %d after it was counted, want %d", text, n, want)
		}
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	in := newInputs(strings.NewReader(""), false, 1)
	in.total.Store(200)
	screen := newTranscript()
	b := newBar(screen, in, true, 0)
	b.show(mapreduce.Progress{Submitted: 100, Done: 40, Failed: 10, Elapsed: time.Second}, 0)
	wantAll(t, screen.String(), "25%", "50/200", "task/")
	b.hide(false)
	b.finish()
	var none *bar // on no terminal
	none.show(mapreduce.Progress{}, 0)
	none.hide(true)
	none.finish()
}
