// Package stage sets up what a fault test plays on: one Redis server, the processes under test, a toxiproxy between each of them and
// Redis, and a directory with the history and the log of each. At the end it brings everything to rest, looks at what is left, and
// has the histories checked.
package stage

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/integration/internal/history"
	"github.com/athoune/worker-machine/integration/internal/role"
	"github.com/athoune/worker-machine/internal/redistest/flavour"
	"github.com/athoune/worker-machine/stream"
)

// Config says what to set up. Only Flavour has no default.
type Config struct {
	Flavour     flavour.Flavour
	Seed        uint64
	Program     string        // package of the processes; default integration/actor
	Tags        []string      // to build it with
	Redis       []string      // arguments of the server; default an append-only file that is synced always
	Lease       time.Duration // of workers; default 1s
	Drain       time.Duration // of workers; default 2s
	Concurrency int           // of workers; default 20
	Every       time.Duration // between two orders of a client; default 5ms
	Ways        []history.Way // of ordering; default all but Run
	Cancel      int           // in a hundred kept and delayed tasks; default 5, -1 for none
	Widest      int           // most inputs of a map; default 600
	Pool        int           // connections of each process; default that of go-redis
	ReplyTTL    time.Duration // of clients; default that of the library
	Place       *Place        // where Redis is, if it is not one server of the flavour

	// Between puts something between the link of a process and what it leads to, and returns the address of that; default nothing.
	Between func(process, upstream string) string
}

// Place is Redis where it is more than one server, or one that a test has started itself.
type Place struct {
	Machine flavour.Machine       // a server that processes reach through a link each; nil where they go to Addrs
	Addrs   []string              // of all nodes of a cluster, or of the sentinels
	Master  string                // the name that the sentinels know
	Cluster bool                  // Addrs are nodes of a cluster
	CA      string                // the file with the authority that signed the certificate of the servers; "" without TLS
	Direct  redis.UniversalClient // straight to it; nil for a client of Machine
}

// Numbers is how many numbers a client may take: each has a block of its own.
const Numbers = 1_000_000

// Stage is one test with faults. Methods may be called by several goroutines, and fail the test instead of returning errors.
type Stage struct {
	Config
	Dir     string // histories and logs
	Machine flavour.Machine
	Direct  redis.UniversalClient // straight to the server
	Faults  *history.Writer       // the history of the test itself

	t        testing.TB
	program  string
	password string
	store    *stream.Store
	mu       sync.Mutex
	workers  []*Process
	clients  []*Process
	started  int
	faults   int64
	blocks   int64 // of numbers
}

// New starts the server. The directory of histories is removed with the test, unless it has failed or WM_KEEP is set.
func New(t testing.TB, c Config) *Stage {
	t.Helper()
	c = c.withDefaults()
	s := &Stage{Config: c, t: t, program: Build(t, c.Program, c.Tags...), password: "canary-" + stream.NewID()}
	s.Dir = keepDir(t)
	s.reach()
	var err error
	s.store, err = stream.NewStore(s.Direct, stream.Config{})
	s.must(err)
	t.Cleanup(func() { _ = s.store.Close() })
	s.Faults, err = history.Append(filepath.Join(s.Dir, "nemesis.jsonl"), "nemesis")
	s.must(err)
	t.Cleanup(func() { _ = s.Faults.Close() })
	s.Faults.Write(history.Record{Kind: history.Begin, Text: fmt.Sprintf("seed %d, %s, %s%v", c.Seed, c.Flavour.Name, c.Program, c.Tags)})
	return s
}

func (c Config) withDefaults() Config {
	c.Program = cmp.Or(c.Program, "integration/actor")
	c.Lease, c.Drain = cmp.Or(c.Lease, time.Second), cmp.Or(c.Drain, 2*time.Second)
	c.Concurrency, c.Every = cmp.Or(c.Concurrency, 20), cmp.Or(c.Every, 5*time.Millisecond)
	c.Cancel = max(0, cmp.Or(c.Cancel, 5))
	c.Widest = cmp.Or(c.Widest, 600)
	if c.Ways == nil {
		c.Ways = []history.Way{history.Forget, history.Kept, history.Call, history.Map, history.Delayed, history.Ordered}
	}
	if c.Redis == nil {
		c.Redis = []string{"--appendonly", "yes", "--appendfsync", "always"}
	}
	return c
}

// keepDir is a directory for histories that stays when the test fails.
func keepDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv("WM_HISTORIES"), "histories-") //nolint:usetesting // a failed test keeps it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() || os.Getenv("WM_KEEP") != "" {
			t.Logf("histories: %s (check them again: go run ./integration/check %s)", dir, dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// Store is straight on the server.
func (s *Stage) Store() *stream.Store { return s.store }

// Worker starts a worker process.
func (s *Stage) Worker() *Process {
	s.t.Helper()
	p := s.enter(role.Worker)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = append(s.workers, p)
	return p
}

// Client starts a client process, with numbers that no other one has.
func (s *Stage) Client() *Process {
	s.t.Helper()
	p := s.enter(role.Client)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, p)
	return p
}

func (s *Stage) enter(name string) *Process {
	s.t.Helper()
	s.mu.Lock()
	s.started++
	process := fmt.Sprintf("%s-%d", name, s.started)
	first := s.blocks*Numbers + 1
	if name == role.Client {
		s.blocks++
	}
	s.mu.Unlock()
	spec := role.Spec{
		Role: name, Process: process, History: filepath.Join(s.Dir, process+".jsonl"), Seed: s.Seed, Password: s.password, Pool: s.Pool,
		Concurrency: s.Concurrency, Lease: s.Lease, Drain: s.Drain,
		First: first, Most: Numbers, Every: s.Every, Ways: s.Ways, Cancel: s.Cancel, Widest: s.Widest, ReplyTTL: s.ReplyTTL,
	}
	link := s.connect(&spec)
	return s.start(s.program, spec, link)
}

// Fault writes down that a fault begins; the function it returns, that it is over. loses says that acknowledged data may be gone, within
// says by when something must have been done again after its end; 0 for no bound.
func (s *Stage) Fault(kind, text string, loses bool, within time.Duration) (over func()) {
	s.mu.Lock()
	s.faults++
	record := history.Record{Number: s.faults, Kind: history.FaultBegin, Fault: kind, Text: text, Loses: loses}
	s.mu.Unlock()
	s.Faults.Write(record)
	return func() {
		record.Kind, record.Bound = history.FaultEnd, int64(within)
		s.Faults.Write(record)
	}
}

func (s *Stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("stage: %v", err)
	}
}

func (s *Stage) left(format string, args ...any) {
	s.Faults.Write(history.Record{Kind: history.Left, Text: fmt.Sprintf(format, args...)})
}
