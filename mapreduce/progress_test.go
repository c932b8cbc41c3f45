package mapreduce

import (
	"math"
	"testing"
	"time"
)

func TestMeterRate(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	tests := map[string]struct {
		adds map[float64]int // seconds after the start -> outcomes
		now  float64
		end  bool
		want float64
	}{
		"nothing yet":                        {now: 3, want: 0},
		"young batch counts all of its time": {adds: map[float64]int{1: 10, 2: 20}, now: 3, want: 10},
		"old seconds are forgotten":          {adds: map[float64]int{1: 1000, 25: 100, 29: 100}, now: 30, want: 20},
		"a long pause empties it":            {adds: map[float64]int{1: 1000}, now: 100, want: 0},
		"a pause of just the ring's length":  {adds: map[float64]int{1: 1000}, now: 12.5, want: 0},
		"the current second is in part":      {adds: map[float64]int{20.1: 105}, now: 20.5, want: 10},
		"once over it is the average":        {adds: map[float64]int{1: 1000}, now: 100, end: true, want: 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := meter{started: start}
			for s := 0.0; s <= test.now; s += 0.1 {
				key := math.Round(s*10) / 10
				if n := test.adds[key]; n > 0 {
					m.add(at(key), n)
				}
			}
			if test.end {
				m.ended = at(test.now)
			}
			if got := m.rate(at(test.now)); math.Abs(got-test.want) > 0.01 {
				t.Errorf("got %v per second, want %v (%+v)", got, test.want, test)
			}
		})
	}
}

func TestProgressBeforeTheStartIsZero(t *testing.T) {
	t.Parallel()
	f := newFlow[int, int](limits{window: 1, windowBytes: 1}, time.Now)
	if got := f.progress(); got != (Progress{}) {
		t.Errorf("got %+v, want the zero value", got)
	}
}
