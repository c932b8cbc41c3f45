package stream

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
)

// Bounds of the connections that a client's lanes have for themselves.
const (
	mostLines = 8
	lineIdle  = time.Second // unused for so long, it may go to another lane
	lineLives = time.Minute // unused for so long, it is closed
)

// lines are the connections of a client's lanes. A lane in use keeps one; where there are more lanes than lines, the others go through
// the Store's pool, and nobody takes the line of a lane that has just used it: it would be prepared in vain each time.
type lines struct {
	store *Store
	from  *redis.Client // nil on a cluster, where there are none

	mu     sync.Mutex
	open   []*line
	sweep  *time.Timer // set while lines are open
	closed bool
}

// line is a connection, and what the last call on it has left there.
type line struct {
	*conn.Line

	lane    *lane  // who uses it, or did last
	watched string // the lane whose key it watches

	busy bool // guarded by lines.mu, as used
	used time.Time
}

func newLines(store *Store) *lines {
	from, _ := store.client.(*redis.Client)
	return &lines{store: store, from: from}
}

// take gives a lane the line of its next call, nil when there is none for it.
func (s *lines) take(by *lane) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from == nil || s.closed {
		return nil
	}
	var found *line // the least recently used
	for _, o := range s.open {
		if o.lane == by {
			o.busy = true
			return o
		}
		if !o.busy && (found == nil || o.used.Before(found.used)) {
			found = o
		}
	}
	if len(s.open) < mostLines {
		found = s.add()
	} else if found != nil && time.Since(found.used) < lineIdle {
		found = nil
	}
	if found != nil {
		found.lane, found.busy = by, true
	}
	return found
}

// add makes a line. mu is held.
func (s *lines) add() *line {
	own, err := s.store.newLine(s.from)
	if err != nil {
		s.store.logger.Debug("enqueue without a connection of its own", zap.Error(err))
		return nil
	}
	o := &line{Line: own}
	s.open = append(s.open, o)
	if s.sweep == nil {
		s.sweep = time.AfterFunc(lineLives, s.closeIdle)
	}
	return o
}

// put takes a line back; nil is fine.
func (s *lines) put(o *line) {
	if o == nil {
		return
	}
	s.mu.Lock()
	o.busy, o.used = false, time.Now()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		_ = s.store.closeLine(o.Line) // whoever closed the client does not wait for it
	}
}

// closeIdle closes the lines that nobody has used for long.
func (s *lines) closeIdle() {
	s.mu.Lock()
	var idle []*line
	s.open = slices.DeleteFunc(s.open, func(o *line) bool {
		if o.busy || time.Since(o.used) < lineLives {
			return false
		}
		idle = append(idle, o)
		return true
	})
	if s.sweep = nil; len(s.open) > 0 {
		s.sweep = time.AfterFunc(lineLives, s.closeIdle)
	}
	s.mu.Unlock()
	for _, o := range idle {
		_ = s.store.closeLine(o.Line) // nobody is there to be told
	}
}

// close closes the lines, those of calls under way once they are back. There are no others after it.
func (s *lines) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.sweep != nil {
		s.sweep.Stop()
	}
	var errs []error
	for _, o := range s.open {
		if !o.busy {
			errs = append(errs, s.store.closeLine(o.Line))
		}
	}
	s.open = nil
	return errors.Join(errs...)
}
