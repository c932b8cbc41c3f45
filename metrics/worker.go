package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/wire"
)

// Worker counts what workers of this process do. It is safe for concurrent use, and any number of workers may share it.
type Worker struct {
	done, failures, retried, snoozed *prometheus.CounterVec
	stuck, cancelled                 *prometheus.CounterVec
	dead                             *prometheus.CounterVec
	late, fetched                    *prometheus.CounterVec
	reclaimed, released, leasesLost  *prometheus.CounterVec
	running                          *prometheus.GaugeVec
	renewals                         *prometheus.CounterVec
	handler, wait, fetch             *prometheus.HistogramVec
	commit, committed, renewal       *prometheus.HistogramVec

	queues, functions *names
	seen              sync.Map // names of queues whose metrics are there

	mu     sync.RWMutex
	series map[[2]string]*series // by queue and function, as tasks name them
}

// series are the metrics of one function of one queue.
type series struct {
	queue, function         string
	done, failures, retried prometheus.Counter
	running                 prometheus.Gauge
	handler, wait           prometheus.Observer
}

// NewWorker registers the metrics of workers. Of one registry it may be asked for more than once.
func NewWorker(reg prometheus.Registerer) (*Worker, error) {
	if reg == nil {
		return nil, errNoRegistry
	}
	w := &Worker{queues: newNames(), functions: newNames(), series: make(map[[2]string]*series)}
	var errs []error
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(reg, &errs, counter(name, help, labels...))
	}
	w.done = count("tasks_done_total", "Tasks whose result was recorded.", labelQueue, labelFunction)
	w.failures = count("task_failures_total", "Attempts that failed, those that are tried again and those that are not.", labelQueue, labelFunction)
	w.retried = count("tasks_retried_total", "Attempts that failed and are tried again.", labelQueue, labelFunction)
	w.snoozed = count("tasks_snoozed_total", "Tasks that asked to run later.", labelQueue, labelFunction)
	w.dead = count("tasks_dead_total", "Tasks that became dead letters.", labelQueue, labelFunction, labelReason)
	w.stuck = count("tasks_stuck_total", "Handlers that did not return in time.", labelQueue, labelFunction)
	w.cancelled = count("tasks_cancelled_total", "Tasks that were dropped because they were cancelled.", labelQueue, labelFunction)
	w.late = count("tasks_late_total", "Outcomes that were refused, since another worker has the task or was first.", labelQueue)
	w.fetched = count("tasks_fetched_total", "Tasks taken from queues.", labelQueue)
	w.reclaimed = count("tasks_reclaimed_total", "Tasks taken over from workers that died, or found lost.", labelQueue)
	w.released = count("tasks_released_total", "Tasks handed to other workers before they started.", labelQueue)
	w.leasesLost = count("leases_lost_total", "Leases that could not be confirmed in time, or were lost.", labelQueue)
	w.running = register(reg, &errs, gauge("handlers_running", "Handlers that run.", labelQueue, labelFunction))
	w.handler = register(reg, &errs, histogram("handler_duration_seconds", "How long handlers took, failures among them.", handlerSeconds, labelQueue, labelFunction))
	w.wait = register(reg, &errs, histogram("queue_wait_seconds",
		"From when a task was stored, or due, until its handler started.", waitSeconds, labelQueue, labelFunction))
	w.fetch = register(reg, &errs, histogram("fetch_tasks", "Tasks of one read.", batchSizes, labelQueue))
	w.commit = register(reg, &errs, histogram("commit_duration_seconds", "How long calls took that record results.", callSeconds, labelQueue))
	w.committed = register(reg, &errs, histogram("commit_tasks", "Results of one call that records them.", batchSizes, labelQueue))
	w.renewals = count("lease_renewals_total", "Heartbeats, by whether they confirmed the lease.", labelQueue, labelResult)
	w.renewal = register(reg, &errs, histogram("lease_renewal_duration_seconds", "How long heartbeats took.", callSeconds, labelQueue))
	return w, errors.Join(errs...)
}

// Config is a worker's configuration with these metrics: the middleware goes outside of the others, the hooks before the others.
func (w *Worker) Config(cfg group.Config) group.Config {
	cfg.Middleware = append([]group.Middleware{w.Middleware}, cfg.Middleware...)
	cfg.Hooks = group.JoinHooks(w.Hooks(), cfg.Hooks)
	return cfg
}

