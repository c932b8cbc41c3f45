package group

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
)

// committer records the results of one queue. What gathers while a commit is under way goes into the next one, so that a lone
// result does not wait and many share a round trip. Its goroutine lives while there is something to record.
type committer struct {
	feed *feed

	mu      sync.Mutex
	waiting []result
	spare   []result // the other one of two buffers
	running bool
	fails   patience
}

// result is a flight with its outcome as the reply stream takes it.
type result struct {
	flight  *flight
	outcome string
	took    time.Duration
}

func (c *committer) add(r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, r)
	if !c.running {
		c.running = true
		go c.work()
	}
}

// backlog is how many results wait.
func (c *committer) backlog() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

func (c *committer) work() {
	for {
		c.mu.Lock()
		if len(c.waiting) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		batch := c.waiting
		c.waiting = c.spare[:0]
		c.mu.Unlock()
		slices.SortFunc(batch, inOrder) // neighbours are removed together
		for rest := batch; len(rest) > 0; {
			n := portion(rest)
			if !c.commit(rest[:n]) {
				return // the worker is gone, and running stays set: nothing is recorded any more
			}
			rest = rest[n:]
		}
		c.feed.worker.settled(c)
		clear(batch)
		c.spare = batch
	}
}

// inOrder compares results by how their entries came.
func inOrder(a, b result) int {
	return cmp.Or(cmp.Compare(a.flight.read, b.flight.read), a.flight.place-b.flight.place)
}

// portion is how many results go into one commit.
func portion(batch []result) int {
	bytes := 0
	for i := range batch {
		bytes += len(batch[i].outcome)
		if i > 0 && (i == script.MaxCommitItems || bytes > script.MaxCommitBytes) {
			return i
		}
	}
	return len(batch)
}

// commit records results and repeats that until it is known; it reports false when the worker's life ended before. Repeating is
// safe: what was recorded comes back as late.
func (c *committer) commit(batch []result) bool {
	c.fails.reset()
	for tries := 0; ; tries++ {
		late, err := c.call(batch)
		if err == nil {
			c.confirm(batch, late, tries > 0)
			return true
		}
		if len(batch) > 1 && isOwnFault(err) {
			// One of them may be what Redis does not take: the others must not wait for it.
			for i := range batch {
				c.commitAlone(batch[i])
			}
			return true
		}
		c.feed.log.Warn("cannot record results, trying again", zap.Int("results", len(batch)), zap.Error(err))
		if !c.fails.pause(c.feed.worker.life) {
			return false
		}
	}
}

// commitAlone leaves one result to the settler, which repeats it without holding up others.
func (c *committer) commitAlone(r result) {
	c.feed.settles.add(settlement{what: "record a result", flight: r.flight, try: func(_ context.Context, again bool) error {
		one := []result{r}
		late, err := c.call(one)
		if err == nil {
			c.confirm(one, late, again)
		}
		return err
	}})
}

func (c *committer) call(batch []result) (late []int, err error) {
	f := c.feed
	items := make([]script.CommitItem, len(batch))
	fence := batch[0].flight.fence
	for i := range batch {
		flight := batch[i].flight
		items[i] = script.CommitItem{
			Entry: flight.entry, Read: flight.read, Place: flight.place,
			TaskID: flight.task.ID, Reply: flight.task.Reply, Unique: flight.task.Unique, Outcome: batch[i].outcome,
		}
		if flight.fence != fence {
			fence = ""
		}
	}
	defer f.hookCommitted(len(batch), &err)()
	return f.worker.store.Scripts().Commit(f.worker.life, script.CommitBatch{
		Keys: f.keys, Group: f.worker.store.Group(), Worker: f.worker.name, Fence: fence, Counter: "done", Items: items,
	})
}

// hookCommitted tells of a call that records outcomes, once the function is called that it returns.
func (f *feed) hookCommitted(tasks int, err *error) func() {
	hook := f.worker.cfg.Hooks.Committed
	if hook == nil {
		return func() {}
	}
	began := time.Now()
	return func() { hook(f.queue.Name, tasks, time.Since(began), *err) }
}

// confirm forgets what is recorded. After a retry a late one may well be what the first try recorded, so it counts as done.
func (c *committer) confirm(batch []result, late []int, retried bool) {
	done := make([]*flight, len(batch))
	for i := range batch {
		done[i] = batch[i].flight
	}
	c.feed.flights.remove(done...)
	noted := late
	if retried {
		noted = nil
	}
	c.feed.deeds.done(batch, noted)
	hooks := &c.feed.worker.cfg.Hooks
	if hooks.Done == nil && hooks.Late == nil {
		return
	}
	for i := range batch {
		switch {
		case len(late) > 0 && late[0] == i:
			late = late[1:]
			if !retried && hooks.Late != nil {
				hooks.Late(batch[i].flight.metadata())
			}
			if !retried {
				continue
			}
			fallthrough
		default:
			if hooks.Done != nil {
				hooks.Done(batch[i].flight.metadata(), batch[i].took)
			}
		}
	}
}

// isOwnFault tells whether Redis refused a call for what it says, so that other calls may pass.
func isOwnFault(err error) bool {
	answer, ok := errors.AsType[redis.Error](err)
	if !ok || conn.IsFull(err) || conn.IsAuth(err) {
		return false
	}
	for _, prefix := range []string{
		"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MOVED", "ASK", "BUSY", "UNKILLABLE",
	} {
		if redis.HasErrorPrefix(answer, prefix) {
			return false
		}
	}
	return true
}
