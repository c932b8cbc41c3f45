package mapreduce

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// span is indexes of inputs: from the first to before the last.
type span struct{ from, to int }

// spans is indexes of inputs as spans that ascend and do not touch. Of the inputs of a batch that have been delivered there are no
// more gaps than its window has places. As text it is "0-4,7,9-11".
type spans []span

// add puts an index in that is not there. Usually it is next to the one before.
func (s *spans) add(i int) {
	all := *s
	at := len(all)
	if at > 0 && i < all[at-1].to {
		at, _ = slices.BinarySearchFunc(all, i, func(sp span, i int) int { return sp.from - i })
	}
	below, above := at > 0 && all[at-1].to == i, at < len(all) && all[at].from == i+1
	switch {
	case below && above:
		all[at-1].to = all[at].to
		*s = slices.Delete(all, at, at+1)
	case below:
		all[at-1].to++
	case above:
		all[at].from--
	default:
		*s = slices.Insert(all, at, span{from: i, to: i + 1})
	}
}

// after is the first index from i on that is not there. It drops what lies before: call it with indexes that ascend, on a copy.
func (s *spans) after(i int) int {
	for len(*s) > 0 && (*s)[0].to <= i {
		*s = (*s)[1:]
	}
	if len(*s) > 0 && (*s)[0].from <= i {
		return (*s)[0].to
	}
	return i
}

// low is the first index that is not there.
func (s spans) low() int { return s.after(0) }

// count is how many indexes are there.
func (s spans) count() (n int) {
	for _, sp := range s {
		n += sp.to - sp.from
	}
	return n
}

// end is above all indexes.
func (s spans) end() int {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].to
}

func (s spans) String() string {
	var b []byte
	for i, sp := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(sp.from), 10)
		if sp.to-sp.from > 1 {
			b = strconv.AppendInt(append(b, '-'), int64(sp.to-1), 10)
		}
	}
	return string(b)
}

// parseSpans reads what String wrote.
func parseSpans(text string) (spans, error) {
	var s spans
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, several := strings.Cut(part, "-")
		if !several {
			to = from
		}
		low, err := strconv.Atoi(from)
		high, badHigh := strconv.Atoi(to)
		if err != nil || badHigh != nil || low < s.end() || low == s.end() && len(s) > 0 || high < low {
			return nil, fmt.Errorf("%q in a list of inputs: want ranges that ascend, as in 0-4,7", part)
		}
		s = append(s, span{from: low, to: high + 1})
	}
	return s, nil
}
