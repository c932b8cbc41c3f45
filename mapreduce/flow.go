package mapreduce

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// flow is what the goroutines of one batch share: the feeder takes inputs in, the sender takes parcels of them out, the collector brings
// outcomes, the loop over the results takes those. An input holds its place in the window, and its bytes, from the moment it is
// taken until its result is handed to the loop: that alone bounds every queue below.
type flow[In, Out any] struct {
	limits limits
	now    func() time.Time

	// Each wakes one goroutine that waits for a change; they are sent to after mu is released or under it, and never block.
	room, work, news signal

	out     atomic.Int64 // inputs taken whose results are not yet handed to the loop
	starved atomic.Bool  // the feeder waits for room
	low     int64        // wake it when so few are out, or nothing is left to hand out

	mu       sync.Mutex
	idle     bool                   // the sender waits for work
	taken    int                    // inputs taken so far, those skipped included
	skipped  int                    // that were delivered before the batch was resumed, as far as they were met
	resumed  int                    // and all of them
	outBytes int64                  // payloads of those out, and results that wait
	forming  *parcel[In]            // takes inputs
	queue    []*parcel[In]          // to be sent
	sizer    sizer                  // of parcels
	weight   int                    // bytes of an input, by the last parcel
	waiting  map[string]*parcel[In] // outcomes not in, by ID of the task or chunk
	ready    rack[In, Out]
	over     bool  // no further inputs
	stopped  error // why the batch ends early
	failures []error
	done     int
	failed   int
	meter    meter
}

// signal wakes one waiting goroutine; one that is not waiting finds it later.
type signal chan struct{}

func (s signal) give() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// wait returns false when ctx is done first.
func (s signal) wait(ctx context.Context) bool {
	select {
	case <-s:
		return true
	case <-ctx.Done():
		return false
	}
}

func newFlow[In, Out any](l limits, now func() time.Time) *flow[In, Out] {
	return &flow[In, Out]{
		limits:  l,
		now:     now,
		room:    make(signal, 1),
		work:    make(signal, 1),
		news:    make(signal, 1),
		low:     int64(l.window - max(1, l.window/shares)),
		sizer:   newSizer(l.chunk, l.window),
		waiting: make(map[string]*parcel[In]),
		ready:   rack[In, Out]{ordered: l.ordered},
	}
}

// start begins to count time.
func (f *flow[In, Out]) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.meter.started = f.now()
}

// admit takes in one input with its payload, once there is room for its bytes, and returns once the window has a place for another one.
// A payload above the whole limit goes alone. It returns false when the batch is over.
func (f *flow[In, Out]) admit(ctx context.Context, input In, payload []byte) bool {
	bytes := int64(len(payload))
	fits := func() bool { return f.out.Load() == 0 || f.outBytes+bytes <= f.limits.windowBytes }
	if !f.await(ctx, fits) {
		return false
	}
	if p := f.forming; p != nil && (len(p.inputs) >= f.sizer.size || len(p.pack)+len(payload) > chunkBytes) {
		f.seal()
	}
	if f.forming == nil {
		f.forming = newParcel[In](f.taken, min(f.sizer.size, f.limits.window), f.weight)
	}
	p := f.forming
	p.inputs = append(p.inputs, input)
	p.pack = wire.AppendItem(p.pack, payload)
	p.bytes += bytes
	f.taken++
	f.outBytes += bytes
	room := f.out.Add(1) < int64(f.limits.window)
	idle := f.idle
	f.mu.Unlock()
	if idle {
		f.work.give()
	}
	return room || f.awaitPlace(ctx)
}

// seal ends the parcel that takes inputs; mu is held.
func (f *flow[In, Out]) seal() {
	if f.forming == nil {
		return
	}
	f.forming.left = len(f.forming.inputs)
	f.weight = len(f.forming.pack)/f.forming.left + 1
	f.queue = append(f.queue, f.forming)
	f.forming = nil
}

// refuse takes in an input that cannot become a task: its result is err. It returns as admit does.
func (f *flow[In, Out]) refuse(ctx context.Context, input In, err error) bool {
	f.mu.Lock()
	f.seal() // indexes in a parcel have no gap
	s := &segment[In, Out]{parcel: &parcel[In]{first: f.taken, inputs: []In{input}}, values: make([]Out, 1)}
	s.fail(0, err, 0)
	f.taken++
	f.out.Add(1)
	f.put(s)
	f.mu.Unlock()
	f.work.give()
	return f.awaitPlace(ctx)
}

// awaitPlace waits until the window has a place for another input. It returns false when the batch is over.
func (f *flow[In, Out]) awaitPlace(ctx context.Context) bool {
	if !f.await(ctx, func() bool { return f.out.Load() < int64(f.limits.window) }) {
		return false
	}
	f.mu.Unlock()
	return true
}

// await waits until condition holds and returns with mu held; or it returns false, without mu, when the batch is over.
func (f *flow[In, Out]) await(ctx context.Context, condition func() bool) bool {
	for {
		f.mu.Lock()
		if f.stopped != nil {
			f.mu.Unlock()
			return false
		}
		if condition() {
			return true
		}
		f.starved.Store(true)
		met := condition() // places are freed without mu
		f.mu.Unlock()
		if !met && !f.room.wait(ctx) {
			return false
		}
		f.starved.Store(false)
	}
}

// finish says that there are no further inputs.
func (f *flow[In, Out]) finish() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.work.give()
	f.news.give()
}

