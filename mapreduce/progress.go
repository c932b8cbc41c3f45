package mapreduce

import "time"

// Progress is a snapshot of a [Batch].
type Progress struct {
	Submitted int           // inputs taken so far
	Done      int           // inputs whose result is in
	Failed    int           // inputs that ended with an error
	InFlight  int           // inputs taken whose outcome is not in; 0 once the batch is over
	Rate      float64       // outcomes per second over the last ten seconds; over the whole time once the batch is over
	Started   time.Time     // when the loop over the results began; zero before
	Elapsed   time.Duration // since Started, until now or the end of the batch
}

const (
	meterBuckets = 11 // ten whole seconds and the current one
	meterSpan    = 10 * time.Second
)

// meter counts outcomes by second, for the last ten.
type meter struct {
	started, ended time.Time
	counts         [meterBuckets]int
	newest         int // the second, counted from started, of the newest bucket
	total          int
}

// add counts n outcomes at now.
func (m *meter) add(now time.Time, n int) {
	m.advance(now)
	m.counts[m.newest%meterBuckets] += n
	m.total += n
}

// advance empties the buckets of the seconds that passed without an outcome.
func (m *meter) advance(now time.Time) {
	second := int(now.Sub(m.started) / time.Second)
	for steps := min(second-m.newest, meterBuckets); steps > 0; steps-- {
		m.counts[(second-steps+1)%meterBuckets] = 0
	}
	m.newest = max(m.newest, second)
}

// elapsed is the time from the start until now or the end.
func (m *meter) elapsed(now time.Time) time.Duration {
	switch {
	case m.started.IsZero():
		return 0
	case !m.ended.IsZero():
		return m.ended.Sub(m.started)
	default:
		return now.Sub(m.started)
	}
}

// rate is outcomes per second.
func (m *meter) rate(now time.Time) float64 {
	elapsed := m.elapsed(now)
	if elapsed <= 0 {
		return 0
	}
	if !m.ended.IsZero() || elapsed < meterSpan {
		return float64(m.total) / elapsed.Seconds()
	}
	m.advance(now)
	recent := 0
	for _, n := range m.counts {
		recent += n
	}
	// The buckets cover ten whole seconds and the part of the current one that has passed.
	part := elapsed - time.Duration(m.newest)*time.Second
	return float64(recent) / (meterSpan + part).Seconds()
}
