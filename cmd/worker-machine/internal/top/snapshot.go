// Package top shows live what queues, workers and functions do: as a program for a terminal, and as plain text.
//
//	watcher := top.NewWatcher(inspect.New(store), "web")
//	err := top.Run(ctx, watcher, top.Terminal{In: os.Stdin, Out: os.Stdout, Env: os.Environ()})
//	snapshot, err := watcher.Look(ctx, top.Everything)
//	err = snapshot.Print(os.Stdout)
package top

import (
	"cmp"
	"slices"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/fleet"
	"github.com/athoune/worker-machine/inspect"
)

// Snapshot is what was seen at a moment.
type Snapshot struct {
	At        time.Time        `json:"at"`
	Queues    []Queue          `json:"queues"`
	Unseen    int              `json:"unseen_queues,omitempty"` // queues that were too many to look at
	Workers   []inspect.Worker `json:"workers,omitempty"`
	MoreWork  bool             `json:"more_workers,omitempty"` // there are more than were looked at
	Functions []Function       `json:"functions,omitempty"`
	Groups    []Group          `json:"dead_letter_groups,omitempty"`
	Fleet     *fleet.Status    `json:"supervisor,omitempty"` // of the supervisor that was named
	Unheard   string           `json:"supervisor_problem,omitempty"`
	Tasks     []inspect.Task   `json:"-"` // of the worker whose details are wanted
}

// Queue is a queue and how fast it is.
type Queue struct {
	inspect.Queue
	Rate   float64          `json:"done_per_second"` // since the look before
	Trend  []inspect.Minute `json:"-"`               // the last minutes, where they are known
	Pulses []int64          `json:"-"`               // tasks done between the last looks
}

// Function is what a function of a queue did in the last minutes.
type Function struct {
	Queue string `json:"queue"`
	inspect.Function
	Minutes []int64 `json:"-"` // done, by minute
}

// Failed is how many attempts failed.
func (f *Function) Failed() int64 { return f.Retried + f.Dead }

// Group is a group of dead letters of a queue.
type Group struct {
	Queue string `json:"queue"`
	inspect.LetterGroup
}

// totals sums up all queues. Workers are no part of it: one may read several.
func (s *Snapshot) totals() (sum Queue) {
	for i := range s.Queues {
		q := &s.Queues[i]
		sum.Waiting.N += q.Waiting.N
		sum.Running.N += q.Running.N
		sum.Delayed.N += q.Delayed.N
		sum.Dead.N += q.Dead.N
		sum.Rate += q.Rate
	}
	return sum
}

// countWorkers counts leases: a worker of two queues counts twice.
func (s *Snapshot) countWorkers() (n int64) {
	for i := range s.Queues {
		n += s.Queues[i].Workers.N
	}
	return n
}

// functionMinutes is how far back functions are summed up.
const functionMinutes = 5

// functionsOf sums up the functions of a queue over its last minutes.
func functionsOf(queue string, trend []inspect.Minute) []Function {
	found := map[string]*Function{}
	trend = trend[max(len(trend)-functionMinutes, 0):]
	for i := range trend {
		for _, one := range trend[i].By {
			f := found[one.Name]
			if f == nil {
				f = &Function{Queue: queue, Function: inspect.Function{Name: one.Name}, Minutes: make([]int64, len(trend))}
				found[one.Name] = f
			}
			f.add(i, one)
		}
	}
	list := make([]Function, 0, len(found))
	for _, f := range found {
		list = append(list, *f)
	}
	return list
}

// add adds what it did in one more minute. Quantiles cannot be added: the worst minute counts.
func (f *Function) add(minute int, one inspect.Function) {
	f.Done, f.Retried, f.Dead = f.Done+one.Done, f.Retried+one.Retried, f.Dead+one.Dead
	f.Minutes[minute] += one.Done
	h, o := &f.Handler, one.Handler
	if n := h.N + o.N; n > 0 {
		h.Mean = (h.Mean*float64(h.N) + o.Mean*float64(o.N)) / float64(n)
		h.N = n
	}
	h.P50, h.P95, h.P99 = max(h.P50, o.P50), max(h.P95, o.P95), max(h.P99, o.P99)
}

// order is what functions are sorted by.
type order int

const (
	slowest order = iota
	failing
	busiest
	orders // how many there are
)

func (o order) String() string { return [...]string{"slowest", "failing", "busiest"}[o] }

// sorted are functions, the worst first.
func sorted(functions []Function, by order) []Function {
	list := slices.Clone(functions)
	slices.SortFunc(list, func(x, y Function) int {
		var most int
		switch by {
		case failing:
			most = cmp.Compare(y.Failed(), x.Failed())
		case busiest:
			most = cmp.Compare(y.Done+y.Failed(), x.Done+x.Failed())
		default:
			most = cmp.Compare(y.Handler.Mean, x.Handler.Mean)
		}
		return cmp.Or(most, cmp.Compare(x.Queue, y.Queue), cmp.Compare(x.Name, y.Name))
	})
	return list
}
