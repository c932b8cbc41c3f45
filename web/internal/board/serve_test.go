package board_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// serve builds and runs worker-machine serve on a Redis with a port, and returns where it is.
func serve(t *testing.T, server *redistest.Server, args ...string) (url string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "worker-machine")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../../cmd/worker-machine")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build worker-machine: %v\n%s", err, output)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	command := exec.CommandContext(ctx, program, append([]string{"serve", "--redis", "redis://" + server.Addr, "--addr", "127.0.0.1:0"}, args...)...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = longer
	stdout, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		began := time.Now()
		_ = command.Wait()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("serve took %v to stop while a page was open", took)
		}
	})
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if match := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(lines.Text()); match != "" {
				found <- match
			}
		}
	}()
	select {
	case url = <-found:
		return url
	case <-time.After(longer):
		t.Fatal("serve does not say where it listens")
		return ""
	}
}

// TestServe uses the dashboard as people do: the real program, with keys and below a path, in a browser.
func TestServe(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	store, err := stream.NewStore(server.Client(t), stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	client, err := stream.NewClient(store, stream.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(t.Context())) })
	id, err := bill.Enqueue(t.Context(), client, "customer")
	if err != nil {
		t.Fatal(err)
	}
	const token = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("operate:"+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := openTab(t, desktop)
	b.base = serve(t, server, "--keys-file", keys, "--base", "/jobs")
	b.visit("/jobs/queues/billing")
	if got := eval[string](b, "location.pathname + location.search"); got != "/jobs/login?next=%2Fjobs%2Fqueues%2Fbilling" {
		t.Errorf("a stranger is led to %s", got)
	}
	b.quiet("login")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), token[1:]+"x"))
	b.press("form .primary")
	if text := b.text(); !strings.Contains(text, "That token is not known here") {
		t.Errorf("a wrong token: %s", text)
	}
	b.forget() // the browser logs the 401
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), token))
	b.press("form .primary")
	if got := eval[string](b, "location.pathname"); got != "/jobs/queues/billing" {
		t.Errorf("the login leads to %s", got)
	}
	b.press(`form[action="/jobs/queues/billing/pause"] button`)
	if text := b.text(); !strings.Contains(text, "The queue is paused") || !strings.Contains(text, "operate") {
		t.Errorf("after pausing: %s", text)
	}
	if _, err := bill.Enqueue(t.Context(), client, "another"); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, longer, func() bool { return strings.Contains(b.text(), "Waiting 2") }, "the page shows the second task by itself")
	b.visit("/jobs/find?task=" + id)
	if got := eval[string](b, "location.pathname"); got != "/jobs/queues/billing/tasks/"+id {
		t.Errorf("the search leads to %s", got)
	}
	b.visit("/jobs/")
	b.press(`form[action="/jobs/theme"] button`)
	if got := eval[string](b, "document.documentElement.dataset.theme + location.pathname"); got != "dark/jobs/" {
		t.Errorf("after a change of look: %s", got)
	}
	b.quiet("serve") // the page stays open and live while serve is stopped
}
