package group

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// suspectRest bounds how long other tasks have their turn after a suspect: as long as it took. Many of them cannot stop a worker.
const suspectRest = time.Second

// quietCheck is how often it is looked whether everything else has ended.
const quietCheck = 5 * time.Millisecond

// suspects are tasks whose workers died twice. Each runs with nothing beside it, so that the next crash, if there is one, is known
// to be its own and costs nobody else.
type suspects struct {
	mu      sync.Mutex
	waiting []*flight
	arrived chan struct{}
}

func (s *suspects) add(f *flight) {
	s.mu.Lock()
	s.waiting = append(s.waiting, f)
	s.mu.Unlock()
	kick(s.arrived)
}

func (s *suspects) next() *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	f := s.waiting[0]
	s.waiting = s.waiting[1:]
	return f
}

func (s *suspects) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// runSuspects runs suspects one after the other.
func (w *Worker) runSuspects(ctx context.Context) error {
	for ctx.Err() == nil { // draining releases what has not started
		f := w.suspects.next()
		if f != nil {
			began := time.Now()
			w.runSuspect(ctx, f)
			sleep(ctx, min(time.Since(began), suspectRest))
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.suspects.arrived:
		}
	}
	return nil
}

func (w *Worker) runSuspect(ctx context.Context, f *flight) {
	w.pool.setAlone(true)
	defer w.pool.setAlone(false)
	defer w.gate.open()
	if !w.gate.close(ctx, func() { w.interrupt(ctx) }) {
		return
	}
	for _, other := range w.feeds { // a claim that is under way may still bring something
		other.claiming.Lock()
		other.claiming.Unlock() //nolint:staticcheck // to have waited for it is all
	}
	alone := func() bool { return w.pool.idle() && w.inHand() <= 1+w.suspects.count() }
	if !await(ctx, alone) || f.state.Load() != flightWaiting {
		return
	}
	f.feed.log.Warn("two workers died while they ran a task: it runs alone now", zap.String("task", f.task.ID),
		zap.String("function", f.task.Function), zap.Int("crashes", f.crashes))
	var fails patience
	for w.store.Scripts().MarkAlone(ctx, f.feed.keys, f.entry) != nil {
		if !fails.pause(ctx) {
			return
		}
	}
	w.pool.runAlone(f)
	await(ctx, func() bool { return !f.feed.flights.has(f) })
}

// inHand is how many entries this worker has of all queues.
func (w *Worker) inHand() int {
	n := 0
	for _, f := range w.feeds {
		now, _ := f.flights.census()
		n += now
	}
	return n
}

// await polls until condition holds; it reports false when ctx ended before.
func await(ctx context.Context, condition func() bool) bool {
	ticker := time.NewTicker(quietCheck)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}
