package programs_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/programs"
)

// TestWordCountIsThatOfAPipeline compares the words of random files, cut in random ways, with what sort and uniq say.
func TestWordCountIsThatOfAPipeline(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 4)) //nolint:gosec // a test that can be repeated
			texts := make([]string, 1+random.IntN(6))
			for i := range texts {
				texts[i] = prose(random, random.IntN(200))
				if random.IntN(3) == 0 {
					texts[i] = strings.TrimSuffix(texts[i], "\n")
				}
			}
			want := shell(t, strings.Join(texts, "\n"), wordCountOracle)
			spec := wordCount
			if random.IntN(2) == 0 {
				spec.Combine = spec.Reduce
			}
			cut := programs.CutConfig{Split: 200 + random.Int64N(4000), PerFile: random.IntN(2) == 0}
			cfg := programs.LocalConfig{Partitions: 1 + random.IntN(5), Concurrency: 1 + random.IntN(4)}
			paths := write(t, texts...)
			for how, splits := range map[string]func() (string, error){
				"cut":  func() (string, error) { return local(t, newSet(t, spec), programs.Cut(paths, cut), cfg) },
				"ship": func() (string, error) { return local(t, newSet(t, spec), programs.Ship(paths, nil, cut), cfg) },
				"stdin": func() (string, error) {
					return local(t, newSet(t, spec), programs.Ship(nil, strings.NewReader(strings.Join(texts, "\n")), cut), cfg)
				},
			} {
				if got, err := splits(); err != nil || got != want {
					t.Errorf("%s, %+v, %+v: %v, got\n%s\nwant\n%s", how, cut, cfg, err, got, want)
				}
			}
		})
	}
}

func TestLinesOfProgramsAreLeftAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec       programs.Spec
		text, want string
	}{
		"a key without a tab":    {programs.Spec{Map: "cat", Reduce: "cat"}, "b\na\n", "a\nb\n"},
		"a tab and no value":     {programs.Spec{Map: "cat", Reduce: "cat"}, "k\t\nk\n", "k\t\nk\n"},
		"keys with many tabs":    {programs.Spec{Map: "cat", Reduce: "cat"}, "k\t2\t3\nk\t1\t\n", "k\t2\t3\nk\t1\t\n"},
		"CR and NUL":             {programs.Spec{Map: "cat", Reduce: "cat"}, "k\t1\r\n\x00\t\x00\r\n", "\x00\t\x00\r\nk\t1\r\n"},
		"empty lines":            {programs.Spec{Map: "cat", Reduce: "cat"}, "\n\n", "\n\n"},
		"no newline at the end":  {programs.Spec{Map: "cat", Reduce: "wc -l"}, "a\nb", "2\n"},
		"nothing":                {programs.Spec{Map: "wc -l", Reduce: "wc -l"}, "", ""},
		"a mapper without lines": {programs.Spec{Map: "true", Reduce: "wc -l"}, "a\n", ""},
		"no order in the output": {programs.Spec{Map: "cat", Reduce: "sort -r"}, "a\nb\nc\n", "a\nb\nc\n"},
		"lines without a tab":    {programs.Spec{Map: "cat", Reduce: "cut -f 1"}, "b\t1\na\t2\n", "a\nb\n"},
		"a reader that leaves":   {programs.Spec{Map: "head -n 1", Reduce: "head -n 1"}, "b\n" + strings.Repeat("a\n", 100_000), "b\n"},
		"values in their order":  {programs.Spec{Map: "cat", Reduce: "cat"}, "k\t3\nk\t1\nk\t2\n", "k\t3\nk\t1\nk\t2\n"},
		"bytes that are no text": {programs.Spec{Map: "cat", Reduce: "cat"}, "\xff\t\xfe\n", "\xff\t\xfe\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, cfg := range []programs.CutConfig{{}, {Split: 4}} {
				if cfg.Split > 0 && (name == "a reader that leaves") {
					continue
				}
				got, err := local(t, newSet(t, c.spec), programs.Cut(write(t, c.text), cfg), programs.LocalConfig{Partitions: 1})
				if err != nil || got != c.want {
					t.Errorf("split %d: got %q, %v; want %q", cfg.Split, got, err, c.want)
				}
			}
		})
	}
}

