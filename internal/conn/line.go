package conn

import (
	"context"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Line is one connection for calls that come one after the other. A call under way can be given up from elsewhere: go-redis itself waits for
// the answer, whatever becomes of the context.
type Line struct {
	client *redis.Client

	mu   sync.Mutex
	conn net.Conn // the last that was made
	turn int      // of what may be given up
}

// NewLine returns a Line beside a client. It dials at the first call, and sends none twice.
func NewLine(from *redis.Client) (*Line, error) {
	l := &Line{}
	own, err := Derive(from, Options{PoolSize: 1, MaxRetries: -1, dialed: l.dialed})
	if err != nil {
		return nil, err
	}
	l.client = own.(*redis.Client) //nolint:forcetypeassert // it is what from is
	return l, nil
}

// Client makes the calls.
func (l *Line) Client() *redis.Client { return l.client }

// Close closes the connection.
func (l *Line) Close() error { return l.client.Close() }

// Guard breaks the connection when ctx ends before release is called: the call under way fails, and it is not known what became of it.
func (l *Line) Guard(ctx context.Context) (release func()) {
	l.mu.Lock()
	l.turn++
	turn := l.turn
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { l.cut(turn) })
	return func() {
		if !stop() { // it has begun, and must not meet the next call
			l.mu.Lock()
			l.turn++
			l.mu.Unlock()
		}
	}
}

// cut breaks the connection, if it is still the turn of whoever asks.
func (l *Line) cut(turn int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if turn != l.turn {
		return
	}
	l.turn++
	if l.conn != nil {
		_ = l.conn.Close() // the call tells
	}
}

func (l *Line) dialed(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}
