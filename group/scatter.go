package group

import (
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// Most one call of scatter may hold.
const (
	maxScatterChunks = 64
	maxScatterBytes  = 1 << 20
)

// scatterer records what became of the items of chunks, for one queue. What gathers while a call is under way goes with the next one.
// Its goroutine lives while there is something to record.
type scatterer struct {
	feed *feed

	mu      sync.Mutex
	waiting []*chunk
	running bool
}

// record has what is decided and not recorded yet recorded, together with the end of the chunk when all is decided. One step of a
// chunk is on its way at a time.
func (c *chunk) record() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if c.recording {
		c.again = true
		return
	}
	c.recording, c.again = true, false
	c.feed.scatters.add(c)
}

// recorded ends a step, and begins another one if there is something to record since it began.
func (c *chunk) recorded(over bool) {
	c.mu.Lock()
	c.recording, c.over = false, over
	again := c.again || c.undecided.Load() == 0
	c.mu.Unlock()
	if again {
		c.record()
	}
}

func (s *scatterer) add(c *chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, c)
	if !s.running {
		s.running = true
		go s.work()
	}
}

// backlog is how many chunks wait.
func (s *scatterer) backlog() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

func (s *scatterer) work() {
	for {
		s.mu.Lock()
		waiting := s.waiting
		s.waiting = nil
		if len(waiting) == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for len(waiting) > 0 {
			batch, bytes := make([]*draft, 0, min(len(waiting), maxScatterChunks)), 0
			for len(waiting) > 0 && len(batch) < maxScatterChunks && bytes < maxScatterBytes {
				d := waiting[0].draft()
				waiting = waiting[1:]
				if d == nil {
					continue
				}
				batch = append(batch, d)
				bytes += d.size
			}
			if len(batch) > 0 {
				s.send(batch)
			}
		}
	}
}

// send repeats until it is known what became of each chunk, or the worker's life ended.
func (s *scatterer) send(batch []*draft) {
	f := s.feed
	var fails patience
	for again := false; f.worker.life.Err() == nil; again = true {
		err := s.call(batch, again)
		if err == nil {
			return
		}
		if len(batch) > 1 && isOwnFault(err) { // one of them may be what Redis does not take
			for _, d := range batch {
				go s.send([]*draft{d})
			}
			return
		}
		f.log.Warn("cannot record what became of chunks, trying again", zap.Int("chunks", len(batch)), zap.Error(err))
		if conn.IsNoGroup(err) {
			if err := f.makeGroup(f.worker.life); err != nil {
				f.log.Warn("cannot make the group", zap.Error(err))
			}
		}
		if len(batch) == 1 && isOwnFault(err) && !again {
			go s.send(batch) // it must not hold up others
			return
		}
		fails.pause(f.worker.life)
	}
}

func (s *scatterer) call(batch []*draft, again bool) error {
	w := s.feed.worker
	chunks, items := make([]script.ScatterChunk, len(batch)), 0
	for i, d := range batch {
		chunks[i] = d.order
		items += d.count()
	}
	var err error
	tell := s.feed.hookCommitted(items, &err)
	answers, err := w.store.Scripts().Scatter(w.life, script.ScatterBatch{
		Keys: s.feed.keys, Group: w.store.Group(), Consumer: w.name, Chunks: chunks,
	})
	tell()
	if err != nil {
		return err
	}
	for i, d := range batch {
		d.answered(answers[i], again)
	}
	return nil
}

// draft is one step of a chunk on its way to Redis.
type draft struct {
	chunk *chunk
	final bool
	told  []int // the items of this step; nil for all
	order script.ScatterChunk
	size  int
}

// count is how many items the step is of.
func (d *draft) count() int {
	if d.told == nil && d.final {
		return len(d.chunk.state)
	}
	return len(d.told)
}

// draft gathers what is to be recorded; nil when there is nothing.
func (c *chunk) draft() *draft {
	d := &draft{chunk: c, final: c.undecided.Load() == 0}
	mixed := !d.final || c.known != ""
	c.mu.Lock()
	mixed = mixed || len(c.fates) > 0
	c.mu.Unlock()
	if mixed {
		d.told = c.untold()
	}
	if mixed && len(d.told) == 0 && !d.final {
		c.recorded(false)
		return nil
	}
	d.order = script.ScatterChunk{Entry: c.flight.entry, ID: c.flight.task.ID, Reply: c.flight.task.Reply, Known: c.known}
	if mixed {
		d.mixed()
	} else {
		d.plain()
	}
	d.size += len(d.order.Outcome)
	return d
}

// untold are the items that are decided and not recorded.
func (c *chunk) untold() []int {
	var untold []int
	for i := range c.state {
		if state := c.state[i].Load(); (state == itemResult || state == itemFate) && !c.settled.Has(i) {
			untold = append(untold, i)
		}
	}
	return untold
}

// plain is for a chunk all of whose items have results.
func (d *draft) plain() {
	c := d.chunk
	d.order.Totals = []script.Total{{Name: "done", N: len(c.results)}}
	if d.order.Reply == "" {
		return
	}
	w := wire.NewPackWriter(len(c.results), c.each(), false, int(c.weight.Load()))
	for _, data := range c.results {
		w.Add(wire.KindResult, data)
	}
	d.order.Outcome = w.Text()
}

