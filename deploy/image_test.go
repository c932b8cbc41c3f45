// Package deploy checks the files beside it against the real program, the Docker engine and systemd.
package deploy

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// build makes the program where the Dockerfile wants it.
func build(t *testing.T) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", "deploy/worker-machine", "./cmd/worker-machine")
	command.Dir, command.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// run runs a program and returns what it says.
func run(t *testing.T, env []string, words ...string) string {
	t.Helper()
	out, err := try(t, env, words...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", words, err, out)
	}
	return out
}

func try(t *testing.T, env []string, words ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, words[0], words[1:]...) //nolint:gosec // the words of this test
	command.Env = append(os.Environ(), env...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// local is an image that is on this machine: nothing is pulled for these tests.
const local = "worker-machine-test/redis:7.0"

// TestComposeWorks builds the images and brings all up: the three workers run a task that a client in a fourth container calls, and serve lets in
// who has the key.
func TestComposeWorks(t *testing.T) {
	t.Parallel()
	if _, err := try(t, nil, "docker", "image", "inspect", local); err != nil {
		t.Skipf("there is no Docker engine, or no image %s (make images)", local)
	}
	compose := []string{"docker-compose"}
	if _, err := exec.LookPath(compose[0]); err != nil {
		compose = []string{"docker", "compose"}
	}
	build(t)
	key := strings.TrimSpace(run(t, nil, "./worker-machine", "serve", "--new-key", "admin"))
	port := freePort(t)
	project := fmt.Sprintf("wm-test-%d", os.Getpid())
	env := []string{"REDIS_IMAGE=" + local, "WM_KEYS=" + key, "WM_PORT=" + port, "COMPOSE_PROJECT_NAME=" + project}
	do := func(words ...string) string {
		t.Helper()
		return run(t, env, append(append(append([]string{}, compose...), "--file", "compose.yaml"), words...)...)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(do("logs", "--tail", "20"))
		}
		do("down", "--volumes", "--remove-orphans")
	})
	do("up", "--detach", "--build")
	if got := do("run", "--rm", "-T", "tool", "call", "--wait", "1m", "version", "{}"); !strings.Contains(got, "worker-machine ") {
		t.Errorf("got %q, want the version of the workers", got)
	}
	if got := strings.Count(do("run", "--rm", "-T", "tool", "workers", "--json"), `"alive":true`); got != 3 {
		t.Errorf("got %d workers, want 3", got)
	}
	token := key[strings.LastIndexAny(key, ": ")+1:]
	for _, c := range []struct {
		header string
		want   int
	}{{"", http.StatusUnauthorized}, {"Bearer " + token, http.StatusOK}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/api/v1/queues", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", c.header)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != c.want {
			t.Errorf("with the key %v: got status %d, want %d", c.header != "", response.StatusCode, c.want)
		}
	}
	if user := run(t, nil, "docker", "image", "inspect", "--format", "{{.Config.User}}", "worker-machine:latest"); strings.TrimSpace(user) != "65532:65532" {
		t.Errorf("the image runs as %q", user)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// TestUnitsAreUnderstood has systemd read the units, and the program the command lines in them.
func TestUnitsAreUnderstood(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "worker-machine")
	command := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/worker-machine")
	command.Dir = ".."
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	units, err := filepath.Glob("systemd/*.service")
	if err != nil || len(units) < 2 {
		t.Fatalf("got %v, %v; want the units", units, err)
	}
	for _, path := range units {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindSubmatch(text)
		if line == nil {
			t.Fatalf("%s starts nothing", path)
		}
		words := strings.Fields(strings.ReplaceAll(string(line[1]), "/usr/local/bin/worker-machine", program))
		for from, end := 0, 0; from < len(words); from = end + 1 { // what supervise starts stands after --
			for end = from; end < len(words) && words[end] != "--"; end++ {
			}
			args := append(words[from:end:end], "--help")
			if out, err := try(t, nil, args...); err != nil {
				t.Errorf("%s: %q: %v\n%s", path, args, err, out)
			}
		}
		if _, err := exec.LookPath("systemd-analyze"); err != nil {
			t.Log("there is no systemd-analyze here: only the command lines were checked")
			continue
		}
		copied := filepath.Join(t.TempDir(), filepath.Base(path))
		if err := os.WriteFile(copied, bytes.ReplaceAll(text, []byte("/usr/local/bin/worker-machine"), []byte(program)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := try(t, nil, "systemd-analyze", "verify", copied)
		if err != nil || strings.Contains(out, copied+":") {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
}