// next waits for parcels and takes as many as fit in one send, the one that takes inputs included. It returns none when the batch is
// over or all inputs are sent.
func (f *flow[In, Out]) next(ctx context.Context) []*parcel[In] {
	for ctx.Err() == nil {
		f.mu.Lock()
		f.idle = false
		f.seal()
		if f.stopped != nil || f.over && len(f.queue) == 0 {
			f.mu.Unlock()
			return nil
		}
		if n := fitting(f.queue); n > 0 {
			parcels := f.queue[:n:n]
			if f.queue = f.queue[n:]; len(f.queue) == 0 {
				f.queue = nil // they belong to the sender now
			}
			for _, p := range parcels {
				if p.id = stream.NewID(); len(p.inputs) > 1 {
					p.id = stream.NewChunkID()
				}
				f.waiting[p.id] = p
			}
			f.mu.Unlock()
			return parcels
		}
		f.idle = true
		f.mu.Unlock()
		if !f.work.wait(ctx) {
			return nil
		}
	}
	return nil
}

// fitting is how many of the parcels go in one send.
func fitting[In any](parcels []*parcel[In]) int {
	const maxParcels, maxBytes = 256, 256 << 10
	bytes := 0
	for i, p := range parcels {
		bytes += len(p.pack)
		if i > 0 && (i == maxParcels || bytes > maxBytes) {
			return i
		}
	}
	return len(parcels)
}

// find returns the parcel of a task or chunk whose outcome came in, and the number of the input in it: 0 for a chunk. A second outcome
// of one task finds none.
func (f *flow[In, Out]) find(id string) (p *parcel[In], item int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p = f.waiting[id]; p != nil {
		return p, 0
	}
	chunk, item, ok := wire.ItemOf(id)
	if p = f.waiting[chunk]; !ok || p == nil || item >= len(p.inputs) || len(p.inputs) == 1 {
		return nil, 0
	}
	return p, item
}

// resolve brings results of a parcel.
func (f *flow[In, Out]) resolve(p *parcel[In], segments ...*segment[In, Out]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range segments {
		f.outBytes += s.bytes // from here on the results count besides the inputs
		s.bytes += p.share(len(s.values))
		f.put(s)
	}
	if p.left == 0 {
		delete(f.waiting, p.id)
	}
}

// measured takes in what a pack tells of handlers and results; unmeasured that a task tells nothing.
func (f *flow[In, Out]) measured(each time.Duration, results, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizer.measured(each, results, bytes)
}

func (f *flow[In, Out]) unmeasured() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizer.unmeasured()
}

// put lines results up and counts them; mu is held.
func (f *flow[In, Out]) put(s *segment[In, Out]) {
	f.ready.put(s)
	f.done += len(s.values) - s.failed
	for _, err := range s.errs {
		if err != nil {
			f.failed++
			f.countFailure(err)
		}
	}
	f.meter.add(f.now(), len(s.values))
	f.news.give()
}

// countFailure stops the batch when it has failed often enough; mu is held.
func (f *flow[In, Out]) countFailure(err error) {
	if f.limits.failures == 0 || f.stopped != nil {
		return
	}
	const kept = 10
	if len(f.failures) < kept {
		f.failures = append(f.failures, err)
	}
	if f.failed >= f.limits.failures {
		f.stop(&FailuresError{Limit: f.limits.failures, Errs: f.failures})
	}
}

// take waits for the next results; each frees its place in the window by handed. It returns nil at the end: when every input has had
// its result, when ctx is done (at once), or when the batch was stopped and what had come in by then is handed out.
func (f *flow[In, Out]) take(ctx context.Context) *segment[In, Out] {
	for ctx.Err() == nil {
		if f.starved.Load() {
			f.room.give()
		}
		f.mu.Lock()
		if f.stopped != nil {
			f.ready.skip()
		}
		if s := f.ready.take(); s != nil {
			f.mu.Unlock()
			return s
		}
		ended := f.stopped != nil || f.over && f.out.Load() == 0
		f.mu.Unlock()
		if ended || !f.news.wait(ctx) {
			return nil
		}
	}
	return nil
}

// handed frees the place of a result, and with the last one of a segment the bytes of all.
func (f *flow[In, Out]) handed(s *segment[In, Out], i int) {
	if i == len(s.values)-1 {
		f.mu.Lock()
		f.outBytes -= s.bytes
		f.mu.Unlock()
	}
	if f.out.Add(-1) <= f.low && f.starved.Load() {
		f.room.give()
	}
}

// fail ends the batch early because of err; the first one counts.
func (f *flow[In, Out]) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop(err)
}

// stop is fail with mu held.
func (f *flow[In, Out]) stop(err error) {
	if f.stopped != nil {
		return
	}
	f.stopped = err
	f.queue, f.forming = nil, nil
	f.room.give()
	f.work.give()
	f.news.give()
}

// end freezes the progress. It tells why the batch stopped early, if it did, and whether every input has had its result.
func (f *flow[In, Out]) end() (stopped error, complete bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.meter.ended = f.now()
	return f.stopped, f.over && f.out.Load() == 0
}

func (f *flow[In, Out]) progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	submitted := f.resumed + f.taken - f.skipped
	p := Progress{
		Submitted: submitted,
		Done:      f.done,
		Failed:    f.failed,
		Started:   f.meter.started,
		Elapsed:   f.meter.elapsed(now),
		Rate:      f.meter.rate(now),
	}
	if f.meter.ended.IsZero() {
		p.InFlight = submitted - f.done - f.failed
	}
	return p
}
