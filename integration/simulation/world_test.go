package simulation

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// world is all there is of one seed: Redis, the network, the processes, and what is to go wrong.
type world struct {
	ctx      context.Context // of the test
	seed     uint64
	rng      *rand.Rand // of the plan; not for links, which have their own
	began    time.Time
	plan     plan
	redis    *redisServer
	ledger   *ledger
	nextLink atomic.Int64
	calm     atomic.Bool // no further faults
	refusing atomic.Int64
	counts   [fateCount]atomic.Int64
	keys     wire.Keys
	events   map[string]int

	mu        sync.Mutex
	processes []*process
	hired     []*process
	replacing sync.WaitGroup
	took      time.Duration
	story     []string
	complains []string
}

// since is the virtual time since the beginning.
func (w *world) since() time.Duration { return time.Since(w.began) }

// tell notes what happens, for whoever reads about a seed that failed.
func (w *world) tell(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story = append(w.story, fmt.Sprintf("%10v  ", w.since().Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

// complain notes what must not be.
func (w *world) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.tell("!!! %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complains = append(w.complains, text)
}

// process is a worker or a client, with connections of its own.
type process struct {
	world  *world
	name   string
	id     uint64
	links  atomic.Uint64
	exempt bool // from faults
	client *redis.Client
	store  *stream.Store
	member *group.Worker // nil for a client

	mu      sync.Mutex
	open    []*link
	dead    bool
	stalled time.Time // nothing comes in or goes out before
	stop    context.CancelFunc
	ended   chan struct{}
}

// start makes a process that can dial.
func (w *world) start(name string) (*process, error) {
	w.mu.Lock()
	p := &process{world: w, name: name, id: uint64(len(w.processes) + 1), ended: make(chan struct{})}
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	p.client = redis.NewClient(&redis.Options{
		Addr: address.String(), Dialer: p.dial, Protocol: 2, DisableIdentity: true, PoolSize: 20,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	store, err := stream.NewStore(p.client, stream.Config{Logger: w.logger(name)})
	p.store = store
	return p, err
}

// dial connects with Redis, or fails at once: go-redis holds locks while it dials.
func (p *process) dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	dead := p.dead
	p.mu.Unlock()
	if dead || p.stalledFor() > 0 || p.world.refuses() && !p.exempt {
		return nil, errRefused
	}
	return p.world.newLink(p), nil
}

// close ends the connections that are left.
func (p *process) close() {
	_ = p.store.Close()  // what hangs is given up
	_ = p.client.Close() // likewise
	for _, l := range p.all() {
		l.snap()
	}
}

func (p *process) add(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, l)
}

func (p *process) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = slices.DeleteFunc(p.open, func(other *link) bool { return other == l })
}

func (p *process) all() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.open)
}

// alive tells whether what the process does counts.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead
}

// stalledFor is for how long nothing comes in or goes out.
func (p *process) stalledFor() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled.IsZero() {
		return 0
	}
	return max(time.Until(p.stalled), 0)
}

// kill is kill -9: Redis hears of it at once, and the process is never heard of again. What is left of it here ends by itself.
func (p *process) kill() {
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
	p.reset()
	p.stop()
}

// reset breaks all connections.
func (p *process) reset() {
	for _, l := range p.all() {
		l.snap()
	}
}

// stall lets nothing in or out for a while; all of it comes later.
func (p *process) stall(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = time.Now().Add(d)
}

// blackHole makes the connections that are open take everything and answer nothing. Redis believes in them for a while.
func (p *process) blackHole() {
	for _, l := range p.all() {
		l.mu.Lock()
		l.mute, l.deaf = true, true
		l.mu.Unlock()
	}
}

// refuses tells whether Redis accepts no connections.
func (w *world) refuses() bool { return w.since() < time.Duration(w.refusing.Load()) }

// outage is Redis being away: all connections break, and new ones are refused.
func (w *world) outage(d time.Duration) {
	w.refusing.Store(int64(w.since() + d))
	for _, p := range w.everybody() {
		if !p.exempt {
			p.reset()
		}
	}
}

func (w *world) everybody() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.processes)
}

// report is what happened, line by line.
func (w *world) report() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.story, "\n")
}

func nowhere() *bufio.Writer { return bufio.NewWriter(io.Discard) }

// logger writes into the story, with WM_STORY=1.
func (w *world) logger(name string) *zap.Logger {
	if os.Getenv("WM_STORY") == "" {
		return nil
	}
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "m"}), zapcore.AddSync(teller{w, name}), zap.DebugLevel))
}

type teller struct {
	world *world
	name  string
}

// Write notes a line of a log.
func (t teller) Write(p []byte) (int, error) {
	t.world.tell("%s: %s", t.name, strings.TrimSpace(string(p)))
	return len(p), nil
}
