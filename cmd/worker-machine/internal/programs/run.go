package programs

import (
	"bytes"
	"context"
	"io"
	"iter"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
)

// pair splits a line before its first tab. A line without one is all key.
func pair(line []byte) (key, rest []byte) {
	if i := bytes.IndexByte(line, '\t'); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// writePair is the reverse of pair, with a newline.
func writePair(w io.Writer, key, rest []byte) error {
	for _, part := range [][]byte{key, rest, newline} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

var newline = []byte("\n")

// runMap runs the map program on the lines of a split, and the combine program on what it prints. A split without lines starts no
// program.
func (s *Set) runMap(ctx context.Context, meta execute.Meta, split Split, emit func(key, rest []byte) error) error {
	lines := newReader(s.Files, split)
	defer lines.close()
	if more, err := lines.more(); !more || err != nil {
		return err
	}
	meta.Input = split.input()
	if s.combiner == nil {
		return s.mapper.Stream(ctx, meta, lines.writeTo, func(line []byte) error { return emit(pair(line)) })
	}
	c := &combiner{set: s, ctx: ctx, meta: meta, emit: emit}
	if err := s.mapper.Stream(ctx, meta, lines.writeTo, c.add); err != nil {
		return err
	}
	return c.flush()
}

// runReduce runs the reduce program on the groups of a partition. One without groups starts no program. emit gets the key of a line, and
// the rest of the line with its tab.
func (s *Set) runReduce(ctx context.Context, meta execute.Meta, groups iter.Seq2[string, iter.Seq[[]byte]], emit func(key, rest []byte) error) error {
	next, stop := iter.Pull2(groups)
	defer stop()
	key, values, ok := next()
	if !ok {
		return nil
	}
	feed := func(w io.Writer) error {
		for ; ok; key, values, ok = next() {
			for rest := range values {
				if err := writePair(w, []byte(key), rest); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return s.reducer.Stream(ctx, meta, feed, func(line []byte) error {
		return emit(pair(line))
	})
}
