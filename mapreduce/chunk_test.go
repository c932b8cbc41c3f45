package mapreduce_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// poison kills the process that runs it when it is given deadly, and takes two milliseconds otherwise.
var poison = stream.Func[int, int]{Name: "poison", Queue: "numbers"}

const deadly = 666

func handlePoison(_ context.Context, n int) (int, error) {
	if n == deadly {
		os.Exit(3)
	}
	<-time.After(2 * time.Millisecond)
	return n, nil
}

// raw is a reply stream that nobody trims, and the chunks whose outcomes go there.
type raw struct {
	t      *testing.T
	client *redis.Client
	keys   wire.Keys
	reply  string
	items  []string // their IDs
}

func newRaw(t *testing.T, server *redistest.Server) *raw {
	t.Helper()
	r := &raw{t: t, client: server.Client(t), keys: wire.NewKeys("wm", "numbers"), reply: stream.NewID()}
	r.do("XADD", r.keys.Reply(r.reply), "*", "v", "1")
	return r
}

func (r *raw) do(args ...any) {
	r.t.Helper()
	if err := r.client.Do(r.t.Context(), args...).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// add stores a chunk for poison.
func (r *raw) add(numbers ...int) {
	r.t.Helper()
	chunk := wire.Task{ID: stream.NewChunkID(), Function: poison.Name, Attempt: 1, Reply: r.reply, Items: len(numbers)}
	for i, n := range numbers {
		chunk.Payload = wire.AppendItem(chunk.Payload, strconv.AppendInt(nil, int64(n), 10))
		r.items = append(r.items, wire.ItemID(chunk.ID, i))
	}
	r.do("XADD", r.keys.Tasks(), "*", wire.Field, chunk.Encode())
}

// outcomes are all that were ever told, by ID of the item: "+<result>" or "-<reason>".
func (r *raw) outcomes() map[string][]string {
	r.t.Helper()
	entries, err := r.client.Do(r.t.Context(), "XRANGE", r.keys.Reply(r.reply), "-", "+").Slice()
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string][]string{}
	for _, entry := range entries {
		fields := entry.([]any)[1].([]any)
		for i := 0; i+1 < len(fields); i += 2 {
			o, err := wire.DecodeOutcome(fields[i].(string), fields[i+1].(string))
			switch {
			case err != nil || o.Kind == wire.KindMoved:
			case o.Kind != wire.KindPack:
				all[o.TaskID] = append(all[o.TaskID], string(o.Kind)+string(o.Payload)+o.Failure.Reason)
			default:
				for item := range o.Pack.Items {
					kind, data, _ := o.Pack.Next()
					id := wire.ItemID(o.TaskID, item)
					if kind == wire.KindFailure {
						failure, _ := wire.DecodeFailure(data)
						data = []byte(failure.Reason)
					}
					if kind == wire.KindResult || kind == wire.KindFailure {
						all[id] = append(all[id], string(kind)+string(data))
					}
				}
			}
		}
	}
	return all
}

// await waits until each item has an outcome, and holds that it is one.
func (r *raw) await(timeout time.Duration) map[string][]string {
	r.t.Helper()
	redistest.Eventually(r.t, timeout, func() bool { return len(r.outcomes()) == len(r.items) }, "all %d items have an outcome", len(r.items))
	redistest.Eventually(r.t, timeout, func() bool { return r.client.XLen(r.t.Context(), r.keys.Tasks()).Val() == 0 }, "the queue is empty")
	all := r.outcomes()
	for _, id := range r.items {
		if len(all[id]) != 1 {
			r.t.Errorf("item %s: outcomes %q, want one", id, all[id])
		}
	}
	if n := r.client.Exists(r.t.Context(), r.keys.Chunks(), r.keys.Crashes()).Val(); n != 0 {
		r.t.Errorf("notes are left: %v, %v", r.client.HGetAll(r.t.Context(), r.keys.Chunks()).Val(), r.client.HGetAll(r.t.Context(), r.keys.Crashes()).Val())
	}
	return all
}

// TestKilledWorkersTellEachItemOnce kills workers in the middle of chunks, again and again.
func TestKilledWorkersTellEachItemOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := newRaw(t, server)
	workers := []*exec.Cmd{startProcess(t, server), startProcess(t, server)}
	for i := range 60 {
		numbers := make([]int, 50)
		for n := range numbers {
			numbers[n] = 1000*(i+1) + n
		}
		r.add(numbers...)
	}
	for i := range 5 {
		before := len(r.outcomes())
		redistest.Eventually(t, 20*time.Second, func() bool { return len(r.outcomes()) > before+100 || len(r.outcomes()) == len(r.items) }, "work goes on")
		_ = workers[i%2].Process.Kill()
		workers[i%2] = startProcess(t, server)
	}
	for id, got := range r.await(time.Minute) {
		if got[0][0] != '+' {
			t.Errorf("item %s: %q", id, got)
		}
	}
}

// TestAPoisonousItemDiesAlone has an item that kills each worker that runs it: it becomes a dead letter, and its neighbours have results.
func TestAPoisonousItemDiesAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := newRaw(t, server)
	for i := range 4 {
		r.add(10*i, 10*i+1, 10*i+2, 10*i+3)
	}
	r.add(100, 101, deadly, 103)
	ctx, cancel := context.WithCancel(t.Context())
	var starts atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cmd := startProcess(t, server)
			starts.Add(1)
			stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait()
			stop()
		}
	}()
	all := r.await(time.Minute)
	cancel()
	<-ended
	for i, id := range r.items {
		want := "+"
		if i == len(r.items)-2 {
			want = "-" + wire.ReasonCrash
		}
		if len(all[id]) == 1 && (all[id][0][:1] != want[:1] || want[0] == '-' && all[id][0] != want) {
			t.Errorf("item %d: %q, want %q", i, all[id], want)
		}
	}
	t.Logf("%d workers", starts.Load())
}

