package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/metrics"
	"github.com/athoune/worker-machine/stream"
)

const soon = 20 * time.Second

var f = stream.Func[string, string]{Name: "f", Queue: "q", MaxAttempts: 2}

// rig is a worker and a client whose metrics one registry has.
type rig struct {
	t      testing.TB
	server *redistest.Server
	redis  *redis.Client
	reg    *prometheus.Registry
	store  *stream.Store
	client *stream.Client
	page   *httptest.Server
	text   string // of the last scrape
}

func newRig(t testing.TB) *rig {
	t.Helper()
	server := redistest.Start(t)
	r := &rig{t: t, server: server, redis: server.Client(t), reg: prometheus.NewPedanticRegistry()}
	calls, err := metrics.NewStore(r.reg)
	ok(t, err)
	r.store, err = stream.NewStore(server.Client(t, func(o *redis.Options) { o.DialTimeout, o.ReadTimeout = time.Second, time.Second }), stream.Config{Hooks: calls.Hooks()})
	ok(t, err)
	t.Cleanup(func() { _ = r.store.Close() })
	r.client, err = stream.NewClient(r.store, stream.ClientConfig{RetryFor: time.Second})
	ok(t, err)
	t.Cleanup(func() { _ = r.client.Close(context.WithoutCancel(t.Context())) })
	ok(t, r.reg.Register(metrics.NewQueues(inspect.New(r.store), metrics.QueuesConfig{Within: 500 * time.Millisecond})))
	r.page = httptest.NewServer(metrics.Handler(r.reg))
	t.Cleanup(r.page.Close)
	return r
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) work(handler func(ctx context.Context, in string) (string, error)) {
	r.t.Helper()
	tasks, err := metrics.NewWorker(r.reg)
	ok(r.t, err)
	worker, err := group.NewWorker(r.store, tasks.Config(group.Config{Backoff: group.Backoff{Min: time.Millisecond, Max: time.Millisecond}}))
	ok(r.t, err)
	group.Handle(worker, f, handler)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := worker.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// scrape is the page as a server of Prometheus sees it: name with labels -> value.
func (r *rig) scrape() map[string]float64 {
	r.t.Helper()
	resp, err := http.Get(r.page.URL)
	ok(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	ok(r.t, err)
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %s", resp.Status, text)
	}
	r.text = string(text)
	samples := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			ok(r.t, err)
			samples[line[:at]] = value
		}
	}
	return samples
}

// want waits until samples have their values.
func (r *rig) want(want map[string]float64) map[string]float64 {
	r.t.Helper()
	var got map[string]float64
	deadline := time.Now().Add(soon)
	for {
		got = r.scrape()
		var wrong []string
		for name, value := range want {
			if found, there := got[name]; !there || found != value {
				wrong = append(wrong, fmt.Sprintf("%s: got %v (there: %v), want %v", name, found, there, value))
			}
		}
		if len(wrong) == 0 {
			return got
		}
		if time.Now().After(deadline) {
			slices.Sort(wrong)
			r.t.Fatal(strings.Join(wrong, "\n"))
		}
		<-time.After(50 * time.Millisecond)
	}
}

func TestWhatAWorkerDoesIsCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hold, started := make(chan struct{}), make(chan struct{})
	r.work(func(_ context.Context, in string) (string, error) {
		switch in {
		case "fail":
			return "", errors.New("no")
		case "drop":
			return "", group.Drop(errors.New("never"))
		case "panic":
			panic("oh")
		case "hold":
			close(started)
			<-hold
		}
		return in, nil
	})
	for _, in := range []string{"a", "b", "fail", "drop", "panic", "hold"} {
		_, err := f.Enqueue(t.Context(), r.client, in)
		ok(t, err)
	}
	<-started
	const of = `{function="f",queue="q"}`
	got := r.want(map[string]float64{
		"worker_machine_tasks_done_total" + of:                                     2,
		"worker_machine_task_failures_total" + of:                                  5, // fail twice, drop once, panic twice
		"worker_machine_tasks_retried_total" + of:                                  2,
		`worker_machine_tasks_dead_total{function="f",queue="q",reason="failed"}`:  2,
		`worker_machine_tasks_dead_total{function="f",queue="q",reason="dropped"}`: 1,
		"worker_machine_handlers_running" + of:                                     1,
		"worker_machine_handler_duration_seconds_count" + of:                       7,
		"worker_machine_queue_wait_seconds_count" + of:                             8,
		`worker_machine_tasks_enqueued_total{queue="q"}`:                           6,
		`worker_machine_enqueue_tasks_sum{queue="q"}`:                              6,
		`worker_machine_tasks_fetched_total{queue="q"}`:                            8,
		`worker_machine_queue_dead{queue="q"}`:                                     3,
		`worker_machine_queue_running{queue="q"}`:                                  1,
		`worker_machine_queue_waiting{queue="q"}`:                                  0,
		`worker_machine_queue_delayed{queue="q"}`:                                  0,
		`worker_machine_queue_workers{queue="q"}`:                                  1,
		`worker_machine_queue_paused{queue="q"}`:                                   0,
		`worker_machine_queue_tasks_total{event="enqueued",queue="q"}`:             6,
		`worker_machine_queue_tasks_total{event="done",queue="q"}`:                 2,
		`worker_machine_queue_tasks_total{event="handed_over",queue="q"}`:          0,
		"worker_machine_redis_up":                                                  1,
		"worker_machine_queues_errors_total":                                       0,
		`worker_machine_redis_errors_total{kind="timeout"}`:                        0,
	})
	for _, name := range []string{`lease_renewals_total{queue="q",result="ok"}`, `lease_renewal_duration_seconds_count{queue="q"}`, `commit_tasks_sum{queue="q"}`, `commit_duration_seconds_count{queue="q"}`} {
		if got["worker_machine_"+name] < 1 {
			t.Errorf("%s: got %v", name, got["worker_machine_"+name])
		}
	}
	if failed, there := got[`worker_machine_lease_renewals_total{queue="q",result="failed"}`]; !there || failed != 0 {
		t.Errorf("renewals that failed: got %v, there: %v", failed, there)
	}
	if got[`worker_machine_queue_oldest_seconds{queue="q"}`] <= 0 {
		t.Error("the task that runs has no age")
	}
	if got[`worker_machine_script_duration_seconds_count{script="commit"}`] < 1 || got[`worker_machine_script_duration_seconds_count{script="bury"}`] != 3 {
		t.Errorf("scripts: %v", got)
	}
	problems, err := promlint.New(strings.NewReader(r.text)).Lint()
	ok(t, err)
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	close(hold)
	r.want(map[string]float64{"worker_machine_tasks_done_total" + of: 3, "worker_machine_handlers_running" + of: 0})
}

func TestHistogramsAreNativeToo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.work(func(_ context.Context, in string) (string, error) { return in, nil })
	_, err := f.Call(t.Context(), r.client, "a")
	ok(t, err)
	families, err := r.reg.Gather()
	ok(t, err)
	found := 0
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				found++
				if h.Schema == nil || len(h.GetBucket()) < 10 {
					t.Errorf("%s: native: %v, %d classic buckets", family.GetName(), h.Schema != nil, len(h.GetBucket()))
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("%d histograms", found)
	}
}

func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	tasks, err := metrics.NewWorker(reg)
	ok(t, err)
	calls, err := metrics.NewStore(reg)
	ok(t, err)
	hooks, stored := tasks.Hooks(), calls.Hooks().Stored
	for i := range 1000 {
		m := group.Metadata{Queue: fmt.Sprint("q", i%150), Function: fmt.Sprint("f", i)}
		hooks.Done(m, time.Second)
		hooks.Dead(m, fmt.Sprint("reason ", i), nil)
		stored(m.Queue, 1)
	}
	families, err := reg.Gather()
	ok(t, err)
	values := map[string]map[string]bool{}
	total := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if values[label.GetName()] == nil {
					values[label.GetName()] = map[string]bool{}
				}
				values[label.GetName()][label.GetValue()] = true
			}
			total[family.GetName()] += m.GetCounter().GetValue()
		}
	}
	for label, most := range map[string]int{"function": 101, "queue": 101, "reason": 3} {
		if len(values[label]) != most || !values[label]["other"] {
			t.Errorf("%s: %d values, other: %v, want %d", label, len(values[label]), values[label]["other"], most)
		}
	}
	if total["worker_machine_tasks_done_total"] != 1000 || total["worker_machine_tasks_enqueued_total"] != 1000 {
		t.Errorf("totals: %v, want 1000 of each: nothing is left out", total)
	}
}

