// Package php tests a script that counts words with a mapper in PHP.
package php

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
)

func TestWordsAreCounted(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("php"); err != nil {
		t.Log("there is no php on this machine (apt-get install php-cli): the script is left untested")
		return
	}
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
	env := append(os.Environ(), "WORKER_MACHINE="+program, "REDIS_URL="+redistest.Start(t).URL())
	worker := exec.CommandContext(t.Context(), "./run.sh", "work")
	worker.Env, worker.Stderr = env, os.Stderr
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	}()
	script := exec.CommandContext(t.Context(), "./run.sh", filepath.Join(dir, "*.txt"))
	script.Env, script.Stderr = env, os.Stderr
	out, err := script.Output()
	if want := "map\t1\nreduce\t2\nrest\t1\nthe\t3\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}
