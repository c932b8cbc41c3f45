package wire

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// ItemSet is some items of a chunk. As text it is ranges: "0-4,7,9-11".
type ItemSet struct {
	n     int // items of the chunk
	words []uint64
}

const wordBits = 64

// NewItemSet returns an empty set for a chunk of so many items.
func NewItemSet(items int) ItemSet {
	return ItemSet{n: items, words: make([]uint64, (items+wordBits-1)/wordBits)}
}

// ParseItemSet reads what [ItemSet.String] wrote, for a chunk of so many items; it returns a [*MalformedError] for anything else.
func ParseItemSet(text string, items int) (ItemSet, error) {
	s := NewItemSet(items)
	for next := 0; text != ""; {
		var part string
		var more bool
		part, text, more = strings.Cut(text, ",")
		from, to, span := strings.Cut(part, "-")
		low, err := number(from, int64(next), int64(items)-1)
		high := low
		if err == nil && span {
			high, err = number(to, low+1, int64(items)-1)
		}
		if err != nil || more && text == "" {
			return ItemSet{}, &MalformedError{Why: fmt.Sprintf("%q in a set of items: want ranges that ascend, as in 0-4,7", clip(part, 40))}
		}
		for i := low; i <= high; i++ {
			s.Add(int(i))
		}
		next = int(high) + 1
	}
	return s, nil
}

// Add puts an item into the set.
func (s *ItemSet) Add(item int) { s.words[item/wordBits] |= 1 << (item % wordBits) }

// Has tells whether an item is in the set.
func (s *ItemSet) Has(item int) bool { return s.words[item/wordBits]&(1<<(item%wordBits)) != 0 }

// Len is how many items are in the set.
func (s *ItemSet) Len() (n int) {
	for _, word := range s.words {
		n += bits.OnesCount64(word)
	}
	return n
}

// String is the set as ranges that ascend.
func (s *ItemSet) String() string {
	var b []byte
	for i := 0; i < s.n; i++ {
		if !s.Has(i) {
			continue
		}
		from := i
		for i+1 < s.n && s.Has(i+1) {
			i++
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(from), 10)
		if i > from {
			b = strconv.AppendInt(append(b, '-'), int64(i), 10)
		}
	}
	return string(b)
}
