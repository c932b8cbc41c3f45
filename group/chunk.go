package group

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// The states of an item. Whoever moves it away from itemWaiting decides whether it runs.
const (
	itemWaiting uint32 = iota
	itemRunning        // with the handler
	itemResult         // decided: it has a result
	itemFate           // decided: it has a fate
	itemTold           // recorded in Redis
)

// chunk is an entry of many items in this worker's hands. Its items run like tasks, one after the other on each slot that it has,
// and share one entry: one flight, and as a rule one commit. Its flight is in the pool like any other; more slots are had by tickets,
// which are flights without an entry.
type chunk struct {
	feed     *feed
	flight   *flight
	split    bool      // it was taken over, maybe because an item kills workers: each is to run as a task of its own
	single   wire.Task // an item, but for its ID and payload
	meta     Metadata  // of an item, but for its ID
	handler  Handler   // nil when this worker has none
	ids      string    // of all items
	payloads [][]byte
	results  [][]byte
	took     []time.Duration // nil when nobody asks

	state     []atomic.Uint32
	next      atomic.Int32 // the item to look at next
	undecided atomic.Int32
	weight    atomic.Int64 // bytes of results that are not recorded
	began     atomic.Int64 // when its first item started, in time since the worker began; 0 before
	busy, ran atomic.Int64 // nanoseconds of handlers, and how many items ran in these
	tickets   atomic.Int32 // in the pool or running

	mu      sync.Mutex
	fates   map[int]*fate
	runners map[*runner]struct{}
	cause   error        // why handlers are to stop, when halted
	stops   map[int]bool // items that were cancelled, if their handlers run
	halted  atomic.Bool  // cause or stops are set

	// What is recorded, see scatter.go.
	recording bool // a step is on its way
	again     bool // look for another one after it
	over      bool // the entry is gone
	known     string
	settled   wire.ItemSet

	watch watch
}

// How many bytes of results a chunk may gather before they are recorded, and before it is too much of it.
const (
	maxHeld  = 1 << 20
	mostHeld = 4 << 20
)

// newChunk opens an entry of items; it returns an error when the payload does not hold what the header says.
func newChunk(f *flight) (*chunk, error) {
	payloads, err := f.task.SplitItems()
	if err != nil {
		return nil, err
	}
	n := len(payloads)
	c := &chunk{
		feed: f.feed, flight: f, single: f.task, handler: f.feed.worker.mux.handlers[f.task.Function],
		ids: wire.ItemIDs(f.task.ID, n), payloads: payloads, results: make([][]byte, n), state: make([]atomic.Uint32, n),
		settled: wire.NewItemSet(n),
	}
	c.single.Items, c.single.Payload = 0, nil
	c.meta = f.metadata()
	if f.feed.worker.cfg.Hooks.Done != nil {
		c.took = make([]time.Duration, n)
	}
	c.undecided.Store(int32(n)) //nolint:gosec // at most wire.MaxItems
	c.tickets.Store(1)          // the flight itself
	return c, nil
}

// task is an item as a task of its own.
func (c *chunk) task(i int) wire.Task {
	t := c.single
	t.ID, t.Payload = wire.IDAt(c.ids, i), c.payloads[i]
	return t
}

// claim takes the next item that waits, or returns -1.
func (c *chunk) claim() int {
	for {
		i := int(c.next.Add(1)) - 1
		if i >= len(c.state) {
			return -1
		}
		if c.state[i].CompareAndSwap(itemWaiting, itemRunning) {
			return i
		}
	}
}

// claimAll takes all items that wait.
func (c *chunk) claimAll() []int {
	var all []int
	for {
		i := c.claim()
		if i < 0 {
			c.next.Store(int32(len(c.state))) //nolint:gosec // likewise
			return all
		}
		all = append(all, i)
	}
}

// succeed notes the result of an item.
func (c *chunk) succeed(i int, data []byte, took time.Duration) {
	c.results[i] = data
	if c.took != nil {
		c.took[i] = took
	}
	held := c.weight.Add(int64(len(data)))
	c.decided(i, itemResult)
	switch {
	case held >= mostHeld:
		c.handOverAll() // one by one they are bounded like all tasks
	case held >= maxHeld:
		c.record()
	}
}

// decided says that it is known what becomes of an item.
func (c *chunk) decided(i int, state uint32) {
	c.state[i].Store(state)
	if c.undecided.Add(-1) == 0 {
		c.record()
	}
}

// ticket asks for one more slot.
func (c *chunk) ticket() {
	c.tickets.Add(1)
	c.feed.worker.pool.push([]*flight{{feed: c.feed, task: wire.Task{ID: c.flight.task.ID}, chunk: c, item: noItem, arrived: time.Now()}})
}

// noItem is the item of a flight that is a chunk, or a ticket of one.
const noItem = -1

