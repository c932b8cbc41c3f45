package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/web"
)

// fetch is a GET, with a token unless it is "".
func fetch(t *testing.T, url, token string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	body, _ := io.ReadAll(got.Body)
	return got.StatusCode, string(body)
}

// serve starts a server and returns its URL.
func (c *console) serve(args ...string) (*session, string) {
	c.t.Helper()
	s := c.start(append([]string{"serve", "--json"}, args...)...)
	s.stdout.await(c.t, "}")
	var told struct{ URL string }
	if err := json.Unmarshal([]byte(s.stdout.String()), &told); err != nil {
		c.t.Fatalf("%v in %s", err, s.stdout)
	}
	return s, told.URL
}

func TestServe(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("", "enqueue", "--queue", "mail", "send")
	s, url := c.serve("--addr", "127.0.0.1:0", "--base", "/jobs/")
	for path, want := range map[string]string{"/healthz": `"alive":true`, "/readyz": `"ready":true`, "/api/v1/queues": `"queue":"mail"`, "/api/openapi.json": "openapi"} {
		if status, body := fetch(t, url+path, ""); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %s", path, status, body)
		}
	}
	s.ctrlC()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr)
	}
}

func TestServeDefaultsToLoopback(t *testing.T) {
	t.Parallel()
	out, _, _ := newConsole(t).run("", "serve", "--help")
	if !strings.Contains(out, `(default "127.0.0.1:8080")`) {
		t.Errorf("the default of --addr is no loopback address:\n%s", out)
	}
}

func TestServeRefusesOtherAddressesWithoutKeys(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		_, errs, code := c.run("", "serve", "--addr", addr)
		if code != exitUsage || !strings.Contains(errs, "--new-key") || !strings.Contains(errs, "--client-ca") {
			t.Errorf("%s: exit code %d, %s", addr, code, errs)
		}
	}
}

func TestServeWithKeys(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	line := c.must("", "serve", "--new-key", "read")
	if !regexp.MustCompile(`^read:[A-Za-z0-9_-]{43}\n$`).MatchString(line) {
		t.Fatalf("--new-key printed %q", line)
	}
	token := strings.TrimSpace(strings.TrimPrefix(line, "read:"))
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	asFile, asText := *c, *c
	asFile.env = append(asFile.env[:len(asFile.env):len(asFile.env)], "WM_KEYS_FILE="+path)
	asText.env = append(asText.env[:len(asText.env):len(asText.env)], "WM_KEYS=read:"+token)
	for name, start := range map[string]func() (*session, string){
		"--keys-file":  func() (*session, string) { return c.serve("--addr", "0.0.0.0:0", "--keys-file", path) },
		"WM_KEYS_FILE": func() (*session, string) { return asFile.serve("--addr", "127.0.0.1:0") },
		"WM_KEYS":      func() (*session, string) { return asText.serve("--addr", "127.0.0.1:0") },
	} {
		s, url := start()
		url = strings.Replace(strings.Replace(url, "[::]", "127.0.0.1", 1), "0.0.0.0", "127.0.0.1", 1)
		if status, body := fetch(t, url+"/api/v1/queues", ""); status != http.StatusUnauthorized {
			t.Errorf("%s: without a key: %d %s", name, status, body)
		}
		if status, body := fetch(t, url+"/api/v1/queues", token); status != http.StatusOK {
			t.Errorf("%s: with the key: %d %s", name, status, body)
		}
		if warned := strings.Contains(s.stderr.String(), "plain text"); warned != (name == "--keys-file") {
			t.Errorf("%s: warned of plain text: %t", name, warned)
		}
		if text := s.stderr.String() + s.stdout.String(); strings.Contains(text, token) {
			t.Errorf("%s: the token is printed: %s", name, text)
		}
	}
}

func TestServeRefusesKeysThatOthersMayRead(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("admin:"+web.NewToken()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := c.run("", "serve", "--keys-file", path); code != exitUsage || !strings.Contains(errs, "chmod 600") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

// TestNoFlagTakesAToken: what stands on a command line can be read by every user of the machine.
func TestNoFlagTakesAToken(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	for _, flag := range []string{"--key", "--keys", "--token", "--password"} {
		if _, errs, code := c.run("", "serve", flag, "x"); code != exitUsage || !strings.Contains(errs, "unknown flag") {
			t.Errorf("%s: exit code %d, %s", flag, code, errs)
		}
	}
}

func TestServeReportsAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, errs, code := newConsole(t).run("", "serve", "--addr", "nowhere", "--keys-file", "/nonexistent", "--client-ca", "read=x", "--max-queue", "-1")
	for _, want := range []string{"--addr", "--keys-file", "--client-ca", "--max-queue"} {
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("exit code %d, no %s in: %s", code, want, errs)
		}
	}
}

func TestProfilesAreForThisMachineOnly(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	for _, addr := range []string{":0", "0.0.0.0:6060", "192.0.2.1:6060"} {
		if _, errs, code := c.run("", "serve", "--pprof", addr); code != exitUsage || !strings.Contains(errs, "--pprof") {
			t.Errorf("%s: exit code %d, %s", addr, code, errs)
		}
	}
	s, url := c.serve("--addr", "127.0.0.1:0", "--pprof", "127.0.0.1:0")
	s.stderr.await(t, "profiles are at ")
	if status, _ := fetch(t, url+"/debug/pprof/", ""); status != http.StatusNotFound {
		t.Errorf("the server itself answers /debug/pprof/ with %d", status)
	}
	at := regexp.MustCompile(`http://\S+`).FindString(s.stderr.String())
	if status, body := fetch(t, at, ""); status != http.StatusOK || !strings.Contains(body, "goroutine") {
		t.Errorf("profiles: %d %s", status, body)
	}
}
