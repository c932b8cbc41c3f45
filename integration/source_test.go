package integration

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestLinesOfTheGoSource counts the lines of every Go file of the Go installation on four worker processes, two of which are
// killed in the middle; the sum is what a plain loop counts.
func TestLinesOfTheGoSource(t *testing.T) {
	t.Parallel()
	beside(t)
	files, want := goSource(t)
	b := startBackend(t)
	client := openClient(t, b.store, stream.ClientConfig{})
	workers := newCrew(t, b).workers(4)

	began, sum, n, killed := time.Now(), 0, 0, 0
	batch := mapreduce.Map(t.Context(), client, lines, slices.Values(files))
	for r := range batch.Results() {
		if r.Err != nil {
			t.Fatalf("%s: %v", r.Input, r.Err)
		}
		sum += r.Value
		n++
		if at := (killed + 1) * len(files) / 4; killed < 2 && n >= at {
			workers[killed].signal(syscall.SIGKILL)
			killed++
		}
	}
	must(t, batch.Err())
	t.Logf("%d files, %d lines in %v on 4 workers, 2 of them killed", n, sum, time.Since(began))
	if n != len(files) || sum != want || killed != 2 {
		t.Errorf("got %d lines of %d files with %d workers killed, want %d of %d with 2", sum, n, killed, want, len(files))
	}
	for _, w := range workers[killed:] {
		if err := w.terminate(); err != nil {
			t.Errorf("a worker ended with %v", err)
		}
	}
	if done := b.count(t, "done"); done != len(files) {
		t.Errorf("Redis recorded %d results, want %d", done, len(files))
	}
}

// goSource lists the Go files of the Go installation, and counts their lines in this process.
func goSource(t *testing.T) (files []string, count int) {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	must(t, err)
	top := filepath.Join(strings.TrimSpace(string(root)), "src")
	must(t, filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(path) != ".go" {
			return err
		}
		n, err := countLines(path)
		files, count = append(files, path), count+n
		return err
	}))
	if len(files) < 1000 {
		t.Fatalf("%d Go files under %s, want thousands", len(files), top)
	}
	return files, count
}
