package guard

import (
	"net"
	"sync"
)

// Slots bounds how many of something there are at a time.
type Slots chan struct{}

// NewSlots makes room for n.
func NewSlots(n int) Slots { return make(Slots, n) }

// Take takes a slot if one is free; give it back with Free.
func (s Slots) Take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

// Free gives a slot back.
func (s Slots) Free() { <-s }

// Listen bounds the connections of a listener: when there are n, the next one waits in the system until one is closed.
func Listen(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: NewSlots(n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	slots  Slots
	closed chan struct{}
	once   sync.Once
}

// Accept waits for a slot, then for a connection.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		l.slots.Free()
		return nil, err
	}
	return &limitedConn{Conn: c, free: l.slots.Free}, nil
}

// Close ends Accept.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	once sync.Once
	free func()
}

// Close gives the slot back, once.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.free)
	return err
}
