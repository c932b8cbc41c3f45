package inspect

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// Minute is what happened in a queue in one minute, and how full it was at the end of it. Workers report every few seconds, so the last
// minute grows for a while.
type Minute struct {
	At       time.Time  `json:"at"` // its beginning, by the clock of Redis
	Enqueued int64      `json:"enqueued"`
	Done     int64      `json:"done"`
	Retried  int64      `json:"retried"` // attempts that failed and are tried again
	Dead     int64      `json:"dead"`    // tasks that failed for good
	Waiting  int64      `json:"waiting"`
	Running  int64      `json:"running"`
	Delayed  int64      `json:"delayed"`
	Handler  Latency    `json:"handler"` // how long handlers took
	Wait     Latency    `json:"wait"`    // from stored, or due, until a handler started
	By       []Function `json:"functions,omitempty"`
}

// Latency is a summary of durations, in seconds. Quantiles are upper bounds of buckets, each twice as long as the one before.
type Latency struct {
	N    int64   `json:"n"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
}

// Function is what one function did in some time.
type Function struct {
	Name    string  `json:"function"`
	Done    int64   `json:"done"`
	Retried int64   `json:"retried"`
	Dead    int64   `json:"dead"`
	Handler Latency `json:"handler"` // N and Mean; quantiles where they are known
}

// Trend is what happened in a queue in the last minutes, at most 1440, oldest first and the one that is not over last. Minutes in
// which nothing was recorded are there, and empty. Workers report what they did every five seconds, so a task may be counted in the minute
// after the one in which it was done; chunks count as one in Enqueued, Waiting and Running. It costs Redis three commands.
func (i *Inspector) Trend(ctx context.Context, queue string, minutes int) ([]Minute, error) {
	if err := wire.CheckName("queue", queue); err != nil {
		return nil, fmt.Errorf("inspect: read the trend: %w", err)
	}
	if minutes < 1 || minutes > mostMinutes {
		return nil, fmt.Errorf("inspect: read the trend of %s: %d minutes, want 1 to %d", queue, minutes, mostMinutes)
	}
	kept, now, err := i.store.Scripts().Trend(ctx, i.store.Keys(queue), minutes)
	if err != nil {
		return nil, fmt.Errorf("inspect: read the trend of %s: %w", queue, i.explain(ctx, err, queue))
	}
	first := time.UnixMilli(now).Truncate(time.Minute).Add(-time.Duration(minutes-1) * time.Minute)
	trend := make([]Minute, minutes)
	for n := range trend {
		trend[n].At = first.Add(time.Duration(n) * time.Minute)
	}
	for n := range kept {
		at := time.UnixMilli(kept[n].At)
		if place := int(at.Sub(first) / time.Minute); !at.Before(first) && place < minutes {
			trend[place] = newMinute(&kept[n], trend[place].At)
		}
	}
	return trend, nil
}

// mostMinutes is how many minutes are kept.
const mostMinutes = 1440

// newMinute is a minute for people.
func newMinute(kept *wire.Minute, at time.Time) Minute {
	m := Minute{
		At: at, Enqueued: kept.Enqueued, Waiting: kept.Waiting, Running: kept.Running, Delayed: kept.Delayed, Wait: newLatency(&kept.Wait),
	}
	var handler wire.Spread
	for _, name := range slices.Sorted(maps.Keys(kept.Functions)) {
		d := kept.Functions[name]
		m.Done, m.Retried, m.Dead = m.Done+d.Done, m.Retried+d.Retried, m.Dead+d.Dead
		handler.Merge(&d.Handler)
		m.By = append(m.By, Function{Name: name, Done: d.Done, Retried: d.Retried, Dead: d.Dead, Handler: newLatency(&d.Handler)})
	}
	m.Handler = newLatency(&handler)
	return m
}

func newLatency(s *wire.Spread) Latency {
	n := s.N()
	if n == 0 {
		return Latency{}
	}
	return Latency{
		N: n, Mean: float64(s.Sum) / float64(n) / 1e6,
		P50: s.Quantile(0.5).Seconds(), P95: s.Quantile(0.95).Seconds(), P99: s.Quantile(0.99).Seconds(),
	}
}