// run gives items to the handler until none waits. A goroutine of the pool that has a slot calls it, with the chunk's flight or a ticket.
func (c *chunk) run(ticket *flight) {
	w := c.feed.worker
	if ticket.started.IsZero() {
		ticket.started = time.Now()
	}
	defer func() { ticket.took = time.Since(ticket.started) }()
	c.began.CompareAndSwap(0, int64(max(ticket.started.Sub(w.began), 1)))
	r := &runner{chunk: c, ticket: ticket, mark: ticket.started}
	c.mu.Lock()
	if c.runners == nil {
		c.runners = map[*runner]struct{}{}
	}
	c.runners[r] = struct{}{}
	c.mu.Unlock()
	defer r.leave()
	if c.handler == nil {
		w.unknownItems(c)
		return
	}
	for r.work() {
	}
}

// runner is one goroutine with a slot that runs items of a chunk.
type runner struct {
	chunk   *chunk
	ticket  *flight
	current atomic.Pointer[itemContext]
	slab    []itemContext // of which so many are used
	used    int
	started time.Time // the item that runs, when somebody asks
	timer   *time.Timer
	mark    time.Time // since when the time of handlers is not counted
	count   int64     // of items since then
}

const (
	slabSize  = 64
	countSome = 64 // items
)

func (r *runner) leave() {
	c := r.chunk
	c.tickets.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runners, r)
}

// work runs items; it reports true when a handler panicked, and there may be more. One deferred function serves for all.
func (r *runner) work() (more bool) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if value := recover(); value != nil {
			more = r.end(nil, newPanicError(value))
			return
		}
		r.end(nil, newPanicError(errGoexit)) // and with it this goroutine: the watcher finds another one
	}()
	c := r.chunk
	for {
		i := c.claim()
		if i < 0 {
			break
		}
		data, err := c.handler(r.start(i), Task{Metadata: c.metadata(i), Payload: c.payloads[i]})
		if !r.end(data, err) {
			break
		}
	}
	returned = true
	return false
}

// start notes that an item runs.
func (r *runner) start(i int) *itemContext {
	c, w := r.chunk, r.chunk.feed.worker
	if r.used == len(r.slab) {
		r.slab, r.used = make([]itemContext, min(slabSize, len(c.state))), 0
	}
	x := &r.slab[r.used]
	r.used++
	x.chunk, x.item = c, i
	if c.meta.Timeout > 0 || c.took != nil {
		r.started = time.Now()
	}
	if c.meta.Timeout > 0 {
		f := x.real()
		f.started = r.started
		f.context.limit = r.started.Add(c.meta.Timeout)
		r.timer = time.AfterFunc(c.meta.Timeout+stuckGrace, func() { w.stuck(f) })
	}
	r.current.Store(x)
	if c.halted.Load() { // asked after interrupt can see the context
		c.endStopped(x)
	}
	if hook := w.cfg.Hooks.Waited; hook != nil {
		hook(c.metadata(i), c.flight.waited(time.Now()))
	}
	if hook := w.cfg.Hooks.Start; hook != nil {
		hook(x, c.metadata(i))
	}
	return x
}

// end decides what becomes of the item that ran, unless it took so long that this was decided without it: then the slot is another
// one's, and end reports false.
func (r *runner) end(data []byte, err error) bool {
	c, x := r.chunk, r.current.Load()
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if r.count++; r.count == countSome || c.undecided.Load() <= 1 {
		now := time.Now()
		c.busy.Add(int64(now.Sub(r.mark)))
		c.ran.Add(r.count)
		r.mark, r.count = now, 0
	}
	// Only one with a time that may be over has somebody else who decides.
	mine := c.meta.Timeout == 0 || x.real().move(flightRunning, flightEnded)
	if mine {
		var took time.Duration
		if c.took != nil {
			took = time.Since(r.started)
		}
		if err == nil && len(data) <= maxResult {
			c.succeed(x.item, data, took)
		} else {
			c.feed.decide(x.real(), data, err, took)
		}
	}
	x.conclude()
	if !mine {
		r.ticket.abandoned.Store(true)
	}
	return mine
}

// endStopped ends the context of an item if its handler is to stop.
func (c *chunk) endStopped(x *itemContext) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stops[x.item]:
		x.real().context.end(ErrCancelled)
	case c.cause != nil:
		x.real().context.end(c.cause)
	}
}

// interrupt cancels the contexts of the handlers that run.
func (c *chunk) interrupt(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cause = cause
	c.halted.Store(true) // BEFORE it looks for contexts
	for r := range c.runners {
		if x := r.current.Load(); x != nil {
			x.real().context.end(cause)
		}
	}
}

// each is the handler time of an item, in the mean; 0 when none has run.
func (c *chunk) each() time.Duration {
	if ran := c.ran.Load(); ran > 0 {
		return time.Duration(c.busy.Load() / ran)
	}
	return 0
}
