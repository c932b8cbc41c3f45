package integration

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// TestWordCount counts the words of Go's own source with four worker processes as tr, sort and uniq do: once in peace, and once with two workers
// killed in each phase and a submitter that is killed and continued. Afterwards Redis is as before. WM_FULL takes all of the source.
func TestWordCount(t *testing.T) {
	t.Parallel()
	beside(t)
	server := redistest.Start(t)
	b := newBackend(t, server.Network, server.Addr)
	root := wordSource(t)
	want, split := countedByShell(t, root), size(10, 50)

	wordRun(t, b, runSpec{Root: root, Split: split, ID: stream.NewID()}, nil, want)
	before := usedMemory(t, b)
	harm := &harm{left: map[mapreduce.RunState]int{mapreduce.RunMapping: 2, mapreduce.RunReducing: 2}}
	wordRun(t, b, runSpec{Root: root, Split: split, ID: stream.NewID(), Slow: 2 * time.Millisecond}, harm, want)
	if !harm.submitter || harm.left[mapreduce.RunMapping] != 0 || harm.left[mapreduce.RunReducing] != 0 {
		t.Errorf("not all that should happen did: %+v", harm)
	}
	if after := usedMemory(t, b); after > before+spareMemory {
		t.Errorf("Redis uses %d KiB, and used %d KiB before the run", after>>10, before>>10)
	}
}

// wordSource is a tree of Go files: a part of the standard library, or all of it.
func wordSource(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	must(t, err)
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	if !full() {
		root = filepath.Join(root, "net")
	}
	return root
}

// countedByShell is the answer by programs of others. grep ends every file with a line end.
func countedByShell(t *testing.T, root string) []string {
	t.Helper()
	const program = `export LC_ALL=C; grep -rah --include='*.go' '' "$0" | tr -cs 'A-Za-z0-9_' '\n' | sort | uniq -c`
	out, err := exec.CommandContext(t.Context(), "sh", "-c", program, root).Output()
	must(t, err)
	var texts []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			texts = append(texts, fields[1]+"="+fields[0])
		}
	}
	return texts
}

// harm is what happens to a run: how many workers are to be killed in each phase, and whether the submitter was.
type harm struct {
	left      map[mapreduce.RunState]int
	submitter bool
}

// wordRun counts words with four workers, and compares.
func wordRun(t *testing.T, b *backend, job runSpec, harm *harm, want []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(size(120, 600))*time.Second)
	defer cancel()
	c, client := newCrew(t, b), openClient(t, b.store, stream.ClientConfig{})
	c.spec.Lease, c.spec.Run = 2*time.Second, &job
	play := func(role string) *process { return c.start(role, nil) }
	workers := []*process{play("run worker"), play("run worker"), play("run worker"), play("run worker")}
	submitter, words, began := play("run submitter"), job.job(false), time.Now()
	for p := (mapreduce.RunProgress{}); p.State != mapreduce.RunDone; p, _ = words.progress(ctx, client, job.ID) { // not there at first
		if pauseFor(ctx, 5*time.Millisecond) != nil || p.State == mapreduce.RunFailed {
			t.Fatalf("the run is not done: %+v", p)
		}
		if harm != nil {
			if !harm.submitter && p.Inputs >= 100 && p.State == mapreduce.RunOpen {
				harm.submitter = true
				submitter.kill()
				submitter = play("run submitter")
			}
			if done := p.MapsDone + p.ReducesDone; harm.left[p.State] > 0 && done > 0 {
				harm.left[p.State]--
				workers[0].kill()
				workers = append(workers[1:], play("run worker"))
			}
		}
	}
	took := time.Since(began)
	p, err := words.progress(ctx, client, job.ID)
	must(t, err)
	got, err := words.results(ctx, client, job.ID, -1)
	must(t, err)
	t.Logf("%s: %d files, %d map tasks, %d pairs of %d KiB in the shuffle, %d words, harm %v: %v", job.Root, p.Inputs, p.Maps, p.Pairs, p.Bytes>>10, len(got), harm, took)
	if !slices.Equal(got, want) {
		t.Errorf("got %d words, want %d; %s", len(got), len(want), difference(got, want))
	}
	submitter.kill()
	wantNothingOf(t, b, job.ID)
	for _, w := range workers {
		w.signal(syscall.SIGTERM)
	}
	for _, w := range workers {
		if err := w.terminate(); err != nil {
			t.Errorf("a worker ended with %v", err)
		}
	}
	if left := keysOf(t, b, job.ID); len(left) > 0 {
		t.Errorf("left in Redis: %q", left)
	}
}

// spareMemory is by how much the memory of Redis may differ for other reasons: buffers of connections, scripts, tables that shrink later.
const spareMemory = 1 << 20

// usedMemory is what Redis has allocated.
func usedMemory(t *testing.T, b *backend) int64 {
	t.Helper()
	text, err := b.client.Info(t.Context(), "memory").Result()
	must(t, err)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			n, err := strconv.ParseInt(value, 10, 64)
			must(t, err)
			return n
		}
	}
	t.Fatal(fmt.Errorf("no used_memory in %q", text))
	return 0
}
