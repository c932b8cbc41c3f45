// Package redistest starts private Redis servers, clusters and faulty proxies for tests.
//
//	server := redistest.Start(t)           // gone with the test
//	client := server.Client(t)             // a go-redis client, closed with the test
//	proxy := redistest.NewProxy(t, server) // loses replies, swallows bytes, refuses
//	server.Kill(); server.Restart()        // and server.Stop(), server.Cont()
//	redistest.Eventually(t, time.Second, func() bool { return proxy.Dropped() == 1 })
//
// Only test files import it. Nothing here skips a test in silence: without a Redis server a test fails and says what to
// install; go test -short is the way to leave such tests out.
package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startTimeout bounds the start of one server; it takes some 30 ms on an idle machine.
const startTimeout = 20 * time.Second

// Server is one redis-server process that belongs to one test. Its methods fail the test instead of returning errors, and are
// to be called from the goroutine of the test or while the test runs.
type Server struct {
	Network string // "unix" or "tcp"
	Addr    string // path of the socket, or 127.0.0.1:port
	Dir     string // its working directory, removed with the test

	t      testing.TB
	binary string
	argv   []string
	port   int // 0 on a unix socket

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed once the process was waited for
}

// Start runs a redis-server on a unix socket for the length of the test. It keeps nothing on disk unless args say so: args are
// redis-server's own, as in Start(t, "--maxmemory", "10mb"), and win over the defaults.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return startBinary(t, Binary(t), false, args)
}

// StartTCP is Start on a free port of 127.0.0.1, for child processes, replicas and whatever else needs an address.
func StartTCP(t testing.TB, args ...string) *Server {
	t.Helper()
	return startBinary(t, Binary(t), true, args)
}

// StartBinary is StartTCP for the server program at the path binary, for tests that compare versions.
func StartBinary(t testing.TB, binary string, args ...string) *Server {
	t.Helper()
	return startBinary(t, binary, true, args)
}

// Binary finds the server program: the environment variable REDIS_SERVER, else redis-server or valkey-server in the PATH. With
// none the test fails and says what to install; with -short it is skipped before anything is looked for.
func Binary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Redis server, left out by -short")
	}
	names := []string{"redis-server", "valkey-server"}
	if name := os.Getenv("REDIS_SERVER"); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("redistest: none of %q found. Install a Redis server (apt-get install redis-server, dnf install redis or valkey, "+
		"apk add redis, brew install redis), or set REDIS_SERVER to the path of one, or run scripts/test, which installs it.", names)
	return ""
}

func startBinary(t testing.TB, binary string, tcp bool, args []string) *Server {
	t.Helper()
	const tries = 5 // a free port may be gone by the time Redis asks for it
	var err error
	for range tries {
		s := newServer(t, binary)
		if tcp {
			s.listenTCP(FreePort(t))
		}
		s.argv = append(s.argv, args...)
		if err = s.launch(); err == nil {
			return s
		}
	}
	t.Fatal(err)
	return nil
}

// newServer prepares a server on a unix socket, not yet running, and its end.
func newServer(t testing.TB, binary string) *Server {
	t.Helper()
	dir := shortTempDir(t)
	socket := filepath.Join(dir, "s")
	s := &Server{Network: "unix", Addr: socket, Dir: dir, t: t, binary: binary}
	// A stream needs neither; both would only slow down the machine that runs the tests.
	s.argv = []string{
		"--dir", dir, "--unixsocket", socket, "--port", "0", "--save", "", "--appendonly", "no",
		"--daemonize", "no", "--repl-diskless-sync-delay", "0",
	}
	t.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(dir)
	})
	return s
}

// listenTCP moves the server to a port. The socket stays beside it: it answers only once every listener is up, so that a
// stranger on the same port is not taken for this server.
func (s *Server) listenTCP(port int) {
	s.Network, s.Addr, s.port = "tcp", "127.0.0.1:"+strconv.Itoa(port), port
	s.argv = append(s.argv, "--port", strconv.Itoa(port), "--bind", "127.0.0.1")
}

