package group

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
)

// settler does for one queue what is recorded one by one: retries, burials, releases. It repeats each until it is known, a few
// at a time. Its goroutines live while there is something to do.
type settler struct {
	feed *feed

	mu      sync.Mutex
	waiting []settlement
	busy    int
}

// settlement is one of them. try is told whether it is a repetition: what it finds done may then be its own work.
type settlement struct {
	what   string
	flight *flight
	try    func(ctx context.Context, again bool) error
}

const settlersAtOnce = 8

func (s *settler) add(one settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, one)
	if s.busy < settlersAtOnce {
		s.busy++
		go s.work()
	}
}

func (s *settler) work() {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.busy--
			s.mu.Unlock()
			return
		}
		one := s.waiting[0]
		s.waiting[0] = settlement{}
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		s.settle(one)
	}
}

// settle repeats until it worked or the worker's life ended; then the flight stays in hand, and leaving hands it over.
func (s *settler) settle(one settlement) {
	life := s.feed.worker.life
	var fails patience
	for again := false; life.Err() == nil; again = true {
		err := one.try(life, again)
		if err == nil {
			s.feed.flights.remove(one.flight)
			return
		}
		s.feed.log.Warn("cannot "+one.what+", trying again",
			zap.String("task", one.flight.task.ID), zap.String("entry", one.flight.entry), zap.Error(err))
		if conn.IsNoGroup(err) {
			// The fetcher makes it too, but may be busy, shut out or paused.
			if err := s.feed.makeGroup(life); err != nil {
				s.feed.log.Warn("cannot make the group", zap.Error(err))
			}
		}
		fails.pause(life)
	}
}
