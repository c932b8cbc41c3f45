package top

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
)

// Bounds of one look, so that a watcher costs Redis little however much there is.
const (
	mostQueues   = 40 // by name; each is one script
	mostTrends   = 4  // read in one look, in turn; each is two commands
	mostPages    = 5  // of workers, in one look
	mostRead     = 20 // workers in one look; those of large queues are read in turn
	mostWorkers  = 500
	fewWorkers   = 15
	mostGrouped  = 4 // queues whose dead letters are grouped
	trendMinutes = 30
	pulses       = 60
	groupsEvery  = 10 * time.Second // grouping reads many letters
)

// Want is what a look is for; what nobody sees is not read.
type Want struct {
	Workers, Groups, AllTrends bool

	FewWorkers bool // read workers only where they are few: one look is to cost less than a hundred commands

	Queue  string // whose trend is read each time
	Worker string // of Queue, whose tasks are read
}

// Everything is what a single snapshot shows.
var Everything = Want{Workers: true, FewWorkers: true, Groups: true, AllTrends: true}

// Watcher looks at queues again and again, and remembers what it needs for rates. It is for one goroutine at a time.
type Watcher struct {
	Supervisor string // address at which worker-machine supervise tells its state; "" for none

	look  *inspect.Inspector
	names []string // of the command line; without any all are watched

	before  time.Time
	done    map[string]int64 // at the look before
	pulses  map[string][]int64
	trends  map[string][]inspect.Minute
	turn    int
	groups  []Group
	grouped time.Time
	sweep   sweep
}

// sweep reads the workers of all queues, a part of them with each look.
type sweep struct {
	queue string // where to go on
	after string
	found []inspect.Worker // so far
	whole []inspect.Worker // of the sweep before
	cut   bool             // there were too many
}

// NewWatcher watches the named queues, or all there are.
func NewWatcher(look *inspect.Inspector, names ...string) *Watcher {
	return &Watcher{look: look, names: names, done: map[string]int64{}, pulses: map[string][]int64{}, trends: map[string][]inspect.Minute{}}
}

