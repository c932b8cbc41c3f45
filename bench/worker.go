package main

import (
	"context"
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// tally counts the tasks that a worker runs, each by its number.
type tally struct {
	job   job
	voice *voice
	pace  *pacer
	seen  []uint64  // a bit for each task
	late  []float32 // ms, by number
	ran   atomic.Int64
	twice atomic.Int64
	first atomic.Int64 // when the first handler started
	all   chan struct{}
}

func newTally(j job, v *voice) *tally {
	const least = 1 << 16 // numbers, when nobody says how many
	t := &tally{job: j, voice: v, pace: newPacer(j.Pace), all: make(chan struct{})}
	numbers := max(j.Tasks, j.Sent)
	if numbers == 0 {
		numbers = least
	}
	t.seen = make([]uint64, (numbers+63)/64)
	if j.Late {
		t.late = make([]float32, j.Tasks)
	}
	return t
}

// handle is the handler of every task.
func (t *tally) handle(payload []byte) {
	index, at, ok := readPayload(payload)
	t.start(index, at)
	t.pace.wait()
	if t.job.Sleep > 0 {
		t.sleep(index)
	}
	word, bit := index/64, uint64(1)<<(index%64)
	if !ok || word >= uint64(len(t.seen)) || atomic.OrUint64(&t.seen[word], bit)&bit != 0 {
		t.twice.Add(1)
		return
	}
	if t.ran.Add(1) == int64(t.job.Tasks) {
		close(t.all)
	}
}

// start looks at the clock for the first task, and for every task when somebody wants to know.
func (t *tally) start(index uint64, at int64) {
	if t.first.Load() != 0 && !t.job.Tell && t.late == nil {
		return
	}
	now := time.Now().UnixNano()
	t.first.CompareAndSwap(0, now)
	if t.job.Tell {
		t.voice.say(report{Event: "start", At: now, Since: now - at, Index: index})
	}
	if index < uint64(len(t.late)) {
		t.late[index] = float32(now-at) / 1e6
	}
}

func (t *tally) sleep(index uint64) {
	<-time.After(t.job.Sleep)
	if t.job.Tell {
		t.voice.say(report{Event: "end", At: time.Now().UnixNano(), Index: index})
	}
}

// count is how many different tasks ran.
func (t *tally) count() (n int64) {
	for i := range t.seen {
		n += int64(bits.OnesCount64(atomic.LoadUint64(&t.seen[i])))
	}
	return n
}

// lateness is how late tasks started, in ms: the median, the 99th percentile, and the least, which is below 0 for one that was early.
func (t *tally) lateness() []float64 {
	if len(t.late) == 0 {
		return nil
	}
	all := make([]float64, len(t.late))
	for i, ms := range t.late {
		all[i] = float64(ms)
	}
	return []float64{quantile(all, 0.5), quantile(all, 0.99), quantile(all, 0)}
}

// report is what is known so far.
func (t *tally) report(event string) report {
	return report{Event: event, Count: t.count(), Twice: t.twice.Load()}
}

// withQueue connects a process to the queue of its system while it does something.
func withQueue(ctx context.Context, j job, do func(q queue) error) error {
	s, err := systemNamed(j.System)
	if err != nil {
		return err
	}
	q, err := s.open(ctx, j.Address)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	if j.Work.Queues > 1 {
		many, ok := q.(spreader)
		if !ok {
			return errors.New(j.System + " has one queue only")
		}
		many.Spread(j.Work.Queues)
	}
	return do(q)
}

// work is the worker process.
func work(ctx context.Context, j job, v *voice, words <-chan string) error {
	t := newTally(j, v)
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, cpu := make(chan error, 1), ownCPU()
	go func() { ended <- workAll(running, j, t) }()
	v.say(report{Event: "ready"})
	for all := t.all; ; {
		select {
		case <-all:
			all = nil
			if err := t.finish(ctx, cpu); err != nil {
				return err
			}
		case word, ok := <-words:
			if ok && word == "cpu" {
				v.say(report{Event: "cpu", CPU: ownCPU()})
				continue
			}
			cancel()
			select {
			case err := <-ended:
				v.say(t.report("bye"))
				return err
			case <-time.After(leaveTime / 2):
				v.say(t.report("bye"))
				return errors.New("the worker does not stop")
			}
		case err := <-ended:
			return errors.Join(errors.New("the worker ended by itself"), err)
		}
	}
}

// workAll runs as many workers as the job wants, each with a connection of its own.
func workAll(ctx context.Context, j job, t *tally) error {
	group, ctx := errgroup.WithContext(ctx)
	for range max(1, j.Work.Workers) {
		group.Go(func() error {
			return withQueue(ctx, j, func(q queue) error { return q.Work(ctx, j.Work, t.handle) })
		})
	}
	return group.Wait()
}

// finish reports that all tasks ran, once the server has none left. The CPU time is what was used since the worker began.
func (t *tally) finish(ctx context.Context, began float64) error {
	if !t.job.Stay {
		if err := withQueue(ctx, t.job, func(q queue) error { return drained(ctx, q, max(t.job.Poll, time.Millisecond)) }); err != nil {
			return err
		}
	}
	r := t.report("done")
	r.Seconds, r.CPU, r.Times = time.Duration(time.Now().UnixNano()-t.first.Load()).Seconds(), ownCPU()-began, t.lateness()
	t.voice.say(r)
	return nil
}

// drained waits until the server has no task left.
func drained(ctx context.Context, q queue, poll time.Duration) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		left, err := q.Left(ctx)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
