// Package latency sums up durations: how long most of them were, and how long the slowest.
//
//	var h latency.Histogram
//	h.Add(time.Since(began))
//	fmt.Println(h.Summary().P99)
package latency

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	growth  = 1.03 // of a bucket to the next: quantiles are at most 3 % too long
	buckets = 1100 // up to more than a day
)

// Histogram counts durations in buckets. The zero value is ready to use, and safe for concurrent use.
type Histogram struct {
	counts [buckets]atomic.Int64
	sum    atomic.Int64
	n      atomic.Int64
	most   atomic.Int64
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(d)].Add(1)
	h.sum.Add(int64(d))
	h.n.Add(1)
	for {
		most := h.most.Load()
		if int64(d) <= most || h.most.CompareAndSwap(most, int64(d)) {
			return
		}
	}
}

// bucketOf is the bucket of a duration; the first holds a nanosecond and less.
func bucketOf(d time.Duration) int {
	if d <= 1 {
		return 0
	}
	return min(int(math.Ceil(math.Log(float64(d))/math.Log(growth))), buckets-1)
}

// Summary is what matters of many durations, in seconds.
type Summary struct {
	N    int64   `json:"n"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Summary sums up what was counted so far.
func (h *Histogram) Summary() Summary {
	s := Summary{N: h.n.Load(), Max: time.Duration(h.most.Load()).Seconds()}
	if s.N == 0 {
		return s
	}
	s.Mean = time.Duration(h.sum.Load()).Seconds() / float64(s.N)
	s.P50, s.P90, s.P99, s.P999 = h.quantile(0.5), h.quantile(0.9), h.quantile(0.99), h.quantile(0.999)
	return s
}

// quantile is the upper bound of the bucket that holds the duration of a rank, and no more than the longest one.
func (h *Histogram) quantile(q float64) float64 {
	rank := int64(math.Ceil(q * float64(h.n.Load())))
	for i := range h.counts {
		if rank -= h.counts[i].Load(); rank <= 0 {
			return min(math.Pow(growth, float64(i)), float64(h.most.Load())) / float64(time.Second)
		}
	}
	return time.Duration(h.most.Load()).Seconds()
}
