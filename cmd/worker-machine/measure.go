package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/metrics"
	"github.com/athoune/worker-machine/stream"
)

// measures are the metrics of this process; nil of one that nobody asks for them.
type measures struct{ registry *prometheus.Registry }

// measure has the store of this process count its calls. It comes BEFORE the connection.
func (a *app) measure() (*measures, error) {
	m := &measures{registry: prometheus.NewRegistry()}
	calls, err := metrics.NewStore(m.registry)
	if err != nil {
		return nil, err
	}
	a.hooks = stream.JoinHooks(a.hooks, calls.Hooks())
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "worker_machine_build_info", Help: "1, with the version as a label.",
		ConstLabels: prometheus.Labels{"version": versionText(buildVersion()), "goversion": runtime.Version()},
	})
	build.Set(1)
	return m, errors.Join(
		m.registry.Register(build), m.registry.Register(collectors.NewGoCollector()),
		m.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
}

// worker adds the metrics of a worker.
func (m *measures) worker(cfg group.Config) (group.Config, error) {
	if m == nil {
		return cfg, nil
	}
	tasks, err := metrics.NewWorker(m.registry)
	if err != nil {
		return cfg, err
	}
	return tasks.Config(cfg), nil
}

// queues adds what lies in the queues.
func (m *measures) queues(store *stream.Store) error {
	return m.registry.Register(metrics.NewQueues(inspect.New(store), metrics.QueuesConfig{}))
}

func (m *measures) handler() http.Handler { return metrics.Handler(m.registry) }

// metricsAddr completes what the flag says: a port alone is one of this machine, and of several processes each has the next one.
func metricsAddr(text, slot string) (string, error) {
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	n, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numberErr != nil {
		return "", usagef("--metrics-addr %q: give a port, or host:port, such as 9464 or 0.0.0.0:9464", text)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if nth, err := strconv.Atoi(slot); err == nil && nth > 1 && n > 0 {
		n += uint64(nth - 1)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// serveMetrics serves /metrics until stop is called.
func (a *app) serveMetrics(ctx context.Context, m *measures, addr string) (stop func(), err error) {
	addr, err = metricsAddr(addr, a.getenv("WM_SLOT"))
	if err != nil {
		return nil, err
	}
	const headers, write, idle = 5 * time.Second, 15 * time.Second, time.Minute
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headers, ReadTimeout: headers, WriteTimeout: write, IdleTimeout: idle, MaxHeaderBytes: 16 << 10}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		a.note("metrics are at http://%s/metrics", listener.Addr())
		go func() { _ = server.Serve(listener) }()
	case errors.Is(err, syscall.EADDRINUSE) && a.getenv("WM_SLOT") != "":
		// One that replaces another starts before that ends.
		go a.serveMetricsLater(ctx, server, addr)
	default:
		return nil, fmt.Errorf("--metrics-addr: %w", err)
	}
	return func() { _ = server.Close() }, nil
}

func (a *app) serveMetricsLater(ctx context.Context, server *http.Server, addr string) {
	const every = time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr); err == nil {
			_ = server.Serve(listener)
			return
		}
	}
}
