package shuffle

import (
	"bytes"
	"fmt"
	"io"
	"iter"
)

// Pair is a key with its value.
type Pair struct{ Key, Value []byte }

// MergeSorted returns the pairs of sources in the order of their keys, equal keys in the order of the sources. A source returns its
// pieces one after the other, and nil at its end; it is asked for a piece when the one before is used up, so the memory needed is a
// piece of each source. The slices of a pair are parts of its piece. An error, of a source or of a malformed piece, comes
// last, with an empty pair. The result can be ranged over once.
func MergeSorted(sources []func() ([]byte, error)) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		all := make([]source, len(sources))
		for i, fetch := range sources {
			all[i] = &pieces{number: i, fetch: fetch}
		}
		m, err := newMerge(all)
		for err == nil && !m.done() {
			var value []byte
			if value, err = m.value(); err != nil {
				break
			}
			if !yield(Pair{m.key(), value}, nil) {
				return
			}
			_, err = m.next()
		}
		if err != nil {
			yield(Pair{}, err)
		}
	}
}

// pieces is the pieces of one source of MergeSorted.
type pieces struct {
	number int
	fetch  func() ([]byte, error)
	piece  held
	last   []byte // key of the last piece
	begun  bool   // there is a last key
}

func (p *pieces) next() ([]byte, bool, error) {
	for {
		key, same, err := p.piece.next()
		if err != io.EOF { //nolint:errorlint // held returns it bare
			return key, same, err
		}
		piece, err := p.fetch()
		if err != nil {
			return nil, false, fmt.Errorf("shuffle: merge source %d: %w", p.number, err)
		}
		if piece == nil {
			return nil, false, io.EOF
		}
		if err := p.open(piece); err != nil {
			return nil, false, fmt.Errorf("shuffle: merge source %d: %w", p.number, err)
		}
	}
}

func (p *pieces) open(piece []byte) error {
	first, last, err := check(piece)
	if err != nil {
		return err
	}
	p.piece = *newHeld(piece)
	if len(piece) == 1 {
		return nil
	}
	if p.begun && bytes.Compare(p.last, first) > 0 {
		return descending(p.last, first)
	}
	p.begun, p.last = true, last
	return nil
}

func (p *pieces) value() ([]byte, error) { return p.piece.value() }
