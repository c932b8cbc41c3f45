package group

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
)

const (
	drainGrace = 2 * time.Second // for handlers whose context was cancelled
	flushGrace = 5 * time.Second // for outcomes to be recorded, and again for what is left to be handed over
	awayAfter  = 3 * time.Second // that is over if Redis has not answered for so long
)

// drain waits for its turn to stop, after fetch and rescue and before the leases, and then ends the work.
func (w *Worker) drain(ctx context.Context) error {
	<-ctx.Done()
	ctx = context.WithoutCancel(ctx)
	w.log.Info("draining", zap.Int("running", w.pool.running()))
	w.pool.close()
	w.releaseWaiting()
	w.eachChunk((*chunk).handOverAll)
	idle := func() bool { return w.pool.running() == 0 }
	if !w.awaitFor(ctx, w.cfg.Drain, idle) {
		w.log.Warn("handlers are cancelled: the time to drain is over", zap.Int("running", w.pool.running()))
		for _, f := range w.feeds {
			for _, one := range f.flights.list() {
				one.interrupt(ErrDrain)
			}
		}
		if !w.awaitFor(ctx, drainGrace, idle) {
			w.log.Error("handlers do not return, their tasks are handed to other workers", zap.Int("running", w.pool.running()))
		}
	}
	w.eachChunk((*chunk).record) // what has ended beside handlers that do not return
	if !w.away() {
		w.ask()
	}
	w.awaitFor(ctx, flushGrace, func() bool { return w.inHand() <= w.pool.running() && !w.recording() || w.away() })
	if !w.away() {
		w.reportAll(ctx)
	}
	w.unclean = w.leave(ctx)
	return nil
}

// ask sends heartbeats: away tells whether Redis has answered.
func (w *Worker) ask() {
	w.asked.Store(int64(w.now()))
	for _, b := range w.bundles {
		kick(b.beatNow)
	}
}

// away tells whether Redis has answered no heartbeat since ask, for a while.
func (w *Worker) away() bool {
	asked := w.asked.Load()
	if w.now()-time.Duration(asked) < awayAfter {
		return false
	}
	for _, f := range w.feeds {
		if f.confirmed.Load() >= asked {
			return false
		}
	}
	return true
}

// awaitFor polls until condition holds, but not longer than limit.
func (w *Worker) awaitFor(ctx context.Context, limit time.Duration, condition func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return await(ctx, condition)
}

// releaseWaiting hands what has not started to other workers.
func (w *Worker) releaseWaiting() {
	waiting := w.pool.take(func(*flight) bool { return true })
	for _, f := range w.feeds {
		for _, one := range f.flights.list() { // suspects
			if one.move(flightWaiting, flightEnded) {
				waiting = append(waiting, one)
			}
		}
	}
	for f, some := range byFeed(waiting) {
		f.release(some...)
	}
}

// leave hands over what is left, and takes worker and leases off. What cannot be is reclaimed by others when the lease runs out.
func (w *Worker) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushGrace)
	defer cancel()
	var errs []error
	queues, tasks := 0, 0
	for _, f := range w.feeds {
		if ctx.Err() != nil || len(errs) > 0 && w.away() {
			left, _ := f.flights.census()
			queues, tasks = queues+1, tasks+left
			continue
		}
		if err := f.leave(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	if queues > 0 {
		errs = append(errs, fmt.Errorf("group: no time was left to leave %d more queues with %d tasks whose outcome is not recorded", queues, tasks))
	}
	return errors.Join(errs...)
}

func (f *feed) leave(ctx context.Context) error {
	w := f.worker
	f.bundle.expire(f)
	var fails patience
	for {
		left, err := f.leaveOnce(ctx)
		switch {
		case conn.IsNoGroup(err):
			return nil // neither consumer nor pending entries
		case err == nil && left == 0:
			return nil
		case err == nil:
			continue
		}
		w.log.Warn("cannot leave the queue, trying again", zap.String("queue", f.queue.Name), zap.Error(err))
		if w.away() || !fails.pause(ctx) {
			unrecorded, _ := f.flights.census()
			return fmt.Errorf("group: leave %s with %d tasks whose outcome is not recorded; they run again elsewhere when the lease ends: %w",
				f.queue.Name, unrecorded, err)
		}
	}
}

func (f *feed) leaveOnce(ctx context.Context) (int, error) {
	w := f.worker
	for _, one := range f.flights.list() {
		if one.suspect() { // it was not its crash that ended this worker
			if err := w.own.HDel(ctx, f.keys.Crashes(), one.entry+"!").Err(); err != nil {
				return 0, err
			}
		}
	}
	return w.aside.Scripts().Leave(ctx, f.keys, w.store.Group(), w.name)
}