// mixed is for any other.
func (d *draft) mixed() {
	c := d.chunk
	w := wire.NewPackWriter(len(c.state), c.each(), true, int(c.weight.Load()))
	totals := map[string]int{}
	settled := wire.NewItemSet(len(c.state))
	next := 0
	for i := range c.state {
		if c.settled.Has(i) {
			settled.Add(i)
		}
		if next == len(d.told) || d.told[next] != i {
			w.Add(wire.KindNone, nil)
			continue
		}
		next++
		settled.Add(i)
		if c.state[i].Load() == itemResult {
			w.Add(wire.KindResult, c.results[i])
			totals["done"]++
			continue
		}
		fate := c.fate(i)
		w.Add(fate.kind, fate.failure)
		totals[fate.total]++
		d.order.Own = d.order.Own || fate.own()
		if fate.step != nil {
			d.order.Steps = append(d.order.Steps, *fate.step)
			d.size += fate.step.Size()
		}
	}
	for name, n := range totals {
		d.order.Totals = append(d.order.Totals, script.Total{Name: name, N: n})
	}
	if !d.final {
		d.order.Own, d.order.Settled = true, settled.String()
	}
	if len(d.told) > 0 {
		d.order.Outcome = w.Text()
	}
}

func (c *chunk) fate(i int) *fate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fates[i]
}

// answered acts on what Redis answered. After a repetition a chunk that is gone may well be what an earlier try ended.
func (d *draft) answered(answer script.Scattered, again bool) {
	c := d.chunk
	switch {
	case answer.Kept != "":
		c.learn(answer.Kept)
		c.recorded(false)
		if d.final {
			c.record()
		}
		return
	case d.final:
		c.feed.flights.remove(c.flight)
		c.feed.chunks.remove(c)
	}
	if answer.Done || d.final && again {
		d.done()
	} else {
		d.refused()
	}
	c.recorded(d.final)
	c.feed.worker.settled(&c.feed.commits)
}

// learn takes over the note of what was settled by somebody else, or by an earlier step whose answer was lost.
func (c *chunk) learn(kept string) {
	settled, err := wire.ParseItemSet(kept, len(c.state))
	if err != nil {
		c.feed.log.Error("the note of a chunk is none, its items are done anew",
			zap.String("entry", c.flight.entry), zap.String("note", kept), zap.Error(err))
		settled = wire.NewItemSet(len(c.state))
	}
	c.known, c.settled = kept, settled
}

// done notes what is recorded, and tells it.
func (d *draft) done() {
	c, hooks := d.chunk, &d.chunk.feed.worker.cfg.Hooks
	if !d.final {
		c.known = d.order.Settled
		for _, i := range d.told {
			c.settled.Add(i)
			c.weight.Add(-int64(len(c.results[i])))
		}
	}
	if n := count(d.order.Totals, "done"); n > 0 {
		c.feed.deeds.items(c, n)
	}
	released := 0
	d.each(func(i int) {
		if fate := c.fate(i); fate == nil {
			if hooks.Done != nil {
				hooks.Done(c.metadata(i), c.took[i])
			}
		} else if fate.tell != nil {
			fate.tell()
		} else {
			released++
		}
		if d.told != nil {
			c.results[i] = nil
		}
	})
	c.feed.worker.hookReleased(c.feed, released)
}

// each calls a function for each item of the step that somebody may want to hear of.
func (d *draft) each(tell func(i int)) {
	if d.told != nil {
		for _, i := range d.told {
			tell(i)
		}
	} else if hooks := &d.chunk.feed.worker.cfg.Hooks; hooks.Done != nil || hooks.Late != nil {
		for i := range d.chunk.state {
			tell(i)
		}
	}
}

// refused tells of outcomes that came too late. Should the entry still be pending here, as after a lease that was lost and found
// again, it runs once more. A step of a chunk that runs on is refused when the entry is with another worker: it goes on all the same,
// since its results may yet be the first.
func (d *draft) refused() {
	c := d.chunk
	if !d.final {
		return
	}
	c.feed.wantAudit()
	if hook := c.feed.worker.cfg.Hooks.Late; hook != nil {
		d.each(func(i int) { hook(c.metadata(i)) })
	}
}

// chunks are those that a feed has in hand.
type chunks struct {
	mu       sync.Mutex
	all      []*chunk
	watching bool
}

func (s *chunks) list() []*chunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func (s *chunks) remove(c *chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.all, c); i >= 0 {
		s.all = slices.Delete(s.all, i, i+1)
	}
}

// named are those with an ID: more than one only after a loss of data.
func (s *chunks) named(id string) []*chunk {
	return slices.DeleteFunc(s.list(), func(c *chunk) bool { return c.flight.task.ID != id })
}

// eachChunk does something with each chunk in hand.
func (w *Worker) eachChunk(do func(*chunk)) {
	for _, f := range w.feeds {
		for _, c := range f.chunks.list() {
			do(c)
		}
	}
}

// recording tells whether outcomes of items are on their way to Redis.
func (w *Worker) recording() (any bool) {
	w.eachChunk(func(c *chunk) {
		c.mu.Lock()
		defer c.mu.Unlock()
		any = any || c.recording
	})
	return any
}