// shortTempDir makes a directory whose sockets fit in the 104 bytes of a socket address.
func shortTempDir(t testing.TB) string {
	t.Helper()
	const room = 80
	parent := os.TempDir()
	if len(parent) > room {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "wm") //nolint:usetesting // t.TempDir has the name of the test in it: too long
	if err != nil {
		t.Fatalf("redistest: make a directory for the server: %v", err)
	}
	return dir
}

// launch starts the process and returns once it answers.
func (s *Server) launch() error {
	logFile, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("redistest: open log of the server: %w", err)
	}
	defer logFile.Close() // the child has its own copy

	// The process outlives any context: Cleanup ends it, and so does the end of the test binary where the system can do that.
	cmd := exec.Command(s.binary, s.argv...) //nolint:noctx // see above
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("redistest: start %s: %w", s.binary, err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	s.mu.Lock()
	s.cmd, s.done = cmd, done
	s.mu.Unlock()
	return s.awaitReady(done)
}

func (s *Server) logPath() string { return filepath.Join(s.Dir, "log") }

// awaitReady polls the socket until the server answers, dies, or takes too long.
func (s *Server) awaitReady(done <-chan struct{}) error {
	const pollEvery = 2 * time.Millisecond
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	for {
		select {
		case <-done:
			return fmt.Errorf("redistest: %s ended while it started: %s", s.binary, s.LogTail())
		case <-late.C:
			s.Kill()
			return fmt.Errorf("redistest: %s does not answer after %v: %s", s.binary, startTimeout, s.LogTail())
		case <-poll.C:
			if answers("unix", filepath.Join(s.Dir, "s")) {
				return nil
			}
		}
	}
}

// LogTail is the end of what the server wrote to its log, for the message of a failed test.
func (s *Server) LogTail() string {
	const tail = 2000
	text, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-tail):]))
}

// URL is the server's address as redis.ParseURL and the --redis flag take it.
func (s *Server) URL() string {
	if s.Network == "unix" {
		return "unix://" + s.Addr + "?db=0"
	}
	return "redis://" + s.Addr + "/0"
}

// Client is a new go-redis client of the server, closed with the test. Each change may edit the options before the client is
// made.
func (s *Server) Client(t testing.TB, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	return newClient(t, s.Network, s.Addr, change)
}

func newClient(t testing.TB, network, addr string, change []func(*redis.Options)) *redis.Client {
	t.Helper()
	options := &redis.Options{Network: network, Addr: addr}
	for _, edit := range change {
		edit(options)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Pid is the process ID of the running server.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Kill ends the server like kill -9 and waits until it is gone; killing a dead server is fine.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.mu.Unlock()
	if cmd == nil {
		return // it never started
	}
	s.signal(syscall.SIGKILL)
	<-done
}

// Stop freezes the server like kill -STOP: connections stay open, nothing answers.
func (s *Server) Stop() {
	s.signal(syscall.SIGSTOP)
	awaitStopped(s.Pid())
}

// Cont lets a stopped server go on.
func (s *Server) Cont() { s.signal(syscall.SIGCONT) }

// Restart kills the server when it still runs and starts it again with the same address, directory and arguments. Data comes
// back only as far as args made the server keep it.
func (s *Server) Restart(more ...string) {
	s.t.Helper()
	s.Kill()
	s.argv = append(slices.Clip(s.argv), more...)
	if err := s.launch(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A pid of 0, 1 or less would signal a whole group, or init.
	if s.cmd == nil || s.cmd.Process == nil || s.cmd.Process.Pid <= 1 {
		s.t.Errorf("redistest: signal %v: the server was never started", sig)
		return
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("redistest: signal %v to %d: %v", sig, s.cmd.Process.Pid, err)
	}
}
