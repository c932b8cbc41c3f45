package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// byScripts are commands that an idle worker has run by its scripts only: they come to Redis in an EVALSHA.
var byScripts = map[string]bool{
	"get": true, "pexpire": true, "time": true, "zrange": true, "zrangebyscore": true, "xlen": true, "xinfo|groups": true,
}

// TestIdleWorkerFigures counts the commands that Redis gets from a worker with nothing to do.
func TestIdleWorkerFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	b := startLocal(t)
	window := time.Duration(size(5, 30)) * time.Second
	worker := newCrew(t, b).worker()
	name := worker.name()
	redistest.Eventually(t, patience, func() bool {
		return b.client.Exists(t.Context(), b.store.Keys(queue).Lease(name)).Val() == 1
	}, "the worker has its lease")
	must(t, pauseFor(t.Context(), time.Second)) // what it does once, at its start, is not idling
	must(t, b.client.ConfigResetStat(t.Context()).Err())
	cpu := worker.cpu()
	must(t, pauseFor(t.Context(), window))
	t.Logf("CPU of an idle worker: %.2f %%", 100*(worker.cpu()-cpu).Seconds()/window.Seconds())
	info, err := b.client.Info(t.Context(), "commandstats").Result()
	must(t, err)

	calls := map[string]int{}
	sent := 0
	for line := range strings.Lines(info) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if name == line || strings.HasPrefix(name, "config|") || name == "info" {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		calls[name] = n
		if !byScripts[name] {
			sent += n
		}
	}
	perSecond := func(n int) string { return fmt.Sprintf("%.2f", float64(n)/window.Seconds()) }
	t.Logf("an idle worker sends %s commands a second, in %v:", perSecond(sent), window)
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		inside := ""
		if byScripts[name] {
			inside = " (inside of scripts)"
		}
		t.Logf("  %-15s %s/s%s", name, perSecond(calls[name]), inside)
	}
	if float64(sent)/window.Seconds() > 10 {
		t.Error("that is polling")
	}
}

// started is when a handler was called.
type started struct {
	task int
	at   time.Time
}

// startTimer runs a worker in this process, so that both ends of a way are measured by one clock.
func startTimer(t *testing.T, b *backend) <-chan started {
	t.Helper()
	starts := make(chan started, 1000)
	worker := &rig{backend: b, t: t}
	worker.work(group.Config{Concurrency: 16}, handler(square, func(_ context.Context, n int) (int, error) {
		starts <- started{n, time.Now()}
		return n, nil
	}))
	return starts
}

// TestStartFigures measures the time from the call of Enqueue to the start of the handler, of one task after the other.
func TestStartFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	b := startLocal(t)
	client := openClient(t, b.store, stream.ClientConfig{})
	starts := startTimer(t, b)
	const tasks, warmUp = 500, 20
	var took []time.Duration
	for n := range tasks + warmUp {
		must(t, pauseFor(t.Context(), time.Duration(rand.IntN(5))*time.Millisecond))
		began := time.Now()
		_, err := square.Enqueue(t.Context(), client, n)
		must(t, err)
		if d := (<-starts).at.Sub(began); n >= warmUp {
			took = append(took, d)
		}
	}
	report(t, "from Enqueue to the start of the handler", took)
}

// TestDelayedFigures measures how late delayed tasks start. They are never early.
func TestDelayedFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	b := startLocal(t)
	client := openClient(t, b.store, stream.ClientConfig{})
	starts := startTimer(t, b)
	const tasks, within = 200, 3 * time.Second
	due := make([]time.Time, tasks)
	begin := time.Now().Add(300 * time.Millisecond)
	for n := range due {
		due[n] = begin.Add(rand.N(within)).Truncate(time.Millisecond)
		_, err := square.Enqueue(t.Context(), client, n, stream.At(due[n]))
		must(t, err)
	}
	var late []time.Duration
	for range due {
		s := <-starts
		lateness := s.at.Sub(due[s.task])
		if lateness < 0 {
			t.Errorf("task %d started %v before it was due", s.task, -lateness)
		}
		late = append(late, lateness)
	}
	report(t, "lateness of delayed tasks", late)
}

// report logs the middle and the end of a distribution.
func report(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	t.Logf("%s, %d times: median %v, p99 %v, worst %v", what, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if middle := took[len(took)/2]; middle > time.Second {
		t.Errorf("the median is %v", middle)
	}
}