func TestProgramsThatFail(t *testing.T) {
	t.Parallel()
	paths := write(t, "a\nb\n", "c\n")
	for name, c := range map[string]struct {
		spec programs.Spec
		want string
	}{
		"map":     {programs.Spec{Shell: true, Map: "echo oh >&2; exit 3", Reduce: "cat"}, "map task 0 (" + paths[0] + "): sh: exit status 3: oh"},
		"killed":  {programs.Spec{Shell: true, Map: "kill -9 $$", Reduce: "cat"}, "sh: signal: killed"},
		"reduce":  {programs.Spec{Shell: true, Map: "cat", Reduce: "exit 4"}, "reduce task 0: sh: exit status 4"},
		"combine": {programs.Spec{Shell: true, Map: "cat", Combine: "exit 5", Reduce: "cat"}, "map task 0 (" + paths[0] + "): sh: exit status 5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := local(t, newSet(t, c.spec), programs.Cut(paths, programs.CutConfig{PerFile: true}), programs.LocalConfig{Partitions: 1, Concurrency: 1})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestSpecsThatCannotRun(t *testing.T) {
	t.Parallel()
	for want, spec := range map[string]programs.Spec{
		"--map: it is missing":                             {Reduce: "cat"},
		"--reduce: it is missing":                          {Map: "cat"},
		"--map: a quote is not closed":                     {Map: "cat 'x", Reduce: "cat"},
		`--reduce: '|' means something to a shell only`:    {Map: "cat", Reduce: "cat | wc"},
		`--combine: execute: program "no-such": not found`: {Map: "cat", Reduce: "cat", Combine: "no-such"},
		`--map: execute: program "no-such": not found, or`: {Map: "no-such", Reduce: "cat"},
		`use a shell on purpose (--shell)`:                 {Map: "$HOME", Reduce: "cat"},
	} {
		if _, err := programs.New(spec, execute.Config{Environ: os.Environ()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %s", spec, err, want)
		}
	}
	if err := (programs.Spec{Map: "no-such", Reduce: "cat"}).Check(); err != nil {
		t.Errorf("programs of other machines: %v", err)
	}
}

func TestFingerprintsTellProgramsApart(t *testing.T) {
	t.Parallel()
	seen := map[string]programs.Spec{}
	for _, spec := range []programs.Spec{
		{Map: "a", Reduce: "b"}, {Map: "b", Reduce: "a"}, {Map: "a", Reduce: "b", Combine: "b"}, {Map: "a", Reduce: "b", Shell: true}, {Map: "ab"}, {Reduce: "ab"},
	} {
		print := spec.Fingerprint()
		if other, is := seen[print]; is || len(print) != 16 {
			t.Errorf("%+v and %+v have %q", spec, other, print)
		}
		seen[print] = spec
	}
	if got := (programs.Spec{Map: "a", Reduce: "b"}).Fingerprint(); got != "218f86e405a7e9dd" {
		t.Errorf("the fingerprint has changed to %s: workers and clients of different versions would not find each other", got)
	}
}

// TestWhatDoesNotFitIntoMemory takes a bound that every task passes.
func TestWhatDoesNotFitIntoMemory(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&b, "%d\t%d\n", i%1000, i)
	}
	spec := programs.Spec{Shell: true, Map: "cat", Reduce: `awk -F '\t' '{ n++; s += $2 } END { printf "%d\t%.0f\n", n, s }'`}
	cut := programs.CutConfig{Split: 100_000}
	got, err := local(t, newSet(t, spec), programs.Cut(write(t, b.String()), cut), programs.LocalConfig{Partitions: 1, Memory: 1 << 20, Dir: t.TempDir()})
	if err != nil || got != "200000\t19999900000\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestValuesComeByTheNumberOfTheirSplit has the first task end last.
func TestValuesComeByTheNumberOfTheirSplit(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	spec := programs.Spec{Shell: true, Reduce: "cat", Map: fmt.Sprintf(
		`read -r line; case "$line" in *1) until test -e %[1]s; do sleep 0.01; done;; *4) touch %[1]s;; esac; echo "$line"`, gate)}
	text := "k\t1\nk\t2\nk\t3\nk\t4\n"
	got, err := local(t, newSet(t, spec), programs.Cut(write(t, text), programs.CutConfig{Split: 4}), programs.LocalConfig{Concurrency: 2, Partitions: 2})
	if err != nil || got != text {
		t.Errorf("got %q, %v", got, err)
	}
}
