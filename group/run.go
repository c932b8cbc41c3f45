package group

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// stuckGrace is how long after its time a handler may take to return before its slot is given to another task.
const stuckGrace = 2 * time.Second

var errGoexit = errors.New("the handler ended its goroutine with runtime.Goexit")

// run calls the handler of a flight and decides what becomes of it.
func (w *Worker) run(f *flight) {
	if f.chunk != nil {
		f.chunk.run(f)
		return
	}
	if f.started.IsZero() {
		f.started = time.Now()
	}
	handler := w.mux.handlers[f.task.Function]
	if handler == nil {
		f.move(flightRunning, flightEnded)
		w.unknown(f)
		return
	}
	if limit := f.timeout(); limit > 0 {
		f.context.limit = f.started.Add(limit)
		defer time.AfterFunc(limit+stuckGrace, func() { w.stuck(f) }).Stop()
	}
	if hook := w.cfg.Hooks.Waited; hook != nil {
		hook(f.metadata(), f.waited(f.started))
	}
	if hook := w.cfg.Hooks.Start; hook != nil {
		hook(&f.context, f.metadata())
	}
	call := call{handler: handler, flight: f}
	defer call.conclude() // also when the handler ends the goroutine
	call.do()
}

// call is one call of a handler.
type call struct {
	handler  Handler
	flight   *flight
	returned bool
	data     []byte
	err      error
}

// do makes an error of a panic.
func (c *call) do() {
	defer func() {
		if c.returned {
			return
		}
		if value := recover(); value != nil {
			c.err = newPanicError(value)
		} else {
			c.err = newPanicError(errGoexit)
		}
	}()
	c.data, c.err = c.handler(&c.flight.context, Task{Metadata: c.flight.metadata(), Payload: c.flight.task.Payload})
	c.returned = true
}

// conclude decides the outcome, unless the handler took so long that it was decided without it.
func (c *call) conclude() {
	f := c.flight
	f.took = time.Since(f.started)
	if f.move(flightRunning, flightEnded) {
		f.feed.decide(f, c.data, c.err, f.took)
	}
	f.context.end(errConcluded)
}

// errConcluded ends the context of a handler that has returned, for whatever it started and left behind.
var errConcluded = errors.New("group: the handler has returned")

// stuck gives the slot of a handler that does not return to another task. The task has failed this attempt.
func (w *Worker) stuck(f *flight) {
	if !f.move(flightRunning, flightEnded) {
		return
	}
	ran := time.Since(f.started)
	w.log.Error("a handler does not return after its time, its slot is given up", zap.String("function", f.task.Function),
		zap.String("task", f.task.ID), zap.Duration("ran", ran))
	if hook := w.cfg.Hooks.Stuck; hook != nil {
		hook(f.metadata(), ran)
	}
	f.feed.decide(f, nil, fmt.Errorf("the handler did not return within %v of its time of %v: %w", stuckGrace, f.timeout(), ErrTimeout), ran)
	w.pool.abandon(f)
	if f.chunk != nil {
		f.chunk.ticket() // for the items that wait behind it
	}
}

// unknown puts off a task that no handler of this worker is for: another worker may know it.
func (w *Worker) unknown(f *flight) {
	if w.logged.allow(f.task.Function) {
		w.log.Warn("no handler for a function: its tasks are handed back, and are dead letters after their attempts",
			zap.String("function", f.task.Function), zap.String("queue", f.feed.queue.Name))
	}
	err := fmt.Errorf("worker %s has no handler for function %s", w.name, f.task.Function)
	f.feed.fail(f, err, putOff{wait: w.cfg.Backoff.wait(f.task.Attempt), counter: "unknown", err: err})
}

func (w *Worker) hookReclaimed(f *feed, tasks int) {
	if hook := w.cfg.Hooks.Reclaimed; hook != nil {
		hook(f.queue.Name, tasks)
	}
}

func (w *Worker) hookReleased(f *feed, tasks int) {
	if hook := w.cfg.Hooks.Released; hook != nil && tasks > 0 {
		hook(f.queue.Name, tasks)
	}
}
