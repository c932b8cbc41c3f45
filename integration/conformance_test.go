package integration

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/redistest/flavour"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// conformance is the protocol, case by case. Each case has a prefix of its own on a server of its flavour.
var conformance = map[string]func(*testing.T, *rig){
	"enqueue":          conformEnqueue,
	"headers":          conformHeaders,
	"queue limit":      conformLimit,
	"unique":           conformUnique,
	"delayed":          conformDelayed,
	"retry":            conformRetry,
	"dead letter":      conformDeadLetter,
	"foreign entries":  conformForeign,
	"unknown function": conformUnknown,
	"reclaim":          conformReclaim,
	"crash loop":       conformCrashLoop,
	"ghosts":           conformGhosts,
	"group destroyed":  conformDestroyed,
	"cancel":           conformCancel,
	"drain":            conformDrain,
	"map":              conformMap,
	"shared context":   conformShared,
}

// TestConformance runs the protocol on every kind of server there is.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, f := range flavour.All(t) {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			beside(t)
			network, addr := f.Start(t)
			// One after the other: were they parallel, tests that wait to be alone could hold all the places they need.
			for name, conform := range conformance {
				t.Run(name, func(t *testing.T) { conform(t, newRig(t, network, addr)) })
			}
		})
	}
}

// rig is a prefix on a server, with a client, and with workers in this process.
type rig struct {
	*backend
	t      *testing.T
	tasks  *stream.Client
	keys   wire.Keys
	prefix string
}

var rigs struct {
	sync.Mutex
	n int
}

func newRig(t *testing.T, network, addr string) *rig {
	t.Helper()
	rigs.Lock()
	rigs.n++
	prefix := fmt.Sprintf("wm%d", rigs.n)
	rigs.Unlock()
	b := newBackend(t, network, addr)
	b.store = openStore(t, b.client, prefix)
	return &rig{
		backend: b, t: t, prefix: prefix, keys: b.store.Keys(queue),
		tasks: openClient(t, b.store, stream.ClientConfig{}),
	}
}

// work starts a worker of the rig's queue; it runs until it is told to stop, or the test ends. What it returns stops it.
func (r *rig) work(cfg group.Config, handlers ...func(*group.Worker)) (stop func()) {
	r.t.Helper()
	cfg.Queues = []group.Queue{{Name: queue}}
	if cfg.Backoff.Max == 0 {
		cfg.Backoff = group.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}
	}
	worker, err := group.NewWorker(r.store, cfg)
	must(r.t, err)
	for _, handle := range handlers {
		handle(worker)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the worker ended with %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// handler is one typed handler, for work.
func handler[In, Out any](fn stream.Func[In, Out], run func(context.Context, In) (Out, error)) func(*group.Worker) {
	return func(w *group.Worker) { group.Handle(w, fn, run) }
}

// squares is the handler of square, and a record of what it was given.
func squares(into *record) func(*group.Worker) {
	return handler(square, func(ctx context.Context, n int) (int, error) {
		into.add(n, group.Meta(ctx).Attempt)
		return n * n, nil
	})
}

// record notes the attempts of numbered tasks.
type record struct {
	mu       sync.Mutex
	attempts map[int][]int
}

func (r *record) add(n, attempt int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempts == nil {
		r.attempts = map[int][]int{}
	}
	r.attempts[n] = append(r.attempts[n], attempt)
}

// of returns the attempts that a task was run as.
func (r *record) of(n int) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.attempts[n])
}

func (r *record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.attempts)
}

// once fails the test unless n tasks ran, each once and as its first attempt.
func (r *record) once(t *testing.T, n int) {
	t.Helper()
	redistest.Eventually(t, patience, func() bool { return r.len() >= n }, "%d tasks run", n)
	for i := range n {
		if got := r.of(i); !slices.Equal(got, []int{1}) {
			t.Errorf("task %d ran as attempts %v, want once as the first", i, got)
		}
	}
}

// empty waits until nothing is stored or running any more.
func (r *rig) empty() {
	r.t.Helper()
	redistest.Eventually(r.t, patience, func() bool {
		return r.client.XLen(r.t.Context(), r.keys.Tasks()).Val() == 0 && r.client.ZCard(r.t.Context(), r.keys.Due()).Val() == 0
	}, "the queue is empty")
}

// deliver makes the group, and delivers what is stored to a consumer that never does anything about it.
func (r *rig) deliver(consumer string, n int) {
	r.t.Helper()
	err := r.client.XGroupCreateMkStream(r.t.Context(), r.keys.Tasks(), r.store.Group(), "0").Err()
	if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
		r.t.Fatal(err)
	}
	got, err := r.client.XReadGroup(r.t.Context(), &redis.XReadGroupArgs{
		Group: r.store.Group(), Consumer: consumer, Streams: []string{r.keys.Tasks(), ">"}, Count: int64(n), Block: -1,
	}).Result()
	must(r.t, err)
	if len(got) != 1 || len(got[0].Messages) != n {
		r.t.Fatalf("delivered %v, want %d entries", got, n)
	}
}

func (r *rig) enqueue(n int, options ...stream.Option) {
	r.t.Helper()
	stored, err := square.EnqueueAll(r.t.Context(), r.tasks, numbers(n), options...)
	if err != nil || stored != n {
		r.t.Fatalf("enqueue all: got %d, %v, want %d", stored, err, n)
	}
}
