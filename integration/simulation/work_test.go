package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

const (
	queue    = "q"
	keep     = time.Hour
	retryFor = 20 * time.Second
	drain    = 2 * time.Second
)

// work is the one function.
var work = stream.Func[order, int]{Name: "work", Queue: queue}

var (
	errFails = errors.New("this attempt fails")
	errDrops = errors.New("this task is dropped")
)

func (o *order) value() int { return o.N*7919 + 13 }

// right tells what is wrong with an outcome, "" for nothing.
func (o *order) right(value int, err error) string {
	var failed *stream.TaskError
	switch {
	case err == nil && o.Drops:
		return "has a result, and is one to be dropped"
	case err == nil && value != o.value():
		return fmt.Sprintf("has the result %d, want %d", value, o.value())
	case err == nil:
		return ""
	case errors.As(err, &failed) && o.Drops && failed.Message == errDrops.Error():
		return ""
	}
	return fmt.Sprintf("has failed: %v", err)
}

// hire starts a worker.
func (w *world) hire(ctx context.Context) {
	p, err := w.start(fmt.Sprintf("worker %d", len(w.everybody())+1))
	if err == nil {
		p.member, err = group.NewWorker(p.store, group.Config{
			Queues: w.queues(), Concurrency: w.plan.slots, Lease: w.plan.lease, Drain: drain,
			Backoff: group.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond},
		})
	}
	if err != nil {
		w.complain("start a worker: %v", err)
		return
	}
	w.remainder(1).Handle(p.member)
	group.Handle(p.member, work, func(ctx context.Context, o order) (int, error) { return w.handle(ctx, p, &o) })
	ctx, stop := context.WithCancel(ctx)
	p.stop = stop
	w.mu.Lock()
	w.hired = append(w.hired, p)
	w.mu.Unlock()
	go func() {
		defer close(p.ended)
		defer p.close()
		if err := p.member.Run(ctx); err != nil && p.alive() {
			w.tell("%s has ended with %v", p.name, err)
		}
	}()
}

// queues are those that workers read.
func (w *world) queues() []group.Queue {
	all := []group.Queue{{Name: queue}}
	if slices.ContainsFunc(w.plan.lasting, func(l lasting) bool { return l.run }) {
		all = append(all, group.Queue{Name: runs})
	}
	return all
}

// replace starts a worker instead of one that is gone, after a while.
func (w *world) replace(after time.Duration) {
	w.replacing.Add(1)
	time.AfterFunc(after, func() {
		defer w.replacing.Done()
		w.hire(w.ctx)
	})
}

// workers are those that are not killed.
func (w *world) workers() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	var alive []*process
	for _, p := range w.hired {
		if p.alive() {
			alive = append(alive, p)
		}
	}
	return alive
}

// handle is the handler of work.
func (w *world) handle(ctx context.Context, p *process, o *order) (int, error) {
	meta := group.Meta(ctx)
	if p.alive() {
		w.ledger.started(w, p, o.N, meta)
	}
	if o.Takes > 0 {
		timer := time.NewTimer(o.Takes)
		defer timer.Stop()
		done := ctx.Done()
		if w.plan.stubborn {
			done = nil
		}
		select {
		case <-timer.C:
		case <-done:
			return 0, fmt.Errorf("stopped: %w", context.Cause(ctx))
		}
	}
	switch {
	case meta.Attempt <= o.Fails:
		return 0, errFails
	case o.Drops:
		return 0, group.Drop(errDrops)
	}
	return o.value(), nil
}

// replyTTL is for how long Redis keeps outcomes for a client that is silent. Where data may be lost it is shorter than a client may be cut
// off: then to the client that is a loss.
func (w *world) replyTTL() time.Duration {
	if w.plan.lossy {
		return 5 * time.Second
	}
	return time.Minute
}

// open starts a client.
func (w *world) open(name string) (*process, *stream.Client, error) {
	p, err := w.start(name)
	if err != nil {
		return nil, nil, err
	}
	client, err := stream.NewClient(p.store, stream.ClientConfig{ReplyTTL: w.replyTTL(), RetryFor: retryFor})
	return p, client, err
}

