package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/stream"
)

// Store counts the calls of Redis that stores of this process make. It is safe for concurrent use, and any number of stores may share it.
type Store struct {
	took   *prometheus.HistogramVec
	errs   *prometheus.CounterVec
	stored *prometheus.CounterVec
	batch  *prometheus.HistogramVec
	queues *names

	scripts sync.Map // name -> prometheus.Observer
	perQ    sync.Map // queue -> storedSeries
}

type storedSeries struct {
	stored prometheus.Counter
	batch  prometheus.Observer
}

// NewStore registers the metrics of stores. Of one registry it may be asked for more than once.
func NewStore(reg prometheus.Registerer) (*Store, error) {
	if reg == nil {
		return nil, errNoRegistry
	}
	var errs []error
	s := &Store{
		took: register(reg, &errs, histogram("script_duration_seconds", "How long calls of scripts took, until Redis answered.", callSeconds, labelScript)),
		errs: register(reg, &errs, counter("redis_errors_total", "Calls of scripts that failed, by the kind of the error.", labelKind)),
		stored: register(reg, &errs, counter("tasks_enqueued_total", "Tasks that clients of this process stored, those refused as duplicates among them; a chunk counts once.",
			labelQueue)),
		batch:  register(reg, &errs, histogram("enqueue_tasks", "Tasks of one round trip that stored them.", batchSizes, labelQueue)),
		queues: newNames(),
	}
	for _, kind := range kinds {
		s.errs.WithLabelValues(kind) // so that a rate is known before the first error
	}
	return s, errors.Join(errs...)
}

// Hooks measure the calls.
func (s *Store) Hooks() stream.Hooks {
	return stream.Hooks{
		Script: func(name string, took time.Duration, err error) {
			observer, ok := s.scripts.Load(name)
			if !ok { // there are as many as files
				observer, _ = s.scripts.LoadOrStore(name, s.took.WithLabelValues(name))
			}
			observer.(prometheus.Observer).Observe(took.Seconds()) //nolint:forcetypeassert // nothing else is stored there
			if err != nil {
				s.errs.WithLabelValues(kindOf(err)).Inc()
			}
		},
		Stored: func(queue string, tasks int) {
			name := s.queues.of(queue)
			found, ok := s.perQ.Load(name)
			if !ok {
				found, _ = s.perQ.LoadOrStore(name, storedSeries{stored: s.stored.WithLabelValues(name), batch: s.batch.WithLabelValues(name)})
			}
			series, _ := found.(storedSeries)
			series.stored.Add(float64(tasks))
			series.batch.Observe(float64(tasks))
		},
	}
}

// Kinds of errors of Redis.
const (
	kindFull    = "full"    // out of memory or disk
	kindAuth    = "auth"    // refused the user or a command
	kindState   = "state"   // starts, is a replica, fails over, moves slots, is busy with a script
	kindTimeout = "timeout" // no answer in time
	kindNetwork = "network" // no connection, or it broke
	kindPool    = "pool"    // no connection was free
	kindContext = "context" // the caller gave up
	kindScript  = "script"  // refused the call: a key of a wrong type, say
)

var kinds = []string{kindFull, kindAuth, kindState, kindTimeout, kindNetwork, kindPool, kindContext, kindScript, other}

var states = []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "MOVED", "ASK", "max number of clients"}

func kindOf(err error) string {
	switch {
	case conn.IsFull(err):
		return kindFull
	case conn.IsAuth(err):
		return kindAuth
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return kindPool
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return kindContext
	}
	for _, state := range states {
		if redis.HasErrorPrefix(err, state) {
			return kindState
		}
	}
	if _, refused := errors.AsType[redis.Error](err); refused {
		return kindScript
	}
	broken, isNet := errors.AsType[net.Error](err)
	switch {
	case isNet && broken.Timeout():
		return kindTimeout
	case isNet, isEnd(err):
		return kindNetwork
	}
	return other
}

// isEnd tells whether the other side has closed the connection.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, redis.ErrClosed)
}
