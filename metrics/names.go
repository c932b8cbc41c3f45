package metrics

import "sync"

// mostNames is how many values a label has at most, besides "other".
const mostNames = 100

// names bounds the values of a label: those that come first are told by their names.
type names struct {
	mu    sync.RWMutex
	known map[string]struct{}
}

func newNames() *names { return &names{known: make(map[string]struct{})} }

// of is the name, or "other".
func (n *names) of(name string) string {
	n.mu.RLock()
	_, ok := n.known[name]
	full := len(n.known) >= mostNames
	n.mu.RUnlock()
	switch {
	case ok:
		return name
	case full:
		return other
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok = n.known[name]; !ok && len(n.known) >= mostNames {
		return other
	}
	n.known[name] = struct{}{}
	return name
}
