package group

import (
	"sync"
	"time"
)

const (
	hintsKept = 10 * time.Second // much longer than a delivery is on its way
	hintsMost = 10_000
)

// hints remembers for a moment which tasks were said to be cancelled: the word may be here before the task is, whose delivery,
// or whose way from another worker, takes its time.
type hints struct {
	mu    sync.Mutex
	until map[string]time.Time // by task ID
}

func (h *hints) note(id string) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until == nil || len(h.until) >= hintsMost {
		h.until = map[string]time.Time{} // what is lost costs the run of a task that nobody waits for
	}
	h.until[id] = now.Add(hintsKept)
}

// any tells whether has may be true for anything; most of the time it is not, and no task needs to be looked at.
func (h *hints) any() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for id, end := range h.until {
		if now.Before(end) {
			return true
		}
		delete(h.until, id)
	}
	return false
}

func (h *hints) has(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.until[id])
}
