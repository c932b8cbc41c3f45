package group

import (
	"sync"
	"time"
)

const (
	prefetchWork = 5 * time.Millisecond // how much work for all slots may wait in the buffer
	prefetchMost = 1000                 // tasks
	paceWeight   = 16                   // a handler's time counts this part in the mean
	mostParked   = 1                    // goroutines kept while there is no work
	mostBytes    = 16 << 20             // of one read, and of what waits in the buffer, by the size of the entries before
	firstRead    = 16                   // entries, while nothing is known of their size
	sizeWeight   = 8                    // how much of the difference is kept when entries are smaller than those before
)

// pool runs flights, at most limit at a time. Goroutines live while there is work: each one that takes a task wakes another one
// if more wait, so that few run while tasks are short, and all slots fill while they are long. One stays: a lone task starts sooner on a
// stack that has grown already.
type pool struct {
	limit int
	run   func(*flight)

	mu      sync.Mutex
	waiting []*flight
	head    int           // of waiting
	busy    int           // goroutines that hold a slot
	mean    time.Duration // of a handler call; 0 until measured
	size    int           // of an entry in bytes, rather too high; 0 until measured
	closed  bool          // nothing starts any more
	alone   bool          // a suspect waits or runs: take nothing new
	solo    bool          // it runs: start nothing beside it

	parked int          // goroutines that wait for a flight
	resume chan *flight // for them

	wanted int           // the fetcher waits for so many free places
	freed  chan struct{} // they are there
}

func newPool(limit int, run func(*flight)) *pool {
	return &pool{limit: limit, run: run, freed: make(chan struct{}, 1), resume: make(chan *flight, mostParked)}
}

// push adds flights to the buffer and starts the first.
func (p *pool) push(batch []*flight) {
	if len(batch) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head > 0 && len(p.waiting)+len(batch) > cap(p.waiting) {
		n := copy(p.waiting, p.waiting[p.head:])
		clear(p.waiting[n:])
		p.waiting, p.head = p.waiting[:n], 0
	}
	p.waiting = append(p.waiting, batch...)
	p.spawn()
}

// spawn starts or resumes one goroutine if there is work and a slot. mu is held.
func (p *pool) spawn() {
	if p.closed || p.solo || p.busy >= p.limit {
		return
	}
	f := p.pop()
	if f == nil {
		return
	}
	p.busy++
	if p.parked > 0 {
		select {
		case p.resume <- f:
			p.parked--
			return
		default: // it has not taken the last one yet
		}
	}
	go p.work(f)
}

// park waits for a flight if no other goroutine does; nil when this one is to end.
func (p *pool) park() *flight {
	p.mu.Lock()
	if p.closed || p.parked == mostParked {
		p.mu.Unlock()
		return nil
	}
	p.parked++
	p.mu.Unlock()
	return <-p.resume
}

// pop takes the first flight that is still waiting. mu is held.
func (p *pool) pop() *flight {
	for p.head < len(p.waiting) {
		f := p.waiting[p.head]
		p.waiting[p.head] = nil
		if p.head++; p.head == len(p.waiting) {
			p.waiting, p.head = p.waiting[:0], 0
		}
		if f.move(flightWaiting, flightRunning) {
			return f
		}
	}
	return nil
}

// work runs flights until none waits, or until the pool is closed. A handler may end the goroutine with runtime.Goexit.
func (p *pool) work(f *flight) {
	defer func() {
		if f != nil {
			p.next(f, true)
		}
	}()
	for f != nil {
		p.mu.Lock()
		p.spawn()
		p.mu.Unlock()
		for f != nil {
			p.run(f)
			f = p.next(f, false)
		}
		f = p.park()
	}
}

