package execute_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
)

// stream feeds text and collects the lines.
func stream(t *testing.T, cfg execute.Config, text string) ([]string, error) {
	t.Helper()
	var lines []string
	err := newProgram(t, cfg).Stream(t.Context(), meta, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	})
	return lines, err
}

func TestStreamHandsOutLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200_000)
	for name, test := range map[string]struct {
		cfg  execute.Config
		text string
		want []string
	}{
		"nothing":                    {execute.Config{Words: []string{"cat"}}, "", nil},
		"lines":                      {execute.Config{Words: []string{"cat"}}, "a\n\nb\n", []string{"a", "", "b"}},
		"no newline at the end":      {execute.Config{Words: []string{"cat"}}, "a\nb", []string{"a", "b"}},
		"CR and NUL stay":            {execute.Config{Words: []string{"cat"}}, "a\r\n\x00\n", []string{"a\r", "\x00"}},
		"more than a pipe holds":     {execute.Config{Words: []string{"cat"}}, long + "\n" + long + "y\nz\n", []string{long, long + "y", "z"}},
		"input that is not read":     {execute.Config{Words: []string{"true"}}, strings.Repeat(long, 10), nil},
		"a reader that ends early":   {execute.Config{Shell: "head -n 1"}, strings.Repeat("a\n", 1_000_000), []string{"a"}},
		"it leaves a process behind": {execute.Config{Shell: "setsid sleep 3 & echo result"}, "", []string{"result"}},
		"exactly the limit":          {execute.Config{Words: []string{"cat"}, MaxOutput: 3}, "abc\nabc\nabc", []string{"abc", "abc", "abc"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := stream(t, test.cfg, test.text); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %.80q, %v; want %.80q", got, err, test.want)
			}
		})
	}
}

func TestStreamFailures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg  execute.Config
		want string
	}{
		"exit status":          {execute.Config{Shell: "cat; echo oh no >&2; exit 3"}, "sh: exit status 3: oh no"},
		"killed":               {execute.Config{Shell: "kill -9 $$"}, "sh: signal: killed"},
		"a long line":          {execute.Config{Words: []string{"cat", "/dev/zero"}, MaxOutput: 1 << 20}, "cat killed: a line of its output is longer than 1.0 MiB"},
		"a long line and over": {execute.Config{Words: []string{"echo", "12345"}, MaxOutput: 4}, "echo killed: a line of its output is longer than 4 B"},
		"unread, and it fails": {execute.Config{Shell: "exec <&-; echo done; exit 4"}, "sh: exit status 4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := stream(t, test.cfg, strings.Repeat("x\n", 200_000)); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

var errMine = errors.New("mine")

// TestStreamReturnsTheErrorsOfItsCallers has both of them fail, in the middle of a program that would go on for ever.
func TestStreamReturnsTheErrorsOfItsCallers(t *testing.T) {
	t.Parallel()
	program := newProgram(t, execute.Config{Words: []string{"cat"}})
	endless := func(w io.Writer) error {
		for {
			if _, err := io.WriteString(w, "line\n"); err != nil {
				return err
			}
		}
	}
	err := program.Stream(t.Context(), meta, endless, func([]byte) error { return errMine })
	if err != errMine { //nolint:errorlint // as it is, without what became of the program
		t.Errorf("of line: got %v", err)
	}
	err = program.Stream(t.Context(), meta, func(io.Writer) error { return errMine }, func([]byte) error { return nil })
	if err != errMine { //nolint:errorlint // likewise
		t.Errorf("of feed: got %v", err)
	}
}

// TestStreamWaitsForASlowReader is busy with its first line for longer than a program that has ended may hold its output open; the
// rest is in the pipe then.
func TestStreamWaitsForASlowReader(t *testing.T) {
	t.Parallel()
	const n = 1000
	got := 0
	program := newProgram(t, execute.Config{Shell: fmt.Sprintf("seq -f %%0100g %d", n)})
	err := program.Stream(t.Context(), meta, func(io.Writer) error { return nil }, func([]byte) error {
		if got++; got == 1 {
			late := time.NewTimer(700 * time.Millisecond)
			defer late.Stop()
			<-late.C
		}
		return nil
	})
	if err != nil || got != n {
		t.Errorf("got %d lines, %v", got, err)
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "started")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	program := newProgram(t, execute.Config{Dir: dir, Shell: "echo > started; sleep 1000"})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	over := make(chan error, 1)
	go func() {
		over <- program.Stream(ctx, meta, func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("x", 1<<20)) // nobody reads it
			return err
		}, func([]byte) error { return nil })
	}()
	if _, err := os.ReadFile(fifo); err != nil {
		t.Fatal(err)
	}
	cancel(errLate)
	if err := <-over; !errors.Is(err, errLate) || err.Error() != "sh killed: too late" {
		t.Errorf("got %v", err)
	}
}
