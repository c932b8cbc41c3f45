package inspect

import (
	"context"
	"time"
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
// which nothing was recorded are there, and empty.
func (i *Inspector) Trend(ctx context.Context, queue string, minutes int) ([]Minute, error) {
	return nil, errNotYet
}