func TestARedisThatIsAwayFailsNoScrape(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := f.Enqueue(t.Context(), r.client, "a")
	ok(t, err)
	r.want(map[string]float64{"worker_machine_redis_up": 1, `worker_machine_queue_waiting{queue="q"}`: 1, `worker_machine_queue_workers{queue="q"}`: 0})
	r.server.Stop()
	defer r.server.Cont()
	r.want(map[string]float64{"worker_machine_redis_up": 0})
	began := time.Now()
	got := r.scrape()
	if _, there := got[`worker_machine_queue_waiting{queue="q"}`]; there || got["worker_machine_queues_errors_total"] < 1 {
		t.Errorf("what is not known is told: %v", got)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("a scrape took %v", took)
	}
	_, err = f.Enqueue(t.Context(), r.client, "a")
	if err == nil {
		t.Error("a frozen Redis stores a task")
	}
	got = r.scrape()
	if got[`worker_machine_redis_errors_total{kind="timeout"}`]+got[`worker_machine_redis_errors_total{kind="context"}`] < 1 {
		t.Errorf("no timeout is counted: %v", got)
	}
}

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ok(t, r.redis.Set(t.Context(), "wm:{bad}:tasks", "x", 0).Err())
	bad := stream.Func[string, string]{Name: "f", Queue: "bad"}
	if _, err := bad.Enqueue(t.Context(), r.client, "x"); err == nil {
		t.Error("a key of a wrong type takes a task")
	}
	ok(t, r.redis.SAdd(t.Context(), "wm:queues", "bad").Err())
	seen := r.want(map[string]float64{`worker_machine_queue_broken{queue="bad"}`: 1})
	if seen[`worker_machine_redis_errors_total{kind="script"}`] < 1 { // each look at the queue is another
		t.Errorf("got %v", seen)
	}
	ok(t, r.redis.ConfigSet(t.Context(), "maxmemory", "1").Err())
	if _, err := f.Enqueue(t.Context(), r.client, "x"); !errors.Is(err, stream.ErrQueueFull) {
		t.Errorf("a full Redis: got %v", err)
	}
	got := r.scrape()
	if got[`worker_machine_redis_errors_total{kind="full"}`] < 1 {
		t.Errorf("got %v", got)
	}
}

func TestManyQueuesAreOneLookAndBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 150 {
		ok(t, r.redis.SAdd(t.Context(), "wm:queues", fmt.Sprintf("q%03d", i)).Err())
	}
	got := r.want(map[string]float64{"worker_machine_queues_omitted": 50, "worker_machine_redis_up": 1})
	if _, there := got[`worker_machine_queue_waiting{queue="q099"}`]; !there {
		t.Error("the hundredth queue is missing")
	}
	calls := func() (n int) {
		_, rest, _ := strings.Cut(r.redis.Info(t.Context(), "commandstats").Val(), "cmdstat_smembers:calls=")
		_, _ = fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &n)
		return n
	}
	before := calls()
	for range 20 {
		r.scrape()
	}
	if n := calls() - before; n > 10 {
		t.Errorf("20 scrapes in a row looked %d times", n)
	}
}

func TestARegistryIsShared(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	for range 2 {
		w, err := metrics.NewWorker(reg)
		ok(t, err)
		w.Hooks().LeaseLost("q")
		_, err = metrics.NewStore(reg)
		ok(t, err)
	}
	families, err := reg.Gather()
	ok(t, err)
	for _, family := range families {
		if family.GetName() == "worker_machine_leases_lost_total" && family.GetMetric()[0].GetCounter().GetValue() != 2 {
			t.Errorf("two workers of one registry: got %v", family)
		}
	}
	if _, err := metrics.NewWorker(nil); err == nil || !strings.Contains(err.Error(), "registry is nil") {
		t.Errorf("no registry: got %v", err)
	}
}
