package words_test

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/words"
)

var lines = map[string]struct {
	line string
	want []string
}{
	"plain":                  {`xargs wc -l`, []string{"xargs", "wc", "-l"}},
	"blanks":                 {" \t a  b\t", []string{"a", "b"}},
	"empty":                  {"", nil},
	"only blanks":            {"   ", nil},
	"single quotes":          {`a 'b $c; "d" \' e`, []string{"a", `b $c; "d" \`, "e"}},
	"double quotes":          {`a "b; 'c' \" \\ \$ \x" d`, []string{"a", `b; 'c' " \ $ \x`, "d"}},
	"quotes inside a word":   {`--name='a b'"c d"e`, []string{"--name=a bc de"}},
	"empty words":            {`a '' "" b`, []string{"a", "", "", "b"}},
	"backslash":              {`a\ b \; \'`, []string{"a b", ";", "'"}},
	"many bytes":             {`é "ü ö" '世界'`, []string{"é", "ü ö", "世界"}},
	"patterns stay":          {`ls ~ *.go a?`, []string{"ls", "~", "*.go", "a?"}},
	"newline in quotes":      {"a 'b\nc'", []string{"a", "b\nc"}},
	"hash is no comment":     {`a#b`, []string{"a#b"}},
	"escaped shell operator": {`a '|' \& ">"`, []string{"a", "|", "&", ">"}},
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for name, test := range lines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := words.Split(test.line)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("Split(%q) = %q, %v; want %q", test.line, got, err, test.want)
			}
		})
	}
}

func TestSplitAsAShellDoes(t *testing.T) {
	t.Parallel()
	for name, test := range lines {
		if strings.ContainsAny(test.line, "~*") || len(test.want) == 0 {
			continue // the shell would go further
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\0' `+test.line).Output()
			if err != nil {
				t.Fatal(err)
			}
			got, err := words.Split(test.line)
			if want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); err != nil || !slices.Equal(got, want) {
				t.Errorf("Split(%q) = %q, %v; sh says %q", test.line, got, err, want)
			}
		})
	}
}

func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`a 'b`, `a "b`, `"`, `"\"`} {
		if got, err := words.Split(line); !errors.Is(err, words.ErrUnclosed) {
			t.Errorf("Split(%q) = %q, %v; want ErrUnclosed", line, got, err)
		}
	}
	if got, err := words.Split(`a \`); !errors.Is(err, words.ErrBackslash) {
		t.Errorf("got %q, %v; want ErrBackslash", got, err)
	}
	for _, line := range []string{"a | b", "a;b", "a && b", "a > b", "a < b", "(a)", "$HOME", `"$HOME"`, "`a`", "\"`a`\"", "a\nb", "$(rm x)"} {
		var bad *words.SpecialError
		if got, err := words.Split(line); !errors.As(err, &bad) {
			t.Errorf("Split(%q) = %q, %v; want a SpecialError", line, got, err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, test := range lines {
		f.Add(test.line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		list, err := words.Split(line)
		if err != nil {
			return
		}
		var quoted []string
		for _, word := range list {
			quoted = append(quoted, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
		}
		if again, err := words.Split(strings.Join(quoted, " ")); err != nil || !slices.Equal(again, list) {
			t.Errorf("%q splits into %q, which quoted splits into %q, %v", line, list, again, err)
		}
	})
}
