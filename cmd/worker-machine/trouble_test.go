package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

func TestRedisAwayIsToldOnce(t *testing.T) {
	t.Parallel()
	proxy := redistest.NewProxy(t, redistest.StartTCP(t))
	c := consoleAt(t, proxy.URL())
	worker := c.work("--handle", "cat=cat")
	batch := c.start("map", "cat")
	feed := func(line string) {
		t.Helper()
		if _, err := batch.stdin.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	feed("one\n")
	batch.stdout.await(t, "one\n")
	call := c.start("call", "--after", "5s", "cat", "x")
	redistest.Eventually(t, patience, func() bool {
		out, _, _ := c.run("", "stats", "--json", "default")
		return strings.Contains(out, `"delayed":1`)
	}, "the call is stored")
	proxy.Refuse(true)
	proxy.ResetAll()
	feed("two\n")
	sessions := map[string]*session{"work": worker, "map": batch, "call": call}
	for _, s := range sessions {
		s.stderr.await(t, proxy.Addr+" does not answer; going on trying\n")
	}
	proxy.Refuse(false)
	batch.stdout.await(t, "two\n")
	call.stderr.await(t, "answers again\n")
	if code := call.wait(); code != 0 || call.stdout.String() != "x" {
		t.Errorf("the call: exit code %d, %q", code, call.stdout)
	}
	for _, s := range sessions {
		s.stderr.await(t, proxy.Addr+" answers again\n")
	}
	_ = batch.stdin.Close()
	if code := batch.wait(); code != 0 {
		t.Errorf("the map: exit code %d", code)
	}
	for name, s := range sessions {
		text := s.stderr.String()
		if n := strings.Count(text, "does not answer"); n != 1 || strings.Contains(text, "WARN") || strings.Contains(text, "no worker reads") {
			t.Errorf("%s says\n%s", name, text)
		}
	}
}

func TestMapTellsAFullRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := consoleAt(t, server.URL())
	client := server.Client(t)
	s := c.start("map", "cat")
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.stdin.Write([]byte("x\n")); err != nil {
		t.Fatal(err)
	}
	s.stderr.await(t, "the memory of Redis is full (its maxmemory is reached)")
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	c.work("--handle", "cat=cat")
	s.stdout.await(t, "x\n")
}

func TestMapTellsAFullQueue(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	s := c.start("map", "cat", "--max-queue", "1")
	if _, err := s.stdin.Write([]byte("x\ny\n")); err != nil {
		t.Fatal(err)
	}
	s.stderr.await(t, "no worker reads queue default yet")
	s.stderr.await(t, "queue default is full: it holds as many tasks as --max-queue 1 allows; going on trying\n")
	c.work("--handle", "cat=cat")
	s.stdout.await(t, "y\n")
}

func TestDeadLettersAreLoggedOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := consoleAt(t, server.URL())
	worker := c.work("--handle", "f=cat", "--log-level", "info")
	entry, err := server.Client(t).Do(t.Context(), "XADD", "wm:{default}:tasks", "*", "foreign", "x").Text()
	if err != nil {
		t.Fatal(err)
	}
	c.must("", "enqueue", "nobody", "--max-attempts", "1")
	redistest.Eventually(t, patience, func() bool {
		return strings.Contains(c.must("", "stats", "--json", "default"), `"dead":2`)
	}, "both are dead letters")
	worker.ctrlC()
	worker.wait()
	text := worker.stderr.String()
	if n := strings.Count(text, entry); n != 1 {
		t.Errorf("the dead letter of entry %s is told %d times, want 1:\n%s", entry, n, text)
	}
	if n := strings.Count(text, `"unknown function"`); n != 1 {
		t.Errorf("the dead letter of a task is told %d times, want 1:\n%s", n, text)
	}
	wantAll(t, text, "a field named v1 is needed", "task failed for good")
	var letter string
	for line := range strings.Lines(c.must("", "dead", "list", "--reason", "malformed")) {
		letter = line
	}
	if strings.Contains(letter, "…") || !strings.Contains(letter, "needed") {
		t.Errorf("the error is cut: %q", letter)
	}
}

func TestIsAway(t *testing.T) {
	t.Parallel()
	dial := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for err, want := range map[error]bool{
		dial: true, io.EOF: true, fmt.Errorf("%w: %w", stream.ErrUnavailable, dial): true, os.ErrDeadlineExceeded: true,
		nil: false, context.Canceled: false, context.DeadlineExceeded: false, stream.ErrClosed: false,
		&net.OpError{Op: "read", Err: net.ErrClosed}: false,
	} {
		if got := isAway(err); got != want {
			t.Errorf("isAway(%v) = %v, want %v", err, got, want)
		}
	}
}
