package group

import (
	"sync"
	"time"
)

// limiter lets through one message of each kind a minute.
type limiter struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const (
	messageEvery = time.Minute
	limiterKinds = 1000 // strangers choose function names: remember no more than this
)

func (l *limiter) allow(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, ok := l.last[kind]; ok && now.Sub(last) < messageEvery {
		return false
	}
	if l.last == nil || len(l.last) >= limiterKinds {
		l.last = map[string]time.Time{}
	}
	l.last[kind] = now
	return true
}