// Look takes a snapshot.
func (w *Watcher) Look(ctx context.Context, want Want) (*Snapshot, error) {
	names, unseen, err := w.queues(ctx)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{At: time.Now(), Unseen: unseen}
	w.askFleet(ctx, s)
	if len(names) == 0 {
		return s, nil
	}
	queues, err := w.look.Queues(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, q := range queues {
		s.Queues = append(s.Queues, Queue{Queue: q})
	}
	w.rate(s)
	if err := w.readTrends(ctx, s, want); err != nil {
		return nil, err
	}
	for i := range s.Queues {
		q := &s.Queues[i]
		q.Trend = w.trends[q.Name]
		s.Functions = append(s.Functions, functionsOf(q.Name, q.Trend)...)
	}
	if err := w.readWorkers(ctx, s, want); err != nil {
		return nil, err
	}
	return s, w.readGroups(ctx, s, want)
}

// queues are the names to look at, and how many are left out.
func (w *Watcher) queues(ctx context.Context) ([]string, int, error) {
	names := w.names
	if len(names) == 0 {
		all, err := w.look.Store().Queues(ctx)
		if err != nil {
			return nil, 0, err
		}
		// What is no name of a queue was not put there by us.
		names = slices.DeleteFunc(all, func(name string) bool { return wire.CheckName("queue", name) != nil })
		slices.Sort(names)
	}
	seen := min(len(names), mostQueues)
	return names[:seen], len(names) - seen, nil
}

// rate compares the totals with those of the look before.
func (w *Watcher) rate(s *Snapshot) {
	elapsed := s.At.Sub(w.before).Seconds()
	for i := range s.Queues {
		q := &s.Queues[i]
		done := q.Totals["done"]
		if last, seen := w.done[q.Name]; seen && elapsed > 0 {
			more := max(done-last, 0) // less when somebody removed the counters
			q.Rate = float64(more) / elapsed
			line := append(w.pulses[q.Name], more)
			w.pulses[q.Name] = line[max(len(line)-pulses, 0):]
		}
		w.done[q.Name] = done
		q.Pulses = slices.Clone(w.pulses[q.Name])
	}
	w.before = s.At
}

// readTrends reads those of a few queues in turn, and of the one that is looked at.
func (w *Watcher) readTrends(ctx context.Context, s *Snapshot, want Want) error {
	n := min(mostTrends, len(s.Queues))
	if want.AllTrends {
		n = len(s.Queues)
	}
	names := []string{}
	if want.Queue != "" {
		names = append(names, want.Queue)
	}
	for range n {
		names = append(names, s.Queues[w.turn%len(s.Queues)].Name)
		w.turn++
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		// A queue without a record that can be read is shown without: it does not hide the others.
		trend, err := w.look.Trend(ctx, name, trendMinutes)
		if ctx.Err() != nil {
			return err
		}
		w.trends[name] = trend
	}
	return nil
}

// readWorkers reads the first pages of workers, and the tasks of the one that is looked at.
func (w *Watcher) readWorkers(ctx context.Context, s *Snapshot, want Want) error {
	if want.Worker != "" {
		worker, err := w.look.Worker(ctx, want.Queue, want.Worker)
		if err != nil && !errors.Is(err, inspect.ErrNotFound) {
			return err
		}
		s.Tasks = worker.Tasks
	}
	if !want.Workers {
		return nil
	}
	if want.FewWorkers && s.countWorkers() > fewWorkers {
		s.MoreWork = true
		return nil
	}
	err := w.sweepOn(ctx, s)
	s.Workers, s.MoreWork = w.sweep.whole, w.sweep.cut
	if len(w.sweep.found) > len(s.Workers) {
		s.Workers = w.sweep.found
	}
	s.Workers = slices.Clone(s.Workers)
	return err
}

// sweepOn reads the next workers. What comes after the last queue is the first one, in the next look.
func (w *Watcher) sweepOn(ctx context.Context, s *Snapshot) error {
	read := 0
	for pages := 0; pages < mostPages && read < mostRead; pages++ {
		at := slices.IndexFunc(s.Queues, func(q Queue) bool {
			return q.Name >= w.sweep.queue && q.Error == "" && (q.Workers.N > 0 || q.Running.N > 0)
		})
		if at < 0 || len(w.sweep.found) >= mostWorkers {
			w.sweep = sweep{whole: w.sweep.found, cut: at >= 0}
			return nil
		}
		if s.Queues[at].Name != w.sweep.queue {
			w.sweep.queue, w.sweep.after = s.Queues[at].Name, ""
		}
		page, err := w.look.Workers(ctx, w.sweep.queue, w.sweep.after)
		if err != nil {
			return err
		}
		read += len(page.Workers)
		w.sweep.found = append(w.sweep.found, page.Workers...)
		if w.sweep.after = page.Next; page.Next == "" {
			w.sweep.queue += "\x00" // the next name
		}
	}
	return nil
}

// readGroups groups the dead letters of the queues with most of them, now and then.
func (w *Watcher) readGroups(ctx context.Context, s *Snapshot, want Want) error {
	if want.Groups && s.At.Sub(w.grouped) >= groupsEvery {
		worst := slices.Clone(s.Queues)
		slices.SortStableFunc(worst, func(x, y Queue) int { return cmp.Compare(y.Dead.N, x.Dead.N) })
		w.groups = nil
		for i := range worst[:min(len(worst), mostGrouped)] {
			if worst[i].Dead.N == 0 {
				break
			}
			groups, _, err := w.look.LetterGroups(ctx, worst[i].Name)
			if err != nil {
				return err
			}
			for _, g := range groups {
				w.groups = append(w.groups, Group{Queue: worst[i].Name, LetterGroup: g})
			}
		}
		slices.SortStableFunc(w.groups, func(x, y Group) int { return cmp.Compare(y.N, x.N) })
		w.grouped = s.At
	}
	s.Groups = w.groups
	return nil
}

// Pause pauses a queue.
func (w *Watcher) Pause(ctx context.Context, queue string) error { return w.look.Pause(ctx, queue) }

// Resume resumes a queue.
func (w *Watcher) Resume(ctx context.Context, queue string) error { return w.look.Resume(ctx, queue) }
