package group

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// Config tunes a [Worker]. The zero value is ready to use.
type Config struct {
	Queues      []Queue       // what to read; default: the queues of the functions given to [Handle], else "default"
	Strict      bool          // read Queues in their order, a later one only while all before it are empty; default: by weight
	Concurrency int           // handlers at a time; default GOMAXPROCS*4
	MaxAttempts int           // of a task that brings no limit of its own; default 25
	Timeout     time.Duration // of one attempt of a task that brings none of its own; default none
	Backoff     Backoff       // how long a failed task waits
	Lease       time.Duration // how long a worker that is cut off keeps its tasks; default 10s, renewed at a third of it
	Drain       time.Duration // how long Run waits for handlers once it is stopped; default 25s
	Middleware  []Middleware  // around every handler, the first one outermost
	Hooks       Hooks         // called as things happen
}

// Queue is one queue a worker reads.
type Queue struct {
	Name   string
	Weight int // how often it goes first, relative to the other queues; default 1; not used when the order is strict
}

// Backoff bounds the wait before attempt n+1: a random time below Min doubled n-1 times, and never above Max.
type Backoff struct {
	Min time.Duration // default 1s
	Max time.Duration // default 10m
}

const (
	defaultMaxAttempts = 25
	defaultBackoffMin  = time.Second
	defaultBackoffMax  = 10 * time.Minute
	defaultLease       = 10 * time.Second
	defaultDrain       = 25 * time.Second
	handlersPerCPU     = 4
	maxConcurrency     = 100_000
	maxWeight          = 1_000_000
	maxTimeout         = 100 * 365 * 24 * time.Hour // what is added to it must not overflow
	minLease           = 100 * time.Millisecond
)

// normalize fills in defaults and reports all bad fields at once.
func (c Config) normalize() (Config, error) {
	var bad []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf("group: config: "+format, args...))
		}
	}
	report(c.Concurrency >= 0 && c.Concurrency <= maxConcurrency,
		"Concurrency is %d, want 1 to %d (0 for the default)", c.Concurrency, maxConcurrency)
	report(c.MaxAttempts >= 0, "MaxAttempts is %d, want 1 or more (0 for the default)", c.MaxAttempts)
	report(c.Timeout >= 0, "Timeout is %v, want more than 0 (0 for none)", c.Timeout)
	report(c.Backoff.Min >= 0, "Backoff.Min is %v, want more than 0 (0 for the default)", c.Backoff.Min)
	report(c.Backoff.Max >= 0, "Backoff.Max is %v, want more than 0 (0 for the default)", c.Backoff.Max)
	report(c.Lease == 0 || c.Lease >= minLease, "Lease is %v, want %v or more (0 for the default)", c.Lease, minLease)
	report(c.Drain >= 0, "Drain is %v, want more than 0 (0 for the default)", c.Drain)
	c.Concurrency = orDefault(c.Concurrency, runtime.GOMAXPROCS(0)*handlersPerCPU)
	c.MaxAttempts = orDefault(c.MaxAttempts, defaultMaxAttempts)
	c.Backoff.Min = orDefault(c.Backoff.Min, defaultBackoffMin)
	c.Backoff.Max = orDefault(c.Backoff.Max, max(defaultBackoffMax, c.Backoff.Min))
	c.Lease = orDefault(c.Lease, defaultLease)
	c.Drain = orDefault(c.Drain, defaultDrain)
	c.Timeout = min(c.Timeout, maxTimeout)
	report(c.Backoff.Min <= c.Backoff.Max, "Backoff.Min is %v, above Backoff.Max, %v", c.Backoff.Min, c.Backoff.Max)
	for i, m := range c.Middleware {
		report(m != nil, "Middleware[%d] is nil", i)
	}
	queues, err := normalizeQueues(c.Queues)
	c.Queues = queues
	return c, errors.Join(append(bad, err)...)
}

func normalizeQueues(given []Queue) ([]Queue, error) {
	var bad []error
	seen := make(map[string]bool, len(given))
	queues := make([]Queue, 0, len(given))
	for i, q := range given {
		if err := wire.CheckName("queue", q.Name); err != nil {
			bad = append(bad, fmt.Errorf("group: config: Queues[%d]: %w", i, err))
		}
		if seen[q.Name] {
			bad = append(bad, fmt.Errorf("group: config: Queues[%d]: %s is listed twice", i, q.Name))
		}
		seen[q.Name] = true
		if q.Weight < 0 || q.Weight > maxWeight {
			bad = append(bad, fmt.Errorf("group: config: Queues[%d]: the weight of %s is %d, want 1 to %d (0 for the default)",
				i, q.Name, q.Weight, maxWeight))
		}
		q.Weight = orDefault(q.Weight, 1)
		queues = append(queues, q)
	}
	return queues, errors.Join(bad...)
}

// orDefault is the value, or the default where none was given.
func orDefault[T int | time.Duration](value, standard T) T {
	if value == 0 {
		return standard
	}
	return value
}
