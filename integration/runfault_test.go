package integration

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the server names scripts so
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// fault is what a process does to itself at one of its own calls of Redis: such a moment is hard to hit from outside.
type fault struct {
	Call  string // name of a script, or "command last-part-of-its-key"
	Nth   int    // of such calls, from 1
	After bool   // once Redis has done it, before the caller knows
	Does  string // "die": kill -9, "freeze": SIGSTOP, "lose": the caller gets a broken connection for the answer
}

func (f *fault) String() string {
	when := "before"
	if f.After {
		when = "after"
	}
	return fmt.Sprintf("%s %s %s number %d", f.Does, when, f.Call, f.Nth)
}

// saboteur brings the faults about, on the connections of the process.
type saboteur struct {
	scripts map[string]string // names by SHA-1
	report  func(format string, args ...any)

	mu     sync.Mutex
	faults []fault
	counts map[string]int
}

func newSaboteur(faults []fault, report func(format string, args ...any)) (*saboteur, error) {
	paths, err := filepath.Glob("../internal/script/lua/*.lua")
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("the scripts are not where tests find them: %v, %w", paths, err)
	}
	s := &saboteur{scripts: map[string]string{}, report: report, faults: faults, counts: map[string]int{}}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		sum := sha1.Sum(text) //nolint:gosec // see the import
		s.scripts[hex.EncodeToString(sum[:])] = strings.TrimSuffix(filepath.Base(path), ".lua")
	}
	return s, nil
}

// dial makes connections on which the faults happen.
func (s *saboteur) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	plain, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &tapped{Conn: plain, saboteur: s}, nil
}

// next finds the fault of a request that is about to be sent: one that begins with a command, maybe the first of a pipeline.
func (s *saboteur) next(request []byte) *fault {
	parts := bytes.SplitN(request[:min(len(request), 300)], []byte("\r\n"), 6)
	if request[0] != '*' || len(parts) < 6 {
		return nil
	}
	first := string(parts[4])
	name := s.scripts[first]
	if name == "" {
		name = string(parts[2]) + " " + first[strings.LastIndexByte(first, ':')+1:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[name]++
	for i := range s.faults {
		if f := &s.faults[i]; f.Call == name && f.Nth == s.counts[name] {
			return f
		}
	}
	return nil
}

// hit does what the fault says.
func (s *saboteur) hit(f *fault) {
	where := "before-" + strings.ReplaceAll(f.Call, " ", "-")
	if f.After {
		where = "after-" + strings.ReplaceAll(f.Call, " ", "-")
	}
	s.report("%s %s 0 %d", f.Does, where, f.Nth)
	switch f.Does {
	case "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "freeze":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
}

// tapped is a connection of a process with faults.
type tapped struct {
	net.Conn
	saboteur *saboteur
	coming   atomic.Pointer[fault] // with the answer
}

var errLost = &net.OpError{Op: "read", Net: "test", Err: syscall.ECONNRESET}

func (c *tapped) Write(request []byte) (int, error) {
	f := c.saboteur.next(request)
	if f == nil {
		return c.Conn.Write(request)
	}
	if f.After {
		c.coming.Store(f)
		return c.Conn.Write(request)
	}
	c.saboteur.hit(f)
	if f.Does == "lose" {
		_ = c.Close()
		return 0, errLost
	}
	return c.Conn.Write(request)
}

func (c *tapped) Read(answer []byte) (int, error) {
	n, err := c.Conn.Read(answer)
	f := c.coming.Swap(nil)
	if f == nil {
		return n, err
	}
	c.saboteur.hit(f)
	if f.Does == "lose" {
		_ = c.Close()
		return 0, errLost
	}
	return n, err
}
