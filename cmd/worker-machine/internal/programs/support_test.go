package programs_test

import (
	"bytes"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/programs"
)

func newSet(t *testing.T, spec programs.Spec) *programs.Set {
	t.Helper()
	set, err := programs.New(spec, execute.Config{Environ: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// write makes files f0, f1, ... of texts.
func write(t *testing.T, texts ...string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i, text := range texts {
		path := filepath.Join(dir, "f"+string(rune('0'+i)))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// local is the lines a local run prints.
func local(t *testing.T, set *programs.Set, splits iter.Seq2[programs.Split, error], cfg programs.LocalConfig) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := set.RunLocal(t.Context(), splits, cfg, func(key, rest []byte) error {
		out.Write(key)
		out.Write(rest)
		return out.WriteByte('\n')
	})
	return out.String(), err
}

// shell is what a pipeline prints.
func shell(t *testing.T, text, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Stdin, cmd.Env = strings.NewReader(text), append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// prose is random lines of few words, with what may hurt: empty lines, CR, NUL, long lines, tabs.
func prose(random *rand.Rand, lines int) string {
	var b strings.Builder
	for range lines {
		switch random.IntN(20) {
		case 0:
		case 1:
			b.WriteString(strings.Repeat("long ", random.IntN(100)))
		case 2:
			b.WriteString("a\x00b\tc\r")
		default:
			for range random.IntN(12) {
				b.WriteString([]string{"the ", "map ", "of ", "words ", "é ", "x\ty "}[random.IntN(6)])
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var wordCount = programs.Spec{
	Shell:  true,
	Map:    `LC_ALL=C tr -cs 'a-z' '\n' | LC_ALL=C sed '/^$/d; s/$/\t1/'`,
	Reduce: `LC_ALL=C awk -F '\t' '$1 != k { if (NR > 1) print k "\t" n; k = $1; n = 0 } { n += $2 } END { print k "\t" n }'`,
}

const wordCountOracle = `tr -cs a-z '\n' | sed '/^$/d' | sort | uniq -c | awk '{ print $2 "\t" $1 }'`
