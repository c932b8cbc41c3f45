package shuffle

import (
	"bytes"
	"errors"
	"io"
)

// source is a sorted sequence of pairs.
type source interface {
	// next goes to the next pair; io.EOF is the end. The key is valid until the next call. same says that the key is known to be
	// that of the pair before.
	next() (key []byte, same bool, err error)
	// value is the value of the pair, valid until the next call of next, and of value of any source.
	value() ([]byte, error)
}

// merge walks through the pairs of many sources in the order of their keys, equal keys in the order of the sources. It is a heap.
type merge struct {
	heap []cursor
}

// cursor is a source at a pair of it.
type cursor struct {
	key    []byte
	order  int
	source source
}

func newMerge(sources []source) (*merge, error) {
	m := &merge{heap: make([]cursor, 0, len(sources))}
	for i, s := range sources {
		key, _, err := s.next()
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m.heap = append(m.heap, cursor{key: key, order: i, source: s})
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return m, nil
}

// done reports that there is no pair left. key and value are of the pair the merge is at.
func (m *merge) done() bool             { return len(m.heap) == 0 }
func (m *merge) key() []byte            { return m.heap[0].key }
func (m *merge) value() ([]byte, error) { return m.heap[0].source.value() }

// next goes to the next pair. It reports whether its key is known to be that of the pair before.
func (m *merge) next() (same bool, err error) {
	top := &m.heap[0]
	key, same, err := top.source.next()
	switch {
	case err == nil && same:
		top.key = key
		return true, nil // nothing can come before it: its source was the first of those with its key
	case err == nil:
		top.key = key
	case errors.Is(err, io.EOF):
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap[last] = cursor{} // what it held is free
		m.heap = m.heap[:last]
	default:
		return false, err
	}
	m.down(0)
	return false, nil
}

// down moves a cursor to where it belongs below i.
func (m *merge) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.heap) {
			return
		}
		if right := child + 1; right < len(m.heap) && before(&m.heap[right], &m.heap[child]) {
			child = right
		}
		if !before(&m.heap[child], &m.heap[i]) {
			return
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
}

func before(a, b *cursor) bool {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.order < b.order
}

// held is a source that lies in memory.
type held struct{ decoder }

func newHeld(segment []byte) *held { return &held{decoder{rest: segment[1:]}} }

func (h *held) next() ([]byte, bool, error) {
	same, err := h.decoder.next()
	return h.key, same, err
}

func (h *held) value() ([]byte, error) { return h.decoder.value, nil }
