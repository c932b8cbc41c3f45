package integration

import (
	"context"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// scramble is a function whose sum over many inputs nobody gets right by chance; see scrambled.
var scramble = stream.Func[uint64, uint64]{Name: "scramble", Queue: queue}

// scrambled is the finalizer of splitmix64.
func scrambled(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

const (
	durableName   = "sum"
	durableWindow = 1000
	durableTells  = 100 // how often a reducer tells how far it is
)

// playReducer is a process that adds up what the numbers below Tasks are scrambled to, resumes where another one was killed, and waits
// to be killed once it has the sum.
func playReducer() error {
	s, store, err := readSpec()
	if err != nil {
		return err
	}
	client, err := stream.NewClient(store, stream.ClientConfig{ReplyTTL: s.ReplyTTL})
	if err != nil {
		return err
	}
	report := reporter()
	inputs := func(yield func(uint64) bool) {
		for n := range s.Tasks {
			if !yield(uint64(n)) { //nolint:gosec // never negative
				return
			}
		}
	}
	ctx := context.Background() //nolint:forbidigo // the main of a process
	every := time.Second        // the default
	if !full() {
		every = time.Second / durableTells
	}
	batch := mapreduce.Map(ctx, client, scramble, inputs, mapreduce.Durable(durableName, mapreduce.CheckpointEvery(every)), mapreduce.Window(durableWindow))
	folded := 0
	sum, err := mapreduce.Reduce(ctx, batch, 0, func(sum uint64, r mapreduce.Result[uint64, uint64]) (uint64, error) {
		if folded++; folded%(s.Tasks/durableTells) == 0 {
			report("folded - 0 %d", folded)
		}
		return sum + r.Value, r.Err
	})
	if err != nil {
		return err
	}
	report("sum %d 0 %d", sum, folded)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// TestDurableMapFigures maps over many generated inputs with a window of 1,000, kills the reducer with kill -9 in the middle and resumes
// it: the sum is that of a loop, and neither processes nor Redis grow with the inputs.
func TestDurableMapFigures(t *testing.T) {
	t.Parallel()
	alone(t)
	tasks := size(100_000, 10_000_000)
	b := startLocal(t)
	crew := newCrew(t, b)
	crew.spec.Concurrency, crew.spec.Tasks = 0, tasks
	worker := crew.worker()
	redisBefore := redisMemory(t, b)
	redisPeak := 0
	var early [2]int // resident memory of reducer and worker, once they have what they need
	follow := func(p *process, from, to int) {
		t.Helper()
		for told := from; told <= to; told++ {
			crew.history.await(t, told, "a reducer tells how far it is", func(e event) bool { return e.From == p && e.Verb == "folded" })
			redisPeak = max(redisPeak, redisMemory(t, b))
			if told == durableTells/10 && early[0] == 0 {
				early = [2]int{resident(t, p), resident(t, worker)}
			}
		}
	}
	began := time.Now()
	first := crew.start("reducer", nil)
	follow(first, 1, durableTells/2)
	half, killed := time.Since(began), resident(t, first)
	redistest.Eventually(t, patience, func() bool {
		c, err := mapreduce.Checkpointed(t.Context(), b.store, queue, durableName)
		return err == nil && c.Done >= tasks/4
	}, "a good part is saved")
	first.kill()
	c, err := mapreduce.Checkpointed(t.Context(), b.store, queue, durableName)
	must(t, err)
	resumed := time.Now()
	second := crew.start("reducer", nil)
	crew.history.await(t, 1, "the second one tells", func(e event) bool { return e.From == second && e.Verb == "folded" })
	gap := time.Since(resumed)
	follow(second, 1, (tasks-c.Done)/(tasks/durableTells))
	sum := crew.history.await(t, 1, "the sum", func(e event) bool { return e.From == second && e.Verb == "sum" })[0]
	took := time.Since(began)

	want := uint64(0)
	for n := range tasks {
		want += scrambled(uint64(n)) //nolint:gosec // never negative
	}
	if sum.Task != strconv.FormatUint(want, 10) {
		t.Errorf("got the sum %s, want %d", sum.Task, want)
	}
	if sum.Number != tasks-c.Done {
		t.Errorf("%d of %d were saved, the second one folded %d", c.Done, tasks, sum.Number)
	}
	end := [2]int{resident(t, second), resident(t, worker)}
	t.Logf("%d inputs, window %d, on %d CPUs: %v in all, %.0f/s; killed after %v with %d saved; the next one had folded %d after %v",
		tasks, durableWindow, runtime.NumCPU(), took.Round(time.Millisecond), float64(tasks)/took.Seconds(), half.Round(time.Millisecond),
		c.Done, tasks/durableTells, gap.Round(time.Millisecond))
	t.Logf("resident: reducer %s at 10 %%, %s at 50 %% (killed), %s of the second at the end, peak %s; worker %s at 10 %%, %s at the end, peak %s",
		mib(early[0]), mib(killed), mib(end[0]), mib(peak(t, second)), mib(early[1]), mib(end[1]), mib(peak(t, worker)))
	t.Logf("Redis: %s before, peak %s, %s at the end", mib(redisBefore), mib(redisPeak), mib(redisMemory(t, b)))
	const slack = 32 << 20
	if end[0] > early[0]+slack || killed > early[0]+slack || end[1] > early[1]+slack || redisPeak > redisBefore+slack {
		t.Error("memory grew")
	}
	redistest.Eventually(t, patience, func() bool {
		names, err := b.client.Keys(t.Context(), "*:batch:*").Result()
		must(t, err)
		replies, err := b.client.Keys(t.Context(), "*:reply:*").Result()
		must(t, err)
		return len(names)+len(replies) == 0 && b.client.XLen(t.Context(), b.store.Keys(queue).Tasks()).Val() == 0
	}, "nothing of the batch is left")
}
