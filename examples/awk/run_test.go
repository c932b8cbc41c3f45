// Package awk tests a script that counts words with awk.
package awk

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestWordsAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "worker-machine")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/worker-machine").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, text := range map[string]string{"a.txt": "The map, the reduce.\n", "b.txt": "Reduce the rest"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := exec.CommandContext(t.Context(), "./run.sh", filepath.Join(dir, "*.txt"))
	script.Env = append(os.Environ(), "WORKER_MACHINE="+program)
	script.Stderr = os.Stderr
	out, err := script.Output()
	if want := "map\t1\nreduce\t2\nrest\t1\nthe\t3\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}
