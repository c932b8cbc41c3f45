package mapreduce

import (
	"time"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// parcel is inputs that travel in one entry: one as a task, more as a chunk.
type parcel[In any] struct {
	first  int // index of the first of them, the others follow it
	inputs []In
	pack   []byte // their payloads, until they are sent
	bytes  int64  // of these, as far as no result has taken its share
	id     string // of the task or chunk, once it is sent
	ids    string // of all items; who hands out the results makes it when it is needed

	// What the collector has.
	left  int    // outcomes that are not in
	taken []bool // whose are; nil before the first
}

// newParcel makes one with room for so many inputs of so many bytes each.
func newParcel[In any](first, size, weight int) *parcel[In] {
	return &parcel[In]{first: first, inputs: make([]In, 0, size), pack: make([]byte, 0, min(size*weight, chunkBytes))}
}

// task makes what is sent of a parcel; template has all but the ID and the payload.
func (p *parcel[In]) task(template stream.Task) stream.Task {
	t := template
	t.ID, t.Payload = p.id, p.pack
	if len(p.inputs) > 1 {
		t.Items = len(p.inputs)
	} else {
		t.Payload = wire.FirstItem(p.pack)
	}
	return t
}

// take notes that the outcome of an input is in; it reports false for a second one.
func (p *parcel[In]) take(item int) bool {
	if p.taken == nil {
		p.taken = make([]bool, len(p.inputs))
	}
	fresh := !p.taken[item]
	p.taken[item] = true
	return fresh
}

// untouched tells whether no outcome of it is in yet.
func (p *parcel[In]) untouched() bool { return p.taken == nil && p.left == len(p.inputs) }

// idOf is taskID for the collector, which needs few.
func (p *parcel[In]) idOf(item int) string {
	if len(p.inputs) == 1 {
		return p.id
	}
	return wire.ItemID(p.id, item)
}

// taskID is the ID of the task of one input.
func (p *parcel[In]) taskID(item int) string {
	switch {
	case p.id == "" || len(p.inputs) == 1:
		return p.id
	case p.ids == "":
		p.ids = wire.ItemIDs(p.id, len(p.inputs))
	}
	return wire.IDAt(p.ids, item)
}

// share takes off the bytes of n inputs whose outcome is in.
func (p *parcel[In]) share(n int) int64 {
	bytes := p.bytes
	if n < p.left {
		bytes = bytes * int64(n) / int64(p.left)
	}
	p.left -= n
	p.bytes -= bytes
	return bytes
}

// segment is results of neighbours of one parcel.
type segment[In, Out any] struct {
	parcel   *parcel[In]
	at       int // in the parcel
	values   []Out
	errs     []error // as far as there are some
	attempts []int   // likewise
	bytes    int64
	failed   int
}

// index is that of the input of the first result.
func (s *segment[In, Out]) index() int { return s.parcel.first + s.at }

// result is one of them.
func (s *segment[In, Out]) result(i int) Result[In, Out] {
	at := s.at + i
	r := Result[In, Out]{Index: s.parcel.first + at, Input: s.parcel.inputs[at], Value: s.values[i], TaskID: s.parcel.taskID(at)}
	if i < len(s.errs) {
		r.Err, r.Attempt = s.errs[i], s.attempts[i]
	}
	return r
}

// fail notes that a result is an error.
func (s *segment[In, Out]) fail(i int, err error, attempt int) {
	for len(s.errs) <= i {
		s.errs, s.attempts = append(s.errs, nil), append(s.attempts, 0)
	}
	s.errs[i], s.attempts[i] = err, attempt
	s.failed++
}

const (
	chunkTime  = 2 * time.Millisecond // of handlers, that a chunk is to take
	chunkBytes = 64 << 10             // of payloads, and about as many of results
	chunkStart = 16                   // items, before anything is measured
	shares     = 16                   // no chunk takes more of the window than one of so many
	easing     = 8                    // a chunk counts this part in the mean when it is better than the mean
	forgetting = 64                   // and a task whose time nobody tells this part, as if it took none
	growth     = 4                    // times the items, at most, from one chunk to the next
)

// sizer says how many inputs go in one parcel: as many as handlers take a moment for.
type sizer struct {
	most   int // at any rate
	size   int
	each   float64 // nanoseconds of a handler
	weight float64 // bytes of a result
}

func newSizer(limit, window int) sizer {
	most := max(1, min(limit, window/shares))
	return sizer{most: most, size: min(chunkStart, most)}
}

// measured takes in what a chunk tells of its items.
func (s *sizer) measured(each time.Duration, results, bytes int) {
	s.each = eased(s.each, float64(each))
	s.weight = eased(s.weight, float64(bytes)/float64(max(1, results)))
	s.fit()
}

// eased follows what is worse at once, and what is better slowly.
func eased(mean, value float64) float64 {
	if value >= mean {
		return value
	}
	return mean + (value-mean)/easing
}

// unmeasured lets a little of a long time be forgotten: when handlers have become faster, nobody would know otherwise.
func (s *sizer) unmeasured() {
	if s.each > 0 {
		s.each -= s.each / forgetting
		s.fit()
	}
}

func (s *sizer) fit() {
	fits := float64(s.size * growth)
	fits = min(fits, float64(s.most), float64(chunkTime)/max(s.each, 1), chunkBytes/max(s.weight, 1))
	s.size = max(1, int(fits))
}
