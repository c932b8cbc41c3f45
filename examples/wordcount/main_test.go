package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
)

func TestWordsAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	for i, text := range []string{"The map, the reduce.\n", "Reduce the rest"} {
		if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), redistest.StartTCP(t).Addr, files, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "map 1\nreduce 2\nrest 1\nthe 3\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := run(t.Context(), redistest.StartTCP(t).Addr, []string{filepath.Join(dir, "gone")}, &out); err == nil {
		t.Error("a missing file is no error")
	}
}
