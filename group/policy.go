package group

import "math/rand/v2"

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
	total := 0
	for _, f := range p.order {
		total += f.queue.Weight
	}
	for i := range p.order {
		pick := rand.IntN(total)
		for j := i; j < len(p.order); j++ {
			if pick -= p.order[j].queue.Weight; pick < 0 {
				p.order[i], p.order[j] = p.order[j], p.order[i]
				break
			}
		}
		total -= p.order[i].queue.Weight
	}
	return p.order
}
