package mapreduce

import (
	"context"
	"sync"
	"time"

	"github.com/athoune/worker-machine/stream"
)

// flow is what the goroutines of one batch share: the feeder takes inputs in, the sender takes tasks out, the collector brings
// outcomes, the loop over the results takes those. An input holds its place in the window, and its bytes, from the moment it is
// taken until its result is handed to the loop: that alone bounds every queue below.
type flow[In, Out any] struct {
	limits limits
	now    func() time.Time

	// Each wakes one goroutine that waits for a change; they are sent to after mu is released or under it, and never block.
	room, work, news signal

	mu       sync.Mutex
	taken    int                       // inputs taken so far
	out      int                       // of these, the results not yet handed to the loop
	outBytes int64                     // payloads of these, and results that wait
	queue    []stream.Task             // to be sent
	waiting  map[string]*item[In, Out] // outcome not in, by task ID
	ready    line[arrival[In, Out]]
	arrived  int   // results put in ready, the position of the next where order is that of arrival
	over     bool  // no further inputs
	stopped  error // why the batch ends early
	failures []error
	done     int
	failed   int
	meter    meter
}

// item is an input whose outcome is not in.
type item[In, Out any] struct {
	index int
	input In
	bytes int64
}

// arrival is a result that waits for the loop.
type arrival[In, Out any] struct {
	result Result[In, Out]
	bytes  int64
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
		waiting: make(map[string]*item[In, Out]),
	}
}

// start begins to count time.
func (f *flow[In, Out]) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.meter.started = f.now()
}

// admit takes in one input with its task, once there is room for its bytes. A payload above the whole limit goes alone.
// It returns false when the batch is over.
func (f *flow[In, Out]) admit(ctx context.Context, input In, task stream.Task) bool {
	bytes := int64(len(task.Payload))
	fits := func() bool { return f.out == 0 || f.outBytes+bytes <= f.limits.windowBytes }
	if !f.await(ctx, fits) {
		return false
	}
	f.waiting[task.ID] = &item[In, Out]{index: f.taken, input: input, bytes: bytes}
	f.queue = append(f.queue, task)
	f.taken++
	f.out++
	f.outBytes += bytes
	f.mu.Unlock()
	f.work.give()
	return true
}

// refuse takes in an input that cannot become a task: its result is err.
func (f *flow[In, Out]) refuse(input In, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	index := f.taken
	f.taken++
	f.out++
	f.put(Result[In, Out]{Index: index, Input: input, Err: err}, 0)
}

// awaitPlace waits until the window has a place for another input. It returns false when the batch is over.
func (f *flow[In, Out]) awaitPlace(ctx context.Context) bool {
	if !f.await(ctx, func() bool { return f.out < f.limits.window }) {
		return false
	}
	f.mu.Unlock()
	return true
}

// await waits until condition holds and returns with mu held; or it returns false, without mu, when the batch is over.
func (f *flow[In, Out]) await(ctx context.Context, condition func() bool) bool {
	for ctx.Err() == nil {
		f.mu.Lock()
		if f.stopped != nil {
			f.mu.Unlock()
			return false
		}
		if condition() {
			return true
		}
		f.mu.Unlock()
		if !f.room.wait(ctx) {
			return false
		}
	}
	return false
}

// finish says that there are no further inputs.
func (f *flow[In, Out]) finish() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.work.give()
	f.news.give()
}

// chunk waits for tasks and takes as many as fit in one send. It returns none when the batch is over or all inputs are sent.
func (f *flow[In, Out]) chunk(ctx context.Context) []stream.Task {
	for ctx.Err() == nil {
		f.mu.Lock()
		if f.stopped != nil || f.over && len(f.queue) == 0 {
			f.mu.Unlock()
			return nil
		}
		if n := fitting(f.queue); n > 0 {
			tasks := f.queue[:n:n]
			if f.queue = f.queue[n:]; len(f.queue) == 0 {
				f.queue = nil // the tasks belong to the sender now
			}
			f.mu.Unlock()
			return tasks
		}
		f.mu.Unlock()
		if !f.work.wait(ctx) {
			return nil
		}
	}
	return nil
}

// fitting is how many of the tasks go in one send.
func fitting(tasks []stream.Task) int {
	const maxTasks, maxBytes = 256, 256 << 10
	bytes := 0
	for i := range tasks {
		bytes += len(tasks[i].Payload)
		if i > 0 && (i == maxTasks || bytes > maxBytes) {
			return i
		}
	}
	return len(tasks)
}

// claim takes the item of a task whose outcome came in; a second outcome of one task finds none.
// From here on the result's bytes count besides those of the input.
func (f *flow[In, Out]) claim(taskID string, resultBytes int) (item[In, Out], bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	it, ok := f.waiting[taskID]
	if !ok {
		return item[In, Out]{}, false
	}
	delete(f.waiting, taskID)
	it.bytes += int64(resultBytes)
	f.outBytes += int64(resultBytes)
	return *it, true
}

// resolve brings the results of claimed items.
func (f *flow[In, Out]) resolve(arrivals []arrival[In, Out]) {
	if len(arrivals) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range arrivals {
		f.put(arrivals[i].result, arrivals[i].bytes)
	}
}

// put lines one result up and counts it; mu is held.
func (f *flow[In, Out]) put(r Result[In, Out], bytes int64) {
	position := r.Index
	if !f.limits.ordered {
		position = f.arrived
	}
	f.arrived++
	f.ready.put(position, arrival[In, Out]{result: r, bytes: bytes})
	if r.Err == nil {
		f.done++
	} else {
		f.failed++
		f.countFailure(r)
	}
	f.meter.add(f.now(), 1)
	f.news.give()
}

// countFailure stops the batch when it has failed often enough; mu is held.
func (f *flow[In, Out]) countFailure(r Result[In, Out]) {
	if f.limits.failures == 0 || f.stopped != nil {
		return
	}
	const kept = 10
	if len(f.failures) < kept {
		f.failures = append(f.failures, r.Err)
	}
	if f.failed >= f.limits.failures {
		f.stop(&FailuresError{Limit: f.limits.failures, Errs: f.failures})
	}
}

// next waits for the next result and frees its place in the window. It returns false at the end: when every input has had its
// result, when ctx is done (at once), or when the batch was stopped and what had come in by then is handed out.
func (f *flow[In, Out]) next(ctx context.Context) (r Result[In, Out], ok bool) {
	for ctx.Err() == nil {
		f.mu.Lock()
		if f.stopped != nil {
			f.ready.skip()
		}
		if a, ok := f.ready.take(); ok {
			f.out--
			f.outBytes -= a.bytes
			f.mu.Unlock()
			f.room.give()
			return a.result, true
		}
		ended := f.stopped != nil || f.over && f.out == 0
		f.mu.Unlock()
		if ended || !f.news.wait(ctx) {
			return r, false
		}
	}
	return r, false
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
	f.queue = nil
	f.room.give()
	f.work.give()
	f.news.give()
}

// end freezes the progress. It tells why the batch stopped early, if it did, and whether every input has had its result.
func (f *flow[In, Out]) end() (stopped error, complete bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.meter.ended = f.now()
	return f.stopped, f.over && f.out == 0
}

func (f *flow[In, Out]) progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	p := Progress{
		Submitted: f.taken,
		Done:      f.done,
		Failed:    f.failed,
		Started:   f.meter.started,
		Elapsed:   f.meter.elapsed(now),
		Rate:      f.meter.rate(now),
	}
	if f.meter.ended.IsZero() {
		p.InFlight = f.taken - f.done - f.failed
	}
	return p
}
