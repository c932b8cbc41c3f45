package redistest

import (
	"net"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Proxy stands between clients and a server and does to their connections what networks do. It reads both directions as Redis
// protocol, so that a reply is known to belong to a request: a lost reply is that of a command which ran. All methods are safe
// for concurrent use.
//
// Not covered: a RESP2 subscription that shares its connection with other commands, and CLIENT REPLY OFF.
type Proxy struct {
	Addr string // 127.0.0.1:port

	t               testing.TB
	upNetwork, upTo string
	port            int

	mu        sync.Mutex
	listener  net.Listener
	links     map[*link]struct{}
	cutAfter  func([]byte) bool
	cutBefore func([]byte) bool
	toDrop    int
	holeEnd   chan struct{} // closed when the black hole ends; nil without one
	dropped   int
	accepted  int
	closed    bool
	wg        sync.WaitGroup
}

// NewProxy starts a proxy to the server for the length of the test; it passes everything on until told otherwise.
func NewProxy(t testing.TB, upstream *Server) *Proxy {
	t.Helper()
	return NewProxyTo(t, upstream.Network, upstream.Addr)
}

// NewProxyTo is NewProxy for a server that is not a [Server], such as one in a container.
func NewProxyTo(t testing.TB, network, addr string) *Proxy {
	t.Helper()
	port := FreePort(t)
	p := &Proxy{Addr: loopback(port), t: t, upNetwork: network, upTo: addr, port: port, links: map[*link]struct{}{}}
	if err := p.listen(); err != nil {
		t.Fatalf("redistest: listen for the proxy: %v", err)
	}
	t.Cleanup(p.close)
	return p
}

// URL is the proxy's address as redis.ParseURL takes it.
func (p *Proxy) URL() string { return "redis://" + p.Addr + "/0" }

// Client is a new go-redis client through the proxy, closed with the test. Each change may edit the options before the client
// is made.
func (p *Proxy) Client(t testing.TB, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	return newClient(t, "tcp", p.Addr, change)
}

// CutAfterRequest makes every request for which match answers true reach Redis and run, throws its reply away and resets the
// client's connection. match sees the raw request, one command of a pipeline at a time, and is never called twice at once; it
// must not call the proxy. Nil ends it.
func (p *Proxy) CutAfterRequest(match func(request []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAfter = match
}

// CutBeforeRequest resets the client's connection when match answers true, before the request reaches Redis. Nil ends it.
func (p *Proxy) CutBeforeRequest(match func(request []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutBefore = match
}

// DropReplies throws the next n replies away, each with a reset of its connection. Replies to what a client sends while it
// connects (HELLO, AUTH, SELECT, CLIENT, READONLY) do not count and pass.
func (p *Proxy) DropReplies(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toDrop = n
}

// Dropped is how many replies were thrown away by DropReplies and CutAfterRequest.
func (p *Proxy) Dropped() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}

// Accepted is how many connections clients made so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open is how many connections clients hold now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Blackhole swallows the bytes of both directions while on; connections stay open, and neither side learns that the other one
// closed, until it is off again. What was swallowed is lost.
func (p *Proxy) Blackhole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.holeEnd == nil:
		p.holeEnd = make(chan struct{})
	case !on && p.holeEnd != nil:
		close(p.holeEnd)
		p.holeEnd = nil
	}
}

// Refuse makes new connections fail with "connection refused" while on. Open ones go on; see ResetAll.
func (p *Proxy) Refuse(on bool) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.listener != nil:
		_ = p.listener.Close()
		p.listener = nil
	case !on && p.listener == nil && !p.closed:
		if err := p.listenLocked(); err != nil {
			p.t.Errorf("redistest: listen again on %s: %v", p.Addr, err)
		}
	}
}

// ResetAll resets every open connection.
func (p *Proxy) ResetAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

func (p *Proxy) listen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listenLocked()
}

func (p *Proxy) listenLocked() error {
	listener, err := net.Listen("tcp", p.Addr) //nolint:noctx // lives as long as the test
	if err != nil {
		return err
	}
	p.listener = listener
	p.wg.Go(func() { p.accept(listener) })
	return nil
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		up, err := net.Dial(p.upNetwork, p.upTo) //nolint:noctx // local
		if err != nil {
			_ = conn.Close()
			continue
		}
		l := &link{proxy: p, client: conn.(*net.TCPConn), server: up}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			l.close()
			return
		}
		p.links[l] = struct{}{}
		p.accepted++
		p.wg.Go(l.pumpRequests)
		p.wg.Go(l.pumpReplies)
		p.mu.Unlock()
	}
}

func (p *Proxy) close() {
	p.Blackhole(false)
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		_ = p.listener.Close()
	}
	for l := range p.links {
		l.close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// hole is closed when the black hole ends; it is nil when there is none.
func (p *Proxy) hole() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holeEnd
}

func (p *Proxy) awaitHoleEnd() {
	if hole := p.hole(); hole != nil {
		<-hole
	}
}

func (p *Proxy) countDropped() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped++
}

func (p *Proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// judge decides what becomes of a request: cut the connection before it, or throw its reply away.
func (p *Proxy) judge(request []byte) (cut, drop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cutBefore != nil && p.cutBefore(request) {
		return true, false
	}
	if p.cutAfter != nil && p.cutAfter(request) {
		return false, true
	}
	if p.toDrop > 0 && !handshake[command(request)] {
		p.toDrop--
		return false, true
	}
	return false, false
}