// behave is a function whose input says how it behaves; what it is to end with is known.
var behave = stream.Func[int, string]{Name: "behave", Queue: "behaviours", MaxAttempts: 2}

// oracle is what a sequential program would have for an input.
func oracle(n int) string {
	switch n % 11 {
	case 1:
		return "failed"
	case 2:
		return "dropped"
	default:
		return fmt.Sprint("done ", n)
	}
}

func handleBehave(ctx context.Context, n int) (string, error) {
	m := group.Meta(ctx)
	switch kind := n % 11; {
	case kind == 1:
		return "", errors.New("never")
	case kind == 2:
		return "", group.Drop(errors.New("no"))
	case kind == 3 && m.Attempt == 1:
		panic("once")
	case kind == 4 && m.Attempt == 1:
		return "", group.RetryAfter(time.Millisecond, errors.New("once"))
	case kind == 5:
		<-time.After(time.Duration(n%40) * time.Millisecond)
	}
	return oracle(n), nil
}

// TestMapIsWhatALoopIs compares maps of random inputs, options and workers with the oracle.
func TestMapIsWhatALoopIs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test that can be repeated
			server := redistest.Start(t)
			for range 1 + random.IntN(3) {
				startBehaving(t, server, 1+random.IntN(16))
			}
			inputs := make([]int, 300+random.IntN(1500))
			rare := 1 + random.IntN(30) // the larger, the fewer behave badly
			for i := range inputs {
				if inputs[i] = 11 * random.IntN(1000); random.IntN(rare) == 0 {
					inputs[i] += random.IntN(11)
				}
			}
			ordered := random.IntN(2) == 0
			opts := []mapreduce.Option{mapreduce.Window(1 + random.IntN(2000)), mapreduce.Chunk(1 + random.IntN(200))}
			if ordered {
				opts = append(opts, mapreduce.InOrder())
			}
			client := newClient(t, server, stream.ClientConfig{})
			watched(t, server, func() {
				batch := mapreduce.Map(t.Context(), client, behave, values(inputs), opts...)
				seen := make([]bool, len(inputs))
				ids := map[string]bool{}
				next := 0
				for r := range batch.Results() {
					got := r.Value
					if failure, ok := errors.AsType[*stream.TaskError](r.Err); ok {
						got = failure.Reason
					}
					if want := oracle(inputs[r.Index]); got != want || r.Input != inputs[r.Index] || seen[r.Index] || ids[r.TaskID] || ordered && r.Index != next {
						t.Fatalf("result %d: %+v, want %q; seen before: %v", next, r, want, seen[r.Index])
					}
					seen[r.Index], ids[r.TaskID] = true, true
					next++
				}
				if p := batch.Progress(); batch.Err() != nil || next != len(inputs) || p.Done+p.Failed != next {
					t.Errorf("%d results of %d, %v, %+v", next, len(inputs), batch.Err(), p)
				}
			})
		})
	}
}

func values(inputs []int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for _, n := range inputs {
			if !yield(n) {
				return
			}
		}
	}
}

// startBehaving runs a worker for behave until the test ends.
func startBehaving(t *testing.T, server *redistest.Server, concurrency int) {
	t.Helper()
	store, err := stream.NewStore(server.Client(t), stream.Config{})
	must(t, err)
	worker, err := group.NewWorker(store, group.Config{Concurrency: concurrency, Backoff: group.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}})
	must(t, err)
	group.Handle(worker, behave, handleBehave)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
		_ = store.Close()
	})
}

// TestChunksAreBoundedAsConfigured looks at what is stored while no worker runs.
func TestChunksAreBoundedAsConfigured(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []mapreduce.Option
		most int // items of an entry
	}{
		"switched off":          {[]mapreduce.Option{mapreduce.Window(500), mapreduce.Chunk(1)}, 1},
		"by the option":         {[]mapreduce.Option{mapreduce.Window(500), mapreduce.Chunk(7)}, 7},
		"by a share of a small": {[]mapreduce.Option{mapreduce.Window(64)}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			ctx, cancel := context.WithCancel(t.Context())
			batch := mapreduce.Map(ctx, newClient(t, server, stream.ClientConfig{}), square, numbers, c.opts...)
			client := server.Client(t)
			go func() {
				defer cancel()
				redistest.Eventually(t, 10*time.Second, func() bool {
					n := stored(t, client)
					return n > 0 && n == batch.Progress().Submitted && (n == 500 || n == 64)
				}, "the window is full")
				entries := client.XRange(t.Context(), "wm:{numbers}:tasks", "-", "+").Val()
				most := 0
				for _, entry := range entries {
					task, err := wire.DecodeValue([]byte(entry.Values[wire.Field].(string)))
					if err != nil {
						t.Error(err)
					}
					most = max(most, task.Items, 1)
				}
				if most != c.most {
					t.Errorf("entries of up to %d items, want %d", most, c.most)
				}
			}()
			for range batch.Results() {
			}
		})
	}
}
