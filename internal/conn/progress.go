package conn

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	defaultDial = 5 * time.Second // of go-redis, where a cluster client names none
	writeAtOnce = 64 << 10
)

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// progressing makes the connections of a dialer give up on silence, not on size. go-redis allows a fixed time for a whole reply: tasks
// of a megabyte each, read over a slow line, would never be through, and a worker would read them again and again.
func progressing(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		own := &progress{Conn: c}
		if raw, ok := c.(syscall.Conn); ok { // go-redis asks it whether a connection of its pool still lives
			return &rawProgress{progress: own, Conn: raw}, nil
		}
		return own, nil
	}
}

// clusterDialer is the one that a cluster client uses.
func clusterDialer(o *redis.ClusterOptions) dialer {
	if o.Dialer != nil {
		return o.Dialer
	}
	timeout := o.DialTimeout
	if timeout == 0 {
		timeout = defaultDial
	}
	return redis.NewDialer(&redis.Options{DialTimeout: timeout, TLSConfig: o.TLSConfig})
}

// progress puts its deadlines off whenever bytes pass.
type progress struct {
	net.Conn

	reading, writing patience
}

// patience is a deadline, and how far ahead it was when it was set; both 0 for none.
type patience struct{ until, length atomic.Int64 }

func (p *patience) set(deadline time.Time) {
	if deadline.IsZero() {
		p.until.Store(0)
		p.length.Store(0)
		return
	}
	p.until.Store(deadline.UnixNano())
	p.length.Store(int64(time.Until(deadline)))
}

// next is the deadline to set now that bytes have passed; false while the old one is far enough.
func (p *patience) next() (time.Time, bool) {
	const worth = 4 // to be moved when a quarter is over
	now, length := time.Now(), p.length.Load()
	if length <= 0 || p.until.Load()-now.UnixNano() > length-length/worth {
		return now, false
	}
	deadline := now.Add(time.Duration(length))
	p.until.Store(deadline.UnixNano())
	return deadline, true
}

// Read puts the deadline of reads off.
func (c *progress) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && err == nil {
		if deadline, ok := c.reading.next(); ok {
			err = c.Conn.SetReadDeadline(deadline)
		}
	}
	return n, err
}

// Write puts the deadline of writes off after each part.
func (c *progress) Write(b []byte) (written int, err error) {
	for err == nil && len(b) > writeAtOnce {
		var n int
		n, err = c.Conn.Write(b[:writeAtOnce])
		written, b = written+n, b[n:]
		if deadline, ok := c.writing.next(); ok && err == nil {
			err = c.Conn.SetWriteDeadline(deadline)
		}
	}
	if err != nil {
		return written, err
	}
	n, err := c.Conn.Write(b)
	return written + n, err
}

// SetDeadline sets both.
func (c *progress) SetDeadline(t time.Time) error {
	c.reading.set(t)
	c.writing.set(t)
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline is how long nothing may come.
func (c *progress) SetReadDeadline(t time.Time) error {
	c.reading.set(t)
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is how long nothing may go.
func (c *progress) SetWriteDeadline(t time.Time) error {
	c.writing.set(t)
	return c.Conn.SetWriteDeadline(t)
}

// rawProgress is one whose socket can be had.
type rawProgress struct {
	*progress
	syscall.Conn
}
