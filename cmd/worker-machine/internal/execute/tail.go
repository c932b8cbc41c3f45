package execute

import (
	"strings"
	"sync"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// Tail is a writer that keeps the last bytes, for messages about what a program said. It is safe for concurrent use.
type Tail struct {
	limit int

	mu      sync.Mutex
	kept    []byte
	skipped bool
}

// NewTail keeps the last limit bytes.
func NewTail(limit int) *Tail { return &Tail{limit: limit} }

// Write never fails.
func (t *Tail) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, data...)
	if more := len(t.kept) - t.limit; more > 0 {
		t.kept, t.skipped = append(t.kept[:0], t.kept[more:]...), true
	}
	return len(data), nil
}

// Text is what was kept, from the beginning of a line if there is one, without what a terminal would obey.
func (t *Tail) Text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := string(t.kept)
	if t.skipped {
		if _, lines, ok := strings.Cut(kept, "\n"); ok && lines != "" {
			kept = lines
		}
		kept = "..." + kept
	}
	return strings.TrimSpace(plain.Text(kept))
}
