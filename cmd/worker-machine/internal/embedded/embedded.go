// Package embedded runs a small Redis inside this process, for demonstrations and for trying things out.
//
//	server, err := embedded.Start("127.0.0.1:0")
//	defer server.Close()
//	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
//
// It is miniredis: it keeps everything in memory and nothing on disk, does one command at a time, and knows no ACLs, no
// replication and no limit of its memory. It is for the command line only; the library never imports it.
package embedded

import (
	"fmt"
	"net"

	"github.com/alicebob/miniredis/v2"
)

// Server is a running embedded Redis.
type Server struct{ mini *miniredis.Miniredis }

// Start listens on a loopback address; port 0 takes a free one. Another address is refused: anyone who reached it could have
// a worker run what they like.
func Start(addr string) (*Server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("embedded: address %s: %w", addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("embedded: %s is not a loopback address such as 127.0.0.1", host)
	}
	mini := miniredis.NewMiniRedis()
	mini.ClockTTL(true) // leases and locks run out by the clock, as on a real one; the default is by hand
	if err := mini.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("embedded: listen: %w", err)
	}
	return &Server{mini: mini}, nil
}

// Addr is host:port.
func (s *Server) Addr() string { return s.mini.Addr() }

// URL is the address as --redis takes it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Close ends the server and its connections.
func (s *Server) Close() { s.mini.Close() }
