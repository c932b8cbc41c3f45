package stage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// module is the path of this one.
const module = "github.com/athoune/worker-machine/"

var (
	builds    sync.Map // package and tags to func() (string, error)
	buildRoot = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "worker-machine-stage") })
)

// Build compiles a program of this module, such as "integration/actor", with build tags, once for each process of tests. WM_RACE=1
// compiles with the race detector.
func Build(t testing.TB, path string, tags ...string) string {
	t.Helper()
	key := path + " " + strings.Join(tags, ",")
	build, _ := builds.LoadOrStore(key, sync.OnceValues(func() (string, error) { return compile(path, tags) }))
	program, err := build.(func() (string, error))()
	if err != nil {
		t.Fatalf("stage: build %s: %v", key, err)
	}
	return program
}

func compile(path string, tags []string) (string, error) {
	root, err := buildRoot()
	if err != nil {
		return "", err
	}
	program := filepath.Join(root, strings.Join(append([]string{filepath.Base(path)}, tags...), "-"))
	args := []string{"build", "-o", program, "-tags", strings.Join(tags, ",")}
	if os.Getenv("WM_RACE") != "" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, module+path)...) //nolint:noctx // for all tests of the process
	cmd.Stderr = os.Stderr
	return program, cmd.Run()
}

// Clean removes what was built; it is for TestMain.
func Clean() {
	if root, err := buildRoot(); err == nil {
		_ = os.RemoveAll(root)
	}
}
