package workermachine_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
)

// TestGuide runs each command of the guide, in its order, in one shell.
func TestGuide(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "worker-machine"), "./cmd/worker-machine").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	commands := blocks(readFile(t, "docs/guide.md"), "sh")
	if len(commands) < 7 {
		t.Fatalf("got %d blocks of commands, want all", len(commands))
	}
	// What runs in the background ends with the shell.
	script := "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n" + strings.Join(commands, "\n")
	shell := exec.CommandContext(t.Context(), "timeout", "120", "bash", "-x", "-c", script) //nolint:gosec // the commands of the guide
	shell.Dir = dir
	shell.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "REDIS_URL="+redistest.Start(t).URL())
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"\n11\n", "\na letter", "\nLINUXFR.ORG\n", "replayed 1", "told the workers of 0", "done_per_second"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
}
