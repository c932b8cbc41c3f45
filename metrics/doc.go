// Package metrics tells Prometheus what workers, clients and queues do.
//
//	registry := prometheus.NewRegistry()
//	calls, err := metrics.NewStore(registry)
//	store, err := stream.NewStore(redisClient, stream.Config{Hooks: calls.Hooks()})
//	tasks, err := metrics.NewWorker(registry)
//	worker, err := group.NewWorker(store, tasks.Config(group.Config{}))
//	err = registry.Register(metrics.NewQueues(inspect.New(store), metrics.QueuesConfig{}))
//	http.Handle("/metrics", metrics.Handler(registry))
//
// All names begin with worker_machine_. What a process did comes from its own metrics; what lies in Redis, and the totals there, come from
// [Queues], which one process for each Redis should have, such as worker-machine serve. Labels are bounded: above 100 queues or 100
// functions, the others are told of under the name "other".
package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	namespace = "worker_machine"
	other     = "other"

	resultOK, resultFailed = "ok", "failed"

	labelQueue, labelFunction, labelReason, labelResult, labelScript, labelKind, labelEvent = "queue", "function", "reason", "result", "script", "kind", "event"
)

// Buckets of classic histograms; native ones have their own, each a tenth wider than the one before.
var (
	callSeconds    = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	handlerSeconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
	waitSeconds    = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 15, 60, 300, 1800, 3600, 21600}
	batchSizes     = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}
)

// histogram is one of both kinds: servers that know native histograms take those.
func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	const growth, mostBuckets = 1.1, 160
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: growth, NativeHistogramMaxBucketNumber: mostBuckets, NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// register registers a collector, or finds the one that another worker or store of this process has registered before.
func register[C prometheus.Collector](reg prometheus.Registerer, errs *[]error, c C) C {
	err := reg.Register(c)
	if there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if same, ok := there.ExistingCollector.(C); ok {
			return same
		}
	}
	if err != nil {
		*errs = append(*errs, fmt.Errorf("metrics: register: %w", err))
	}
	return c
}

// errNoRegistry is what the constructors say to nil.
var errNoRegistry = errors.New("metrics: the registry is nil: make it with prometheus.NewRegistry")

// Handler serves the metrics of a registry at any path, also as OpenMetrics and with native histograms, to those who ask for them.
// A collector that fails does not hide the others. At most four scrapes run at a time, each for ten seconds at most.
func Handler(reg prometheus.Gatherer) http.Handler {
	const atOnce, longest = 4, 10 * time.Second
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: atOnce, Timeout: longest,
	})
}
