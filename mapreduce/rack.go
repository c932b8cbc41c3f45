package mapreduce

// rack holds results until they are handed out: as they came, or in the order of their inputs. The window of the batch bounds it.
type rack[In, Out any] struct {
	ordered bool
	came    []*segment[In, Out]       // when the order is that of arrival
	byIndex map[int]*segment[In, Out] // otherwise, by the index of the first result
	next    int                       // the index that is handed out next
	before  spans                     // what was handed out before the batch was resumed, from there on
}

func (r *rack[In, Out]) put(s *segment[In, Out]) {
	if !r.ordered {
		r.came = append(r.came, s)
		return
	}
	if r.byIndex == nil {
		r.byIndex = make(map[int]*segment[In, Out])
	}
	r.byIndex[s.index()] = s
}

// take hands out what is next, nil when that is not there.
func (r *rack[In, Out]) take() *segment[In, Out] {
	if r.ordered {
		r.next = r.before.after(r.next)
		s := r.byIndex[r.next]
		if s != nil {
			delete(r.byIndex, r.next)
			r.next += len(s.values)
		}
		return s
	}
	if len(r.came) == 0 {
		return nil
	}
	s := r.came[0]
	r.came[0] = nil
	if r.came = r.came[1:]; len(r.came) == 0 {
		r.came = nil
	}
	return s
}

// skip moves to the next result that is there, over the gaps before it. It is for the end, when the gaps stay.
func (r *rack[In, Out]) skip() {
	if len(r.byIndex) == 0 || r.byIndex[r.next] != nil {
		return
	}
	first := true
	for index := range r.byIndex {
		if first || index < r.next {
			r.next, first = index, false
		}
	}
}
