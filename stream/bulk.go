package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/athoune/worker-machine/internal/script"
)

// EnqueueAll stores a task for each input. What the inputs yield while some tasks are on their way goes with the next round trip, so
// that a slow sequence has each task stored at once and a fast one many together; no more than two round trips of them are held.
// It stops at the first error and says how many were stored for certain. A duplicate under [Unique] counts as stored.
func (f Func[In, Out]) EnqueueAll(ctx context.Context, c *Client, inputs iter.Seq[In], options ...Option) (n int, err error) {
	l, err := c.lane(f.queue())
	if err != nil {
		return 0, f.wrap("enqueue all", err)
	}
	b := &bulk{lane: l, next: &ticket{forget: true}, done: make(chan struct{})}
	b.changed.L = &b.mu
	go b.send(ctx)
	defer b.end() // also when the inputs panic
	headers, done := c.Sending(ctx, Sending{Verb: "enqueue all", Queue: f.queue(), Function: f.Name})
	defer func() { done(err) }()
	var bad error
	o := new(order) // of one input after the other
	for in := range inputs {
		bad = f.fill(o, c, in, options)
		if o.addHeaders(headers); bad != nil || !b.add(o) {
			break
		}
	}
	n, err = b.finish() // what came before a bad input is stored
	return n, f.wrap("enqueue all", errors.Join(bad, err))
}

// bulk is one EnqueueAll: its caller adds tasks, and a goroutine stores what has gathered.
type bulk struct {
	lane *lane
	text []byte        // the tasks lie in it
	done chan struct{} // the goroutine has ended

	mu      sync.Mutex
	changed sync.Cond
	next    *ticket // gathers
	ended   bool    // nothing is added any more
	n       int     // stored for certain
	err     error   // the first: nothing is stored after it
}

// add waits until there is room for a task; it reports false when storing has failed.
func (b *bulk) add(o *order) bool {
	task := b.encode(o) // while others are on their way
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && len(b.next.tasks) > 0 && (len(b.next.tasks) >= maxBatchTasks || b.next.size+o.size() > maxBatchBytes) {
		b.changed.Wait()
	}
	t := b.next
	t.tasks, t.size, t.replicas = append(t.tasks, task), t.size+o.size(), o.replicas
	b.changed.Broadcast()
	return b.err == nil
}

// encode puts small tasks one behind the other, in memory that many share.
func (b *bulk) encode(o *order) (task script.LaneTask) {
	const room, small = 64 << 10, 4 << 10
	size := o.size()
	if size > small {
		return o.laneTask()
	}
	if cap(b.text)-len(b.text) < size {
		b.text = make([]byte, 0, room)
	}
	task, b.text = o.appendTask(b.text)
	return task
}

// end says that nothing is added any more.
func (b *bulk) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.changed.Broadcast()
}

// finish waits until all that was added is stored or has failed.
func (b *bulk) finish() (n int, err error) {
	b.end()
	<-b.done
	return b.n, b.err
}

func (b *bulk) send(ctx context.Context) {
	defer close(b.done)
	for {
		b.mu.Lock()
		for len(b.next.tasks) == 0 && !b.ended {
			b.changed.Wait()
		}
		t := b.next
		b.next = &ticket{forget: true}
		b.changed.Broadcast()
		b.mu.Unlock()
		if len(t.tasks) == 0 {
			return
		}
		n, err := b.lane.storeAll(ctx, t)
		b.mu.Lock()
		b.n, b.err = b.n+n, err
		b.changed.Broadcast()
		b.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// storeAll stores a ticket and counts what is stored: those before the first one that was refused.
func (l *lane) storeAll(ctx context.Context, t *ticket) (n int, err error) {
	if err = l.store(ctx, t); err != nil {
		return 0, err
	}
	for i := range t.tasks {
		if !t.stored.All() && t.place(i).Full {
			return n, ErrQueueFull
		}
		n++
	}
	if t.stored.Replicas < t.replicas {
		return n, fmt.Errorf("%w: %d of %d", ErrNotReplicated, t.stored.Replicas, t.replicas)
	}
	return n, nil
}
