package board

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/athoune/worker-machine/inspect"
)

// window is how many minutes the charts show.
const window = 60

// trendOf reads the last hour of a queue.
func (b *board) trendOf(ctx context.Context, queue string) ([]inspect.Minute, error) {
	minutes, err := b.look.Trend(ctx, queue, window)
	return lastHour(minutes), err
}

// lastHour is exactly an hour of minutes: what is missing at the beginning is empty.
func lastHour(minutes []inspect.Minute) []inspect.Minute {
	if len(minutes) == 0 {
		return nil
	}
	last := minutes[len(minutes)-1].At
	hour := make([]inspect.Minute, window)
	for i := range hour {
		hour[i].At = last.Add(time.Duration(i-window+1) * time.Minute)
	}
	for _, m := range minutes {
		if i := window - 1 - int(last.Sub(m.At)/time.Minute); i >= 0 && i < window {
			hour[i] = m
		}
	}
	return hour
}

// present tells the last minute of an hour how full the queue is now: no worker may have said so.
func present(hour []inspect.Minute, q inspect.Queue) {
	if len(hour) > 0 {
		last := &hour[len(hour)-1]
		last.Waiting, last.Running, last.Delayed = q.Waiting.N, q.Running.N, q.Delayed.N
	}
}

// sum adds up the hours of several queues. A quantile of the sum is that of the slowest queue.
func sum(trends [][]inspect.Minute) []inspect.Minute {
	var all []inspect.Minute
	for _, trend := range trends {
		switch {
		case len(trend) == 0:
		case all == nil:
			all = slices.Clone(trend)
		default:
			// One of them may have been read when the next minute had begun.
			shift := int(trend[len(trend)-1].At.Sub(all[len(all)-1].At) / time.Minute)
			for i := range all {
				if from := i - shift; from >= 0 && from < len(trend) {
					all[i] = add(all[i], trend[from])
				}
			}
		}
	}
	return all
}

func add(a, b inspect.Minute) inspect.Minute {
	a.Enqueued += b.Enqueued
	a.Done += b.Done
	a.Retried += b.Retried
	a.Dead += b.Dead
	a.Waiting += b.Waiting
	a.Running += b.Running
	a.Delayed += b.Delayed
	a.Handler = addLatency(a.Handler, b.Handler)
	a.Wait = addLatency(a.Wait, b.Wait)
	a.By = slices.Concat(a.By, b.By)
	return a
}

func addLatency(a, b inspect.Latency) inspect.Latency {
	n := a.N + b.N
	if n == 0 {
		return inspect.Latency{}
	}
	return inspect.Latency{
		N: n, Mean: (a.Mean*float64(a.N) + b.Mean*float64(b.N)) / float64(n),
		P50: max(a.P50, b.P50), P95: max(a.P95, b.P95), P99: max(a.P99, b.P99),
	}
}

// trendBody is the charts of an hour, and the same as a table.
type trendBody struct {
	Charts []chart
	Rows   []trendRow
	Note   string
}

// trendRow is five minutes in the table under the charts.
type trendRow struct {
	At                            time.Time
	Enqueued, Done, Retried, Dead int64
	Waiting                       int64 // at the end
	Wait, Handler                 float64
}

// chartsOf draws an hour.
func chartsOf(hour []inspect.Minute) trendBody {
	if len(hour) == 0 {
		return trendBody{}
	}
	body := trendBody{Rows: trendRows(hour)}
	for _, p := range plotsOf(hour) {
		for _, m := range hour {
			p.times = append(p.times, m.At)
		}
		body.Charts = append(body.Charts, p.draw())
	}
	return body
}

