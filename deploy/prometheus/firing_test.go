package prometheus

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// history is some series, a sample a minute: each is its value at the nth minute.
type history []struct {
	name   string
	labels []string
	at     func(minute float64) float64
}

func always(value float64) func(float64) float64 { return func(float64) float64 { return value } }

func rises(a float64) func(float64) float64 { return func(m float64) float64 { return a * m } }

const minutes = 60

// queryable shows the history to the engine.
func (h history) queryable() storage.Queryable {
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			set := &series{at: -1}
			for _, s := range h {
				pairs := append([]string{"__name__", s.name}, s.labels...)
				of := labels.FromStrings(pairs...)
				if slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(of.Get(m.Name)) }) {
					continue
				}
				var samples []chunks.Sample
				for m := range minutes + 1 {
					samples = append(samples, sample{t: int64(m) * time.Minute.Milliseconds(), f: s.at(float64(m))})
				}
				set.all = append(set.all, storage.NewListSeries(of, samples))
			}
			return set
		},
	}}
}

// sample is a value at a time.
type sample struct {
	t int64
	f float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.f }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// series is a storage.SeriesSet of some series.
type series struct {
	all []storage.Series
	at  int
}

func (s *series) Next() bool                        { s.at++; return s.at < len(s.all) }
func (s *series) At() storage.Series                { return s.all[s.at] }
func (s *series) Err() error                        { return nil }
func (s *series) Warnings() annotations.Annotations { return nil }

var web = []string{"queue", "web", "instance", "serve:8080"}

// queueAt is what a server tells of a queue.
func queueAt(waiting, running, workers, paused, done func(float64) float64) history {
	event := func(name string) []string { return append([]string{"event", name}, web...) }
	return history{
		{"worker_machine_redis_up", []string{"instance", "serve:8080"}, always(1)},
		{"worker_machine_queue_waiting", web, waiting},
		{"worker_machine_queue_running", web, running},
		{"worker_machine_queue_workers", web, workers},
		{"worker_machine_queue_paused", web, paused},
		{"worker_machine_queue_broken", web, always(0)},
		{"worker_machine_queue_oldest_seconds", web, always(10)},
		{"worker_machine_queue_tasks_total", event("done"), done},
		{"worker_machine_queue_tasks_total", event("dead"), always(7)},
		{"worker_machine_queue_tasks_total", event("retried"), always(7)},
	}
}

func workerAt(name string, at func(float64) float64, more ...string) history {
	return history{{name, append([]string{"queue", "web", "function", "f", "instance", "worker:9464"}, more...), at}}
}

// TestAlertsFireWhenTheyAreMeantTo evaluates all rules over made-up hours.
func TestAlertsFireWhenTheyAreMeantTo(t *testing.T) {
	t.Parallel()
	none := always(0)
	well := queueAt(always(3), always(2), always(2), none, rises(100))
	with := func(more ...history) history { return slices.Concat(append([]history{well}, more...)...) }
	for name, c := range map[string]struct {
		history history
		want    []string
	}{
		"all is well":                  {well, nil},
		"there is no server to scrape": {nil, []string{"WorkerMachineNotWatched"}},
		"Redis is away":                {history{{"worker_machine_redis_up", []string{"instance", "s"}, none}}, []string{"WorkerMachineRedisDown"}},
		"the workers are gone": {
			queueAt(rises(5), none, none, none, always(9)), []string{"WorkerMachineNoWorkers", "WorkerMachineNobodyWorks"},
		},
		"the workers hang":                      {queueAt(rises(5), always(4), always(2), none, always(9)), []string{"WorkerMachineNobodyWorks"}},
		"the workers are slower than callers":   {queueAt(rises(5), always(4), always(2), none, rises(1)), nil},
		"there is nothing to do, and no worker": {queueAt(none, none, none, none, always(9)), nil},
		"it is paused":                          {queueAt(rises(5), none, always(2), always(1), always(9)), []string{"WorkerMachinePaused"}},
		"an old task":                           {with(history{{"worker_machine_queue_oldest_seconds", []string{"queue", "b"}, always(4000)}}), []string{"WorkerMachineOldTask"}},
		"a broken key":                          {with(history{{"worker_machine_queue_broken", []string{"queue", "b"}, always(1)}}), []string{"WorkerMachineBrokenQueue"}},
		"dead letters": {
			with(history{{"worker_machine_queue_tasks_total", []string{"event", "dead", "queue", "b"}, rises(1)}}), []string{"WorkerMachineDeadLetters"},
		},
		"every second attempt fails": {
			with(workerAt("worker_machine_task_failures_total", rises(10)), workerAt("worker_machine_tasks_done_total", rises(10))), []string{"WorkerMachineManyFailures"},
		},
		"all attempts fail": {
			with(workerAt("worker_machine_task_failures_total", rises(10)), workerAt("worker_machine_tasks_done_total", none)), []string{"WorkerMachineManyFailures"},
		},
		"one of a hundred fails": {with(workerAt("worker_machine_task_failures_total", rises(1)), workerAt("worker_machine_tasks_done_total", rises(99))), nil},
		"nothing is done at all": {with(workerAt("worker_machine_task_failures_total", none), workerAt("worker_machine_tasks_done_total", none)), nil},
		"a task kills workers":   {with(workerAt("worker_machine_tasks_dead_total", rises(1), "reason", "crash loop")), []string{"WorkerMachineCrashLoop"}},
		"handlers are stuck":     {with(workerAt("worker_machine_tasks_stuck_total", rises(1))), []string{"WorkerMachineStuckHandlers"}},
		"a worker is cut off": {
			with(workerAt("worker_machine_lease_renewals_total", rises(1), "result", "failed"), workerAt("worker_machine_leases_lost_total", rises(1))),
			[]string{"WorkerMachineLeaseRenewalsFail", "WorkerMachineLeasesLost"},
		},
		"renewals go well":      {with(workerAt("worker_machine_lease_renewals_total", rises(20), "result", "ok")), nil},
		"Redis is full":         {with(workerAt("worker_machine_redis_errors_total", rises(60), "kind", "full")), []string{"WorkerMachineRedisErrors"}},
		"callers are impatient": {with(workerAt("worker_machine_redis_errors_total", rises(60), "kind", "context")), nil},
	} {
		engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 100_000, Timeout: patience, Parser: parser.NewParser(parser.Options{})})
		var fired []string
		for _, r := range rules(t) {
			query, err := engine.NewInstantQuery(t.Context(), c.history.queryable(), nil, r.Expr, time.UnixMilli(minutes*time.Minute.Milliseconds()))
			ok(t, err)
			result := query.Exec(t.Context())
			ok(t, result.Err)
			vector, err := result.Vector()
			ok(t, err)
			if len(vector) > 0 {
				fired = append(fired, r.Alert)
			}
			query.Close()
		}
		slices.Sort(fired)
		slices.Sort(c.want)
		if !slices.Equal(fired, c.want) {
			t.Errorf("%s: got %v, want %v", name, fired, c.want)
		}
	}
}
