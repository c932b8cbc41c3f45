package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJobs measures jobs of few tasks, and writes the page: that everything works, and every answer is right, not how fast.
func TestJobs(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts servers and processes")
	}
	text, err := os.ReadFile("../docs/" + jobsPage)
	if err != nil {
		t.Fatal(err)
	}
	docs := t.TempDir()
	page := filepath.Join(docs, jobsPage)
	if err = os.WriteFile(page, text, 0o600); err != nil {
		t.Fatal(err)
	}
	err = runJobs(t.Context(), []string{"-rounds", "1", "-straggler", "1s", "-tasks", "200", "-root", ".", "-docs", docs}, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 4 workers | 10 |", "| RunLocal, in one process |", "| with speculation |", "| `Map`, `Chunk(1)` |", "- go: go"} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("the page has %d times %q:\n%s", strings.Count(string(text), want), want, text)
		}
	}
}

func TestFillJobs(t *testing.T) {
	t.Parallel()
	page := []byte("a\n<!-- jobs:x -->\nold\n<!-- end -->\nb <!-- jobs:y -->\n<!-- end -->")
	got, err := fillJobs(page, map[string]string{"x": "new\n"})
	if want := "a\n<!-- jobs:x -->\n\nnew\n\n<!-- end -->\nb <!-- jobs:y -->\n<!-- end -->"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err = fillJobs(page, map[string]string{"z": ""}); err == nil {
		t.Error("a part without a mark was no error")
	}
}