// Hooks count what becomes of tasks.
func (w *Worker) Hooks() group.Hooks {
	return group.Hooks{
		Fetched: func(queue string, tasks int) {
			queue = w.queue(queue)
			w.fetched.WithLabelValues(queue).Add(float64(tasks))
			w.fetch.WithLabelValues(queue).Observe(float64(tasks))
		},
		Waited: func(m group.Metadata, wait time.Duration) { w.of(&m).wait.Observe(wait.Seconds()) },
		Done:   func(m group.Metadata, _ time.Duration) { w.of(&m).done.Inc() },
		Retry: func(m group.Metadata, _ time.Duration, err error) {
			s := w.of(&m)
			if err == nil {
				w.snoozed.WithLabelValues(s.queue, s.function).Inc()
				return
			}
			s.retried.Inc()
			s.failures.Inc()
		},
		Dead: func(m group.Metadata, reason string, _ error) {
			s := w.of(&m)
			s.failures.Inc()
			w.dead.WithLabelValues(s.queue, s.function, reasonOf(reason)).Inc()
		},
		Late:      func(m group.Metadata) { w.late.WithLabelValues(w.queue(m.Queue)).Inc() },
		Stuck:     func(m group.Metadata, _ time.Duration) { w.add(w.stuck, &m) },
		Cancelled: func(m group.Metadata) { w.add(w.cancelled, &m) },
		Reclaimed: func(queue string, tasks int) { w.reclaimed.WithLabelValues(w.queue(queue)).Add(float64(tasks)) },
		Released:  func(queue string, tasks int) { w.released.WithLabelValues(w.queue(queue)).Add(float64(tasks)) },
		Committed: w.noteCommit,
		Renewed:   w.noteRenewal,
		LeaseLost: func(queue string) { w.leasesLost.WithLabelValues(w.queue(queue)).Inc() },
	}
}

// Middleware measures handlers.
func (w *Worker) Middleware(next group.Handler) group.Handler {
	return func(ctx context.Context, task group.Task) ([]byte, error) {
		s, began := w.of(&task.Metadata), time.Now()
		s.running.Inc()
		defer func() { // also when it panics
			s.running.Dec()
			s.handler.Observe(time.Since(began).Seconds())
		}()
		return next(ctx, task)
	}
}

// queue is the name of a queue as a label. With the first heartbeat all its counters are there: what is counted for the first time
// would not be a rise otherwise.
func (w *Worker) queue(name string) string {
	name = w.queues.of(name)
	if _, there := w.seen.LoadOrStore(name, struct{}{}); !there {
		for _, of := range []*prometheus.CounterVec{w.late, w.fetched, w.reclaimed, w.released, w.leasesLost} {
			of.WithLabelValues(name)
		}
		for _, of := range []*prometheus.HistogramVec{w.fetch, w.commit, w.committed, w.renewal} {
			of.WithLabelValues(name)
		}
		for _, result := range []string{resultOK, resultFailed} {
			w.renewals.WithLabelValues(name, result)
		}
	}
	return name
}

func (w *Worker) noteCommit(queue string, tasks int, took time.Duration, err error) {
	queue = w.queue(queue)
	w.commit.WithLabelValues(queue).Observe(took.Seconds())
	if err == nil {
		w.committed.WithLabelValues(queue).Observe(float64(tasks))
	}
}

func (w *Worker) noteRenewal(queue string, took time.Duration, err error) {
	queue = w.queue(queue)
	w.renewal.WithLabelValues(queue).Observe(took.Seconds())
	result := resultOK
	if err != nil {
		result = resultFailed
	}
	w.renewals.WithLabelValues(queue, result).Inc()
}

func (w *Worker) add(to *prometheus.CounterVec, m *group.Metadata) {
	s := w.of(m)
	to.WithLabelValues(s.queue, s.function).Inc()
}

// of finds the metrics of a task. A task of a function that this worker does not know may name anything.
func (w *Worker) of(m *group.Metadata) *series {
	key := [2]string{m.Queue, m.Function}
	w.mu.RLock()
	s := w.series[key]
	w.mu.RUnlock()
	if s != nil {
		return s
	}
	key = [2]string{w.queues.of(m.Queue), w.functions.of(m.Function)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s = w.series[key]; s == nil {
		s = w.newSeries(key[0], key[1])
		w.series[key] = s
	}
	return s
}

func (w *Worker) newSeries(queue, function string) *series {
	for _, of := range []*prometheus.CounterVec{w.snoozed, w.stuck, w.cancelled} {
		of.WithLabelValues(queue, function)
	}
	for _, reason := range []string{wire.ReasonFailed, wire.ReasonCrash} { // which alerts ask for
		w.dead.WithLabelValues(queue, function, reason)
	}
	return &series{
		queue: queue, function: function,
		done: w.done.WithLabelValues(queue, function), failures: w.failures.WithLabelValues(queue, function),
		retried: w.retried.WithLabelValues(queue, function), running: w.running.WithLabelValues(queue, function),
		handler: w.handler.WithLabelValues(queue, function), wait: w.wait.WithLabelValues(queue, function),
	}
}

// reasons are those of dead letters that have a name of their own.
var reasons = map[string]bool{
	wire.ReasonFailed: true, wire.ReasonDropped: true, wire.ReasonUnknown: true, wire.ReasonMalformed: true, wire.ReasonNewer: true,
	wire.ReasonCrash: true, wire.ReasonCancelled: true, wire.ReasonTooLarge: true,
}

func reasonOf(reason string) string {
	if reasons[reason] {
		return reason
	}
	return other
}
