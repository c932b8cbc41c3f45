package latency_test

import (
	"testing"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/latency"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	var h latency.Histogram
	if s := h.Summary(); s != (latency.Summary{}) {
		t.Errorf("nothing sums up to %+v", s)
	}
	for ms := range 1000 {
		h.Add(time.Duration(ms+1) * time.Millisecond)
	}
	s := h.Summary()
	for name, pair := range map[string][2]float64{
		"n": {float64(s.N), 1000}, "mean": {s.Mean, 0.5005}, "p50": {s.P50, 0.5}, "p90": {s.P90, 0.9}, "p99": {s.P99, 0.99}, "p99.9": {s.P999, 0.999}, "max": {s.Max, 1},
	} {
		if got, want := pair[0], pair[1]; got < want*0.9999 || got > want*1.031 {
			t.Errorf("%s is %v, want %v or 3%% more", name, got, want)
		}
	}
}

func TestOddDurations(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{-time.Second, 0, 1, 1000 * time.Hour} {
		var h latency.Histogram
		h.Add(d)
		if s, want := h.Summary(), max(d, 0).Seconds(); s.P50 > want || s.Max != want || s.N != 1 {
			t.Errorf("%v sums up to %+v", d, s)
		}
	}
}
