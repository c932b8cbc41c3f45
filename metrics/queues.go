package metrics

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
)

const (
	defaultWithin = 5 * time.Second
	// reuse is how old a snapshot may be that serves another scrape: several servers of Prometheus, or impatient people, cost Redis no more.
	reuse = time.Second
)

// QueuesConfig tunes [Queues]. The zero value is ready to use.
type QueuesConfig struct {
	Names  []string      // of the queues to look at; default all, at most 100
	Within time.Duration // how long one look may take; default 5s
}

// Queues tells what lies in the queues of a Redis. Each scrape is one look at all of them, less than a second old. When it fails, nothing is told of
// the queues, worker_machine_redis_up is 0, and worker_machine_queues_errors_total grows. It is a [prometheus.Collector].
type Queues struct {
	look   *inspect.Inspector
	cfg    QueuesConfig
	errors prometheus.Counter

	mu   sync.Mutex
	at   time.Time
	last snapshot
}

type snapshot struct {
	queues  []inspect.Queue
	omitted int
	took    time.Duration
	err     error
}

// NewQueues returns a collector of what an inspector sees. It dials nothing.
func NewQueues(look *inspect.Inspector, cfg QueuesConfig) *Queues {
	if cfg.Within <= 0 {
		cfg.Within = defaultWithin
	}
	return &Queues{look: look, cfg: cfg, errors: prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "queues_errors_total", Help: "Looks at the queues that failed.",
	})}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
}

var (
	upDesc      = desc("redis_up", "1 when the last look at the queues went well, 0 otherwise.")
	tookDesc    = desc("queues_look_seconds", "How long the last look at the queues took.")
	omittedDesc = desc("queues_omitted", "Queues that are not told of: there are too many.")
	brokenDesc  = desc("queue_broken", "1 when a key of the queue is of a wrong type, so that nothing else is known.", labelQueue)
	pausedDesc  = desc("queue_paused", "1 when the queue is paused.", labelQueue)
	oldestDesc  = desc("queue_oldest_seconds", "How long the oldest task has been waiting or running.", labelQueue)
	totalDesc   = desc("queue_tasks_total", "Totals of the queue in Redis, over all workers and clients.", labelQueue, labelEvent)
)

// amounts are what a queue holds.
var amounts = []struct {
	desc *prometheus.Desc
	of   func(*inspect.Queue) int64
}{
	{desc("queue_waiting", "Tasks that wait for a worker: the backlog.", labelQueue), func(q *inspect.Queue) int64 { return q.Waiting.N }},
	{desc("queue_running", "Tasks that a worker has.", labelQueue), func(q *inspect.Queue) int64 { return q.Running.N }},
	{desc("queue_delayed", "Tasks that are due later, retries among them.", labelQueue), func(q *inspect.Queue) int64 { return q.Delayed.N }},
	{desc("queue_dead", "Dead letters.", labelQueue), func(q *inspect.Queue) int64 { return q.Dead.N }},
	{desc("queue_workers", "Workers with a lease.", labelQueue), func(q *inspect.Queue) int64 { return q.Workers.N }},
}

// Describe tells what there is.
func (q *Queues) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, tookDesc, omittedDesc, brokenDesc, pausedDesc, oldestDesc, totalDesc} {
		to <- d
	}
	for _, amount := range amounts {
		to <- amount.desc
	}
	q.errors.Describe(to)
}

// Collect looks at the queues.
func (q *Queues) Collect(to chan<- prometheus.Metric) {
	s := q.snapshot()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(upDesc, flag(s.err == nil))
	gauge(tookDesc, s.took.Seconds())
	q.errors.Collect(to)
	if s.err != nil {
		return
	}
	gauge(omittedDesc, float64(s.omitted))
	for i := range s.queues {
		queue := &s.queues[i]
		gauge(brokenDesc, flag(queue.Error != ""), queue.Name)
		if queue.Error != "" {
			continue
		}
		gauge(pausedDesc, flag(queue.Paused), queue.Name)
		gauge(oldestDesc, queue.Oldest, queue.Name)
		for _, amount := range amounts {
			gauge(amount.desc, float64(amount.of(queue)), queue.Name)
		}
		for _, event := range events {
			total := float64(queue.Totals[event])
			to <- prometheus.MustNewConstMetric(totalDesc, prometheus.CounterValue, total, queue.Name, strings.ReplaceAll(event, " ", "_"))
		}
	}
}

// events are the totals of PROTOCOL.md: whatever else lies in that hash is not told of.
var events = []string{
	"enqueued", "done", "retried", "snoozed", "unknown", "dead", "replayed", "cancelled", "reclaimed", "handed over", "ghosts", "lost", "unclaimed",
}

func flag(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}

// snapshot looks at the queues, or remembers what somebody else has just seen.
func (q *Queues) snapshot() snapshot {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.at.IsZero() && time.Since(q.at) < reuse {
		return q.last
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), q.cfg.Within) //nolint:forbidigo // a scrape brings no context
	defer cancel()
	q.last = q.take(ctx)
	q.last.took, q.at = time.Since(began), time.Now()
	if q.last.err != nil {
		q.errors.Inc()
	}
	return q.last
}

func (q *Queues) take(ctx context.Context) (s snapshot) {
	wanted := q.cfg.Names
	if len(wanted) == 0 {
		if wanted, s.err = q.look.Store().Queues(ctx); s.err != nil {
			return s
		}
		wanted = named(wanted)
	}
	if len(wanted) > mostNames {
		wanted, s.omitted = wanted[:mostNames], len(wanted)-mostNames
	}
	if len(wanted) > 0 { // none would mean all
		s.queues, s.err = q.look.Queues(ctx, wanted...)
	}
	return s
}

// named leaves out what is no name of a queue: it was not put there by us.
func named(all []string) []string {
	return slices.DeleteFunc(all, func(name string) bool { return wire.CheckName("queue", name) != nil })
}
