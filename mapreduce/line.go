package mapreduce

// line puts what arrives in any order into the order of its positions, which start at 0 and have no gaps in the end. It holds as
// much as lies between the first missing position and the last one put; the window of the batch bounds that.
type line[T any] struct {
	slots []slot[T] // a ring: position p is at p % len(slots)
	next  int       // the position that is handed out next
	end   int       // one past the highest position put
}

type slot[T any] struct {
	value T
	full  bool
}

// put places value at position, which must not be filled and not be below next.
func (l *line[T]) put(position int, value T) {
	if span := position - l.next + 1; span > len(l.slots) {
		l.grow(span)
	}
	l.slots[position%len(l.slots)] = slot[T]{value: value, full: true}
	l.end = max(l.end, position+1)
}

// take hands out the value at the next position, if it is there.
func (l *line[T]) take() (value T, ok bool) {
	if l.next == l.end {
		return value, false
	}
	at := &l.slots[l.next%len(l.slots)]
	if !at.full {
		return value, false
	}
	value = at.value
	*at = slot[T]{}
	l.next++
	return value, true
}

// skip moves to the next value that is there, over the gaps before it. It is for the end, when the gaps stay.
func (l *line[T]) skip() {
	for l.next < l.end && !l.slots[l.next%len(l.slots)].full {
		l.next++
	}
}

func (l *line[T]) grow(span int) {
	const least = 16
	bigger := make([]slot[T], max(span, 2*len(l.slots), least))
	for p := l.next; p < l.end; p++ {
		bigger[p%len(bigger)] = l.slots[p%len(l.slots)]
	}
	l.slots = bigger
}