// next gives back the slot of done and takes the next flight, if this goroutine can go on.
func (p *pool) next(done *flight, exits bool) *flight {
	took := done.took
	if took == 0 {
		took = time.Since(done.started)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.measure(took)
	if done.abandoned.Load() {
		return nil // the slot is another one's since then
	}
	p.solo = false
	if exits {
		p.busy--
		p.spawn()
		p.tell()
		return nil
	}
	var f *flight
	if !p.closed {
		f = p.pop()
	}
	if f == nil {
		p.busy--
	} else {
		f.started = done.started.Add(took) // a clock costs more than the rest of this
	}
	p.tell()
	return f
}

// measure adds to the mean. mu is held.
func (p *pool) measure(took time.Duration) {
	took = max(took, time.Microsecond)
	if p.mean == 0 {
		p.mean = took
		return
	}
	p.mean = max(p.mean+(took-p.mean)/paceWeight, time.Microsecond)
}

// abandon takes the slot from a flight whose handler does not return.
func (p *pool) abandon(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.abandoned.Swap(true) {
		return
	}
	p.solo = false
	p.busy--
	p.spawn()
	p.tell()
}

// tell wakes the fetcher if there is room enough. mu is held.
func (p *pool) tell() {
	if p.wanted > 0 && p.room() >= p.wanted {
		p.wanted = 0
		p.wake()
	}
}

func (p *pool) wake() {
	select {
	case p.freed <- struct{}{}:
	default:
	}
}

// prefetch is how many tasks may wait while all slots are busy: as many as are done in a moment. mu is held.
func (p *pool) prefetch() int {
	if p.mean == 0 {
		return 0
	}
	return min(int(time.Duration(p.limit)*prefetchWork/p.mean), prefetchMost, p.atOnce())
}

// atOnce is how many entries may come with one read: Redis counts entries, and a thousand of a megabyte each would be too much to hold.
// mu is held.
func (p *pool) atOnce() int {
	if p.size == 0 {
		return firstRead
	}
	return max(1, mostBytes/p.size)
}

// weigh learns the size of entries from a read. It believes at once that they are larger, and slowly that they are smaller.
func (p *pool) weigh(entries, bytes int) {
	size := max(1, bytes/entries)
	p.mu.Lock()
	defer p.mu.Unlock()
	if size < p.size {
		size = p.size - (p.size-size+sizeWeight-1)/sizeWeight
	}
	p.size = size
}

// room is how many more tasks may be taken in hand. mu is held.
func (p *pool) room() int {
	if p.closed || p.alone {
		return 0
	}
	return max(0, min(p.limit+p.prefetch()-p.busy-(len(p.waiting)-p.head), p.atOnce()))
}

// free is how many more tasks may be taken in hand.
func (p *pool) free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room()
}

// want returns the room if it is worth a round trip; if not, freed tells when it is. While tasks are so short that some are
// prefetched, half of the buffer must be empty; otherwise every slot counts.
func (p *pool) want() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	least := max(1, p.prefetch()/2)
	if room := p.room(); room >= least {
		p.wanted = 0
		return room
	}
	p.wanted = least
	return 0
}

// slow says that tasks wait longer than the mean had it: prefetch no more until measured again.
func (p *pool) slow(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mean = max(p.mean, took)
}

// setAlone stops or resumes the taking in of new tasks around a suspect's run.
func (p *pool) setAlone(alone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alone = alone
	if !alone {
		p.wake()
	}
}

// runAlone starts a flight whatever the buffer holds.
func (p *pool) runAlone(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !f.move(flightWaiting, flightRunning) {
		return
	}
	p.solo = true
	p.busy++
	go p.work(f)
}

// idle tells whether nothing runs and nothing waits.
func (p *pool) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy == 0 && p.head == len(p.waiting)
}

// running is how many goroutines hold a slot.
func (p *pool) running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy
}

// close makes the pool start nothing any more.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.resume)
	}
}

// take removes from the buffer all flights that pick answers true for, and ends them: the caller decides what becomes of them.
func (p *pool) take(pick func(*flight) bool) []*flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	var taken []*flight
	kept := p.waiting[:0]
	for _, f := range p.waiting[p.head:] {
		if pick(f) {
			if f.move(flightWaiting, flightEnded) {
				taken = append(taken, f)
			}
			continue
		}
		kept = append(kept, f)
	}
	clear(p.waiting[len(kept):])
	p.waiting, p.head = kept, 0
	p.tell()
	return taken
}
