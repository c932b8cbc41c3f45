package simulation

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// How long a request is on its way.
const (
	leastLatency = 50 * time.Microsecond
	moreLatency  = 500 * time.Microsecond
)

// link is one connection: to go-redis a net.Conn, to Redis a peer. One write is a request, of one command or more.
type link struct {
	world *world
	owner *process
	id    int64 // as CLIENT ID says
	rng   *rand.Rand
	peer  *server.Peer
	woken chan struct{} // something has changed for the reader

	mu        sync.Mutex
	in        []byte    // for the reader
	readUntil time.Time // zero for no deadline
	closed    bool      // by the client
	broken    error     // by the network
	half      []byte    // of a request
	requests  []*request
	busy      bool // the first of them is on its way, or in Redis
	answers   []answer
	mute      bool // no answer arrives any more
	deaf      bool // no request arrives any more

	serving    bool   // Redis answers a request
	out        []byte // what it has said so far
	subscribed bool
	gone       bool // Redis knows that the connection is over
}

// request is what one write brought.
type request struct {
	commands [][]string
	fate     fate
	delay    time.Duration // of a late request or answer
	reach    int           // how many of its commands arrive
	done     int           // how many Redis has answered
}

// answer is on its way to the client.
type answer struct {
	at   time.Time
	data []byte
}

// newLink connects a process with Redis.
func (w *world) newLink(owner *process) *link {
	l := &link{world: w, owner: owner, id: w.nextLink.Add(1), woken: make(chan struct{}, 1)}
	l.rng = rand.New(rand.NewPCG(w.seed, owner.id<<32|owner.links.Add(1)))
	l.peer = server.NewPeer(bufio.NewWriter(voice{l}))
	owner.add(l)
	w.redis.connect(l)
	return l
}

// Read waits for an answer.
func (l *link) Read(p []byte) (int, error) {
	for {
		n, until, err := l.receive(p)
		if n > 0 || err != nil {
			return n, err
		}
		if until.IsZero() {
			<-l.woken
			continue
		}
		late := time.NewTimer(time.Until(until))
		select {
		case <-l.woken:
		case <-late.C:
		}
		late.Stop()
	}
}

func (l *link) receive(p []byte) (int, time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return 0, time.Time{}, net.ErrClosed
	case len(l.in) > 0:
		n := copy(p, l.in)
		l.in = l.in[n:]
		return n, time.Time{}, nil
	case l.broken != nil:
		return 0, time.Time{}, l.broken
	case !l.readUntil.IsZero() && !time.Now().Before(l.readUntil):
		return 0, time.Time{}, os.ErrDeadlineExceeded
	}
	return 0, l.readUntil, nil
}

func (l *link) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// Write sends a request, and does not wait.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	if l.closed || l.broken != nil {
		defer l.mu.Unlock()
		if l.closed {
			return 0, net.ErrClosed
		}
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	}
	commands, rest := parseAll(append(l.half, p...))
	l.half = rest
	if len(commands) == 0 {
		l.mu.Unlock()
		return len(p), nil
	}
	r := &request{commands: commands, reach: len(commands)}
	if commands[0][0] == "hello" { // go-redis holds a lock while it connects, and time stands still for who waits for that
		l.mu.Unlock()
		l.world.redis.serve(l, r)
		return len(p), nil
	}
	l.world.decide(l, r)
	l.requests = append(l.requests, r)
	first := !l.busy
	l.busy = true
	l.mu.Unlock()
	if first {
		l.travel(r)
	}
	return len(p), nil
}

// travel lets a request arrive after a while.
func (l *link) travel(r *request) {
	after := leastLatency + time.Duration(l.rng.Int64N(int64(moreLatency)))
	if r.fate == lateRequest {
		after += r.delay
	}
	time.AfterFunc(after, l.arrive)
}

