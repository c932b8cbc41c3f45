package programs

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
)

const defaultCombine = 32 << 20

// combiner gathers what the map program prints, and runs the combine program on it whenever there is much, sorted by key.
type combiner struct {
	set  *Set
	ctx  context.Context // of the map task
	meta execute.Meta
	emit func(key, rest []byte) error

	text  []byte // lines
	lines []line
}

// line is where one lies.
type line struct{ begin, key, end int }

// lineOverhead is what a line takes besides its text.
const lineOverhead = 24

// add takes a line of the map program.
func (c *combiner) add(text []byte) error {
	key, _ := pair(text)
	begin := len(c.text)
	c.text = append(c.text, text...)
	c.lines = append(c.lines, line{begin: begin, key: begin + len(key), end: len(c.text)})
	if len(c.text)+len(c.lines)*lineOverhead < c.set.combineBytes {
		return nil
	}
	return c.flush()
}

// flush runs the combine program.
func (c *combiner) flush() error {
	if len(c.lines) == 0 {
		return nil
	}
	slices.SortFunc(c.lines, func(a, b line) int {
		return cmp.Or(bytes.Compare(c.text[a.begin:a.key], c.text[b.begin:b.key]), cmp.Compare(a.begin, b.begin))
	})
	err := c.set.combiner.Stream(c.ctx, c.meta, c.write, func(text []byte) error { return c.emit(pair(text)) })
	c.text, c.lines = c.text[:0], c.lines[:0]
	return err
}

func (c *combiner) write(w io.Writer) error {
	for _, l := range c.lines {
		if err := writePair(w, c.text[l.begin:l.key], c.text[l.key:l.end]); err != nil {
			return err
		}
	}
	return nil
}
