package group

import (
	"context"
	"sync"
	"time"
)

// gate lets reads of new work be shut out: enter and leave go around each of them.
type gate struct {
	mu     sync.Mutex
	shut   bool
	inside int
}

// enter reports false while the gate is shut.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
}

// close shuts the gate and returns once nobody is inside; it reports false when ctx ended before. interrupt hurries them.
func (g *gate) close(ctx context.Context, interrupt func()) bool {
	g.mu.Lock()
	g.shut = true
	g.mu.Unlock()
	const again = 10 * time.Millisecond
	ticker := time.NewTicker(again)
	defer ticker.Stop()
	for {
		g.mu.Lock()
		empty := g.inside == 0
		g.mu.Unlock()
		if empty {
			return true
		}
		interrupt()
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
}
