package integration

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// TestManyTasksFigures sends many tasks of 100 bytes through one client and one worker process: how fast that is, and that neither
// they nor Redis keep anything of it.
func TestManyTasksFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	tasks := size(50_000, 1_000_000)
	b := startLocal(t)
	client := openClient(t, b.store, stream.ClientConfig{})
	crew := newCrew(t, b)
	crew.spec.Concurrency = 0 // the default
	worker := crew.worker()
	send := func(n int) time.Duration {
		began := time.Now()
		stored, err := bytesIn.EnqueueAll(t.Context(), client, payloads(n))
		if err != nil || stored != n {
			t.Fatalf("enqueue all: got %d, %v, want %d", stored, err, n)
		}
		return time.Since(began)
	}
	sent := 0
	drained := func(n int) {
		sent += n
		redistest.Eventually(t, time.Minute+time.Duration(tasks)*time.Millisecond, func() bool {
			return b.count(t, "done") == sent
		}, "%d tasks are done", sent)
	}
	send(5000) // what is made once is not growth
	drained(5000)
	redisBefore, clientBefore, workerBefore := redisMemory(t, b), heap(), resident(t, worker)

	// With the worker stopped first: each side at its own speed, and Redis holding all of it.
	must(t, worker.terminate())
	enqueued := send(tasks)
	clientAfter, redisFull := heap(), redisMemory(t, b)
	began := time.Now()
	worker = crew.worker()
	drained(tasks)
	t.Logf("%d tasks of %d bytes: enqueued %.0f/s, then executed %.0f/s (with the start of the process)",
		tasks, payloadSize, float64(tasks)/enqueued.Seconds(), float64(tasks)/time.Since(began).Seconds())
	// And both at once.
	began = time.Now()
	send(tasks)
	drained(tasks)
	t.Logf("both at once: %.0f/s", float64(tasks)/time.Since(began).Seconds())

	redisAfter, workerAfter := redisMemory(t, b), resident(t, worker)
	t.Logf("client heap %s before, %s after; worker resident %s before, %s after; Redis %s before, %s full, %s after",
		mib(clientBefore), mib(clientAfter), mib(workerBefore), mib(workerAfter), mib(redisBefore), mib(redisFull), mib(redisAfter))
	const slack = 32 << 20
	if clientAfter > clientBefore+slack || workerAfter > workerBefore+3*slack || redisAfter > redisBefore+slack/8 {
		t.Error("memory grew")
	}
}

const payloadSize = 100

func payloads(n int) func(func([]byte) bool) {
	payload := bytes.Repeat([]byte("x"), payloadSize)
	return func(yield func([]byte) bool) {
		for range n {
			if !yield(payload) {
				return
			}
		}
	}
}

func mib(n int) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// heap is what this process has in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse) //nolint:gosec // fits
}

// resident is the memory of a child process, 0 where the system does not tell; peak is the most it ever had.
func resident(t *testing.T, p *process) int { t.Helper(); return status(p, "VmRSS") }

func peak(t *testing.T, p *process) int { t.Helper(); return status(p, "VmHWM") }

// status is a line of what Linux tells about a process, in bytes.
func status(p *process, name string) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if _, err := fmt.Sscanf(line, name+": %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// redisMemory is what Redis uses for data.
func redisMemory(t *testing.T, b *backend) int {
	t.Helper()
	info, err := b.client.Info(t.Context(), "memory").Result()
	must(t, err)
	for line := range strings.Lines(info) {
		var n int
		if _, err := fmt.Sscanf(line, "used_memory:%d", &n); err == nil {
			return n
		}
	}
	t.Fatal("INFO memory has no used_memory")
	return 0
}
