package redistest

import (
	"bufio"
	"net"
	"sync"
)

// handshake holds what clients send before the first command of their user.
var handshake = map[string]bool{"HELLO": true, "AUTH": true, "SELECT": true, "CLIENT": true, "READONLY": true}

// pushed holds the commands whose answer is no reply but a push message.
var pushed = map[string]bool{
	"SUBSCRIBE": true, "UNSUBSCRIBE": true, "PSUBSCRIBE": true, "PUNSUBSCRIBE": true, "SSUBSCRIBE": true, "SUNSUBSCRIBE": true,
}

// link is one client's connection and its other half.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	server net.Conn

	mu      sync.Mutex
	waiting []bool // a request each, in order: throw its reply away?
}

func (l *link) pumpRequests() {
	defer l.endRequests()
	from, to := bufio.NewReader(l.client), bufio.NewWriter(l.server)
	for {
		request, err := readFrame(from)
		if err != nil {
			return
		}
		if l.proxy.hole() != nil {
			continue
		}
		cut, drop := l.proxy.judge(request)
		if cut {
			_ = to.Flush() // what came before it in the pipeline does run
			l.reset()
			return
		}
		if !pushed[command(request)] {
			l.mu.Lock()
			l.waiting = append(l.waiting, drop)
			l.mu.Unlock()
		}
		_, _ = to.Write(request)
		if from.Buffered() == 0 && to.Flush() != nil {
			return
		}
	}
}

func (l *link) pumpReplies() {
	defer l.endReplies()
	from, to := bufio.NewReader(l.server), bufio.NewWriter(l.client)
	for {
		reply, err := readFrame(from)
		if err != nil {
			return
		}
		drop := reply[0] != '>' && l.answered()
		if l.proxy.hole() != nil {
			continue
		}
		if drop {
			_ = to.Flush() // replies before it in the pipeline do arrive
			l.proxy.countDropped()
			l.reset()
			continue
		}
		// Read on when the client is gone: to close with replies unread would make the system throw away requests that Redis
		// has not read yet.
		_, _ = to.Write(reply)
		if from.Buffered() == 0 {
			_ = to.Flush()
		}
	}
}

// answered takes the oldest waiting request off the list and reports whether its reply is to be thrown away.
func (l *link) answered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return false // a message of a RESP2 subscription
	}
	drop := l.waiting[0]
	l.waiting = l.waiting[1:]
	return drop
}

// reset makes the client see "connection reset by peer".
func (l *link) reset() {
	_ = l.client.SetLinger(0)
	_ = l.client.Close()
}

// endRequests tells Redis that the client is gone, but not before a black hole ends. Redis then closes its side, which ends
// pumpReplies.
func (l *link) endRequests() {
	l.proxy.awaitHoleEnd()
	if half, ok := l.server.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// endReplies closes both sides once Redis is done, but not before a black hole ends.
func (l *link) endReplies() {
	l.proxy.awaitHoleEnd()
	l.close()
	l.proxy.forget(l)
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}