// arrive hands the first request to Redis, unless it does not get there.
func (l *link) arrive() {
	if wait := l.owner.stalledFor(); wait > 0 {
		time.AfterFunc(wait, l.arrive)
		return
	}
	l.mu.Lock()
	r := l.requests[0]
	lost := l.deaf && r.fate != lateRequest
	if r.fate == swallowed {
		l.deaf, l.mute, lost = true, true, true
	}
	l.mu.Unlock()
	if r.fate == cutBefore {
		l.snap()
		lost = true
	}
	if !lost && !l.world.redis.serve(l, r) {
		return // it waits there
	}
	l.served()
}

// served goes on with the next request.
func (l *link) served() {
	l.mu.Lock()
	l.requests = slices.Delete(l.requests, 0, 1)
	l.busy = len(l.requests) > 0
	var next *request
	if l.busy {
		next = l.requests[0]
	}
	l.mu.Unlock()
	if next != nil {
		l.travel(next)
	}
}

// voice is what Redis writes to: answers, and messages of channels.
type voice struct{ *link }

// Write gathers what Redis says while it serves a request. What it says at another time is a message.
func (v voice) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.serving {
		v.out = append(v.out, p...)
	} else {
		v.send(slices.Clone(p), 0)
	}
	return len(p), nil
}

// reply sends what Redis has said to a request. mu is held.
func (l *link) reply(r *request, said []byte) (cut bool) {
	if r.fate == cutAfter || r.fate == cutMiddle {
		return true
	}
	if r.fate == muted {
		l.mute = true
		return false
	}
	var delay time.Duration // of a late request it is over
	if r.fate == lateAnswer {
		delay = r.delay
	}
	l.send(said, delay)
	return false
}

// send brings data to the client, in order. mu is held.
func (l *link) send(data []byte, after time.Duration) {
	if l.mute || l.broken != nil || l.closed || len(data) == 0 {
		return
	}
	after = max(after, l.owner.stalledFor())
	now := time.Now()
	at := now.Add(after)
	if n := len(l.answers); n > 0 && l.answers[n-1].at.After(at) {
		at = l.answers[n-1].at
	}
	if !at.After(now) {
		l.in = append(l.in, data...)
		l.wake()
		return
	}
	l.answers = append(l.answers, answer{at: at, data: data})
	time.AfterFunc(at.Sub(now), l.deliver)
}

// deliver hands out the answers that have arrived.
func (l *link) deliver() {
	if wait := l.owner.stalledFor(); wait > 0 {
		time.AfterFunc(wait, l.deliver)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for len(l.answers) > 0 && !l.answers[0].at.After(now) {
		if l.broken == nil {
			l.in = append(l.in, l.answers[0].data...)
		}
		l.answers = l.answers[1:]
	}
	l.wake()
}

// snap breaks the connection: what is on its way is lost, both sides hear of it.
func (l *link) snap() {
	l.mu.Lock()
	if l.broken == nil {
		l.broken = io.EOF
		if l.rng.IntN(2) == 0 {
			l.broken = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
		}
	}
	l.in, l.deaf = nil, true
	l.wake()
	l.mu.Unlock()
	l.world.redis.hangUp(l)
}

// isGone tells whether Redis knows that the connection is over.
func (l *link) isGone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

// Close is by the client. Redis hears of it a little later; where nothing gets through, much later.
func (l *link) Close() error {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	after := leastLatency
	if l.mute || l.deaf {
		after = time.Duration(l.rng.Int64N(int64(longestBlackHole)))
	}
	l.wake()
	l.mu.Unlock()
	if again {
		return nil
	}
	l.owner.remove(l)
	time.AfterFunc(max(after, l.owner.stalledFor()), func() { l.world.redis.hangUp(l) })
	return nil
}

// SetReadDeadline sets until when a read waits.
func (l *link) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readUntil = t
	l.wake()
	return nil
}

// SetDeadline is about reads: writes do not wait.
func (l *link) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writes do not wait.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// LocalAddr is that of the process.
func (l *link) LocalAddr() net.Addr { return address }

// RemoteAddr is that of Redis.
func (l *link) RemoteAddr() net.Addr { return address }

var (
	address    = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 6379}
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: errors.New("connection refused")}
)
