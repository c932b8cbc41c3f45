package group

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// policy says in which order queues are asked.
type policy struct {
	feeds  []*feed
	strict bool
	order  []*feed // kept between calls
}

func newPolicy(feeds []*feed, strict bool) policy {
	return policy{feeds: feeds, strict: strict, order: make([]*feed, 0, len(feeds))}
}

// next is the order of one pass: as listed when strict; otherwise random, so that each queue is first as often as its weight
// says, second among the rest likewise, and none starves. The answer is good until the next call.
func (p *policy) next() []*feed {
	p.order = append(p.order[:0], p.feeds...)
	if p.strict || len(p.order) == 1 {
		return p.order
	}
	// The least of exponential times is that of a queue as often as its rate says, and the next one likewise among the rest.
	for _, f := range p.order {
		f.turn = rand.ExpFloat64() / float64(f.queue.Weight)
	}
	slices.SortFunc(p.order, func(a, b *feed) int { return cmp.Compare(a.turn, b.turn) })
	return p.order
}
