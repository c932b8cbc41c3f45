package execute

import (
	"strings"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// tail is a writer that keeps the last bytes.
type tail struct {
	limit   int
	kept    []byte
	skipped bool
}

// Write never fails.
func (t *tail) Write(data []byte) (int, error) {
	t.kept = append(t.kept, data...)
	if more := len(t.kept) - t.limit; more > 0 {
		t.kept, t.skipped = append(t.kept[:0], t.kept[more:]...), true
	}
	return len(data), nil
}

// text is what was kept, from the beginning of a line if there is one, without what a terminal would obey.
func (t *tail) text() string {
	kept := string(t.kept)
	if t.skipped {
		if _, lines, ok := strings.Cut(kept, "\n"); ok && lines != "" {
			kept = lines
		}
		kept = "..." + kept
	}
	return strings.TrimSpace(plain.Text(kept))
}