// place orders one task, and waits for what is to be waited for.
func (w *world) place(ctx context.Context, client *stream.Client, o *order) {
	w.ledger.ordered(o)
	switch o.way {
	case forget:
		_, err := work.Enqueue(ctx, client, *o)
		w.ledger.stored(w, o, "", err)
	case kept:
		id, err := work.Enqueue(ctx, client, *o, stream.Keep(keep))
		w.ledger.stored(w, o, id, err)
	case delayed:
		id, err := work.Enqueue(ctx, client, *o, stream.Keep(keep), stream.After(o.wait))
		w.ledger.stored(w, o, id, err)
	case cancelled:
		ctx, leave := context.WithTimeout(ctx, o.wait)
		defer leave()
		value, err := work.Call(ctx, client, *o)
		w.ledger.left(w, o, value, err)
	default:
		value, err := work.Call(ctx, client, *o)
		w.ledger.outcome(w, o, value, err)
	}
}

// spreadOut runs a batch.
func (w *world) spreadOut(ctx context.Context, client *stream.Client, b *batch) {
	options := []mapreduce.Option{mapreduce.Chunk(b.chunk), mapreduce.Window(b.window)}
	if b.ordered {
		options = append(options, mapreduce.InOrder())
	}
	run := mapreduce.Map(ctx, client, work, func(yield func(order) bool) {
		for i := range b.orders {
			w.ledger.ordered(&b.orders[i])
			if !yield(b.orders[i]) {
				return
			}
		}
	}, options...)
	next := 0
	for r := range run.Results() {
		w.ledger.outcome(w, &b.orders[r.Index], r.Value, r.Err)
		if b.ordered && r.Index != next {
			w.complain("a batch in order has handed out %d, want %d", r.Index, next)
		}
		next++
	}
	if err := run.Err(); err != nil {
		w.complain("a batch has ended with %v", err)
	} else if next != len(b.orders) {
		w.complain("a batch of %d has handed out %d results", len(b.orders), next)
	}
}

// ledger is what is known of each task.
type ledger struct {
	mu    sync.Mutex
	tasks map[int]*entry
}

type entry struct {
	order    *order
	ordered  time.Time
	id       string
	acked    bool
	unsure   bool
	refusal  error
	outcomes int
	starts   int
}

func newLedger() *ledger { return &ledger{tasks: make(map[int]*entry)} }

func (l *ledger) ordered(o *order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks[o.N] = &entry{order: o, ordered: time.Now()}
}

// started notes that a handler was called.
func (l *ledger) started(w *world, p *process, n int, meta group.Metadata) {
	w.tell("%s starts %d, attempt %d, entry %s", p.name, n, meta.Attempt, meta.Entry)
	l.mu.Lock()
	e := l.tasks[n]
	e.starts++
	early := e.order.way == delayed && time.Since(e.ordered) < e.order.wait
	failed := e.order.Fails
	l.mu.Unlock()
	if early {
		w.complain("task %d runs %v after it was ordered, and is due after %v", n, time.Since(e.ordered), e.order.wait)
	}
	if meta.Attempt > failed+1 {
		w.complain("task %d is at attempt %d, and fails %d times only", n, meta.Attempt, failed)
	}
}

// stored notes what an enqueue said.
func (l *ledger) stored(w *world, o *order, id string, err error) {
	w.tell("task %d is stored as %s: %v", o.N, id, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.tasks[o.N]
	e.id, e.acked = id, err == nil
	switch {
	case errors.Is(err, stream.ErrUnknownOutcome):
		e.unsure = true
	case err != nil:
		e.refusal = err
	}
}

// outcome notes what a caller heard.
func (l *ledger) outcome(w *world, o *order, value int, err error) {
	w.tell("task %d ends with %d, %v", o.N, value, err)
	l.mu.Lock()
	e := l.tasks[o.N]
	e.acked = true
	e.outcomes++
	again := e.outcomes > 1
	l.mu.Unlock()
	if again {
		w.complain("task %d has a second outcome: %d, %v", o.N, value, err)
	}
	if wrong := o.right(value, err); wrong != "" {
		w.complain("task %d %s", o.N, wrong)
	}
}

// left notes what a caller heard that does not wait for long.
func (l *ledger) left(w *world, o *order, value int, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		w.tell("the caller of task %d leaves", o.N)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tasks[o.N].unsure = true
		return
	}
	l.outcome(w, o, value, err)
}