func plotsOf(hour []inspect.Minute) []plot {
	last := len(hour) - 1
	whole := func(v float64) string { return compact(v) }
	handler := func(m inspect.Minute) inspect.Latency { return m.Handler }
	wait := func(m inspect.Minute) inspect.Latency { return m.Wait }
	median := func(l inspect.Latency) float64 { return l.P50 }
	p95 := func(l inspect.Latency) float64 { return l.P95 }
	return []plot{
		{id: "throughput", title: "Tasks per minute", format: whole, now: last - 1, series: []series{
			filled(rate(hour, "Done", "c-done", func(m inspect.Minute) int64 { return m.Done })),
			rate(hour, "Enqueued", "c-enqueued", func(m inspect.Minute) int64 { return m.Enqueued }),
		}},
		{id: "backlog", title: "Backlog", format: whole, now: last, series: []series{
			filled(level(hour, "Waiting", "c-waiting", func(m inspect.Minute) int64 { return m.Waiting })),
			level(hour, "Running", "c-running", func(m inspect.Minute) int64 { return m.Running }),
			level(hour, "Delayed", "c-delayed", func(m inspect.Minute) int64 { return m.Delayed }),
		}},
		{id: "latency", title: "Latency", format: seconds, now: last, series: []series{
			quantile(hour, "Handler, median", "c-median", handler, median), quantile(hour, "Handler, 95 %", "c-p95", handler, p95),
			quantile(hour, "Wait, 95 %", "c-wait", wait, p95),
		}},
		{id: "failures", title: "Failures per minute", format: whole, now: last, bars: true, series: []series{
			row(hour, "Retried", "c-retried", func(m inspect.Minute) float64 { return float64(m.Retried) }),
			row(hour, "Dead", "c-dead", func(m inspect.Minute) float64 { return float64(m.Dead) }),
		}},
	}
}

func row(hour []inspect.Minute, name, class string, value func(inspect.Minute) float64) series {
	s := series{Name: name, Class: class}
	for _, m := range hour {
		s.Values = append(s.Values, value(m))
	}
	return s
}

func filled(s series) series {
	s.Area = true
	return s
}

// rate ends before the minute that is not over, which would look like a fall.
func rate(hour []inspect.Minute, name, class string, value func(inspect.Minute) int64) series {
	s := row(hour, name, class, func(m inspect.Minute) float64 { return float64(value(m)) })
	s.Values[len(s.Values)-1] = math.NaN()
	return s
}

// level is how full a queue was, which is not known of minutes in which no worker saw it.
func level(hour []inspect.Minute, name, class string, value func(inspect.Minute) int64) series {
	return row(hour, name, class, func(m inspect.Minute) float64 {
		if m.Waiting+m.Running+m.Delayed+m.Enqueued+m.Done+m.Retried+m.Dead == 0 {
			return math.NaN()
		}
		return float64(value(m))
	})
}

func quantile(hour []inspect.Minute, name, class string, of func(inspect.Minute) inspect.Latency, value func(inspect.Latency) float64) series {
	return row(hour, name, class, func(m inspect.Minute) float64 {
		if l := of(m); l.N > 0 {
			return value(l)
		}
		return math.NaN()
	})
}

// trendRows sums up the hour by five minutes, the latest first.
func trendRows(hour []inspect.Minute) []trendRow {
	const step = 5
	var rows []trendRow
	for end := len(hour); end > 0; end -= step {
		var all inspect.Minute
		for _, m := range hour[max(end-step, 0):end] {
			all = add(all, m)
		}
		rows = append(rows, trendRow{
			At: hour[max(end-step, 0)].At, Enqueued: all.Enqueued, Done: all.Done, Retried: all.Retried, Dead: all.Dead,
			Waiting: hour[end-1].Waiting, Wait: all.Wait.P95, Handler: all.Handler.P95,
		})
	}
	return rows
}

// functionRow is what one function did in an hour.
type functionRow struct {
	Queue string
	inspect.Function
	Failing float64 // share of the attempts that failed
	Slow    float64 // its mean beside that of the slowest
}

// functionsOf sums up functions over an hour.
func functionsOf(queue string, hour []inspect.Minute) []functionRow {
	by := map[string]*functionRow{}
	for _, m := range hour {
		for _, f := range m.By {
			row := by[f.Name]
			if row == nil {
				row = &functionRow{Queue: queue, Function: inspect.Function{Name: f.Name}}
				by[f.Name] = row
			}
			row.Done += f.Done
			row.Retried += f.Retried
			row.Dead += f.Dead
			row.Handler = addLatency(row.Handler, f.Handler)
		}
	}
	rows := make([]functionRow, 0, len(by))
	for _, row := range by {
		row.Failing = share(row.Retried+row.Dead, row.Done+row.Retried+row.Dead)
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b functionRow) int {
		if c := largest(a.Done+a.Retried+a.Dead, b.Done+b.Retried+b.Dead); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return rows
}

// rankSlow notes how slow each is beside the slowest.
func rankSlow(rows []functionRow) {
	slowest := 0.0
	for _, row := range rows {
		slowest = max(slowest, row.Handler.Mean)
	}
	for i := range rows {
		if slowest > 0 {
			rows[i].Slow = rows[i].Handler.Mean / slowest
		}
	}
}
