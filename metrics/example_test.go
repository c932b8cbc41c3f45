package metrics_test

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/metrics"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/tracing"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func Example() {
	redisClient, stop := redistest.ForExample()
	defer stop()
	var provider trace.TracerProvider

	registry := prometheus.NewRegistry()
	calls, err := metrics.NewStore(registry)
	must(err)
	tasks, err := metrics.NewWorker(registry)
	must(err)
	tracer := tracing.New(provider, nil) // an OpenTelemetry TracerProvider; without one nothing is traced, at no cost

	store, err := stream.NewStore(redisClient, stream.Config{Hooks: stream.JoinHooks(calls.Hooks(), tracer.Hooks())})
	must(err)
	worker, err := group.NewWorker(store, tracer.Config(tasks.Config(group.Config{})))
	must(err)
	must(registry.Register(metrics.NewQueues(inspect.New(store), metrics.QueuesConfig{}))) // in one process for each Redis
	http.Handle("/metrics", metrics.Handler(registry))

	_ = worker
	families, err := registry.Gather()
	fmt.Println(len(families) > 0, err)
	// Output: true <nil>
}
