package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// Bounds of one enqueue script: other clients wait while it runs, and it may overshoot a memory limit by its size.
const (
	maxBatchTasks = 1000
	maxBatchBytes = 1 << 20
	hardPayload   = 64 << 20
)

// ClientConfig tunes a [Client]. The zero value is ready to use.
type ClientConfig struct {
	MaxPayload int           // most bytes of an encoded input; default 1 MiB, at most 64 MiB
	MaxQueue   int64         // most tasks of a queue, waiting, running and delayed; 0 is no limit. Above it: [ErrQueueFull]
	LaneTTL    time.Duration // how long Redis remembers what an idle client has stored; default 24h
	ReplyTTL   time.Duration // how long outcomes outlive a client that died; default 1m, at least 3s

	MaxAwait int // most tasks that Await waits for at a time; default 1000

	// RetryFor is how long an enqueue goes on while Redis does not answer; default 10s. While Redis answers other enqueues or sessions of
	// this client it is not away, and the time counts from its last answer; but no enqueue goes on for more than four times as long.
	RetryFor time.Duration

	// OnLoss is called when Redis has lost tasks of a queue that it had acknowledged, as a restart without data or a failover to a
	// stale replica does. Calls and maps send theirs again by themselves; what was fired and forgotten is gone. It must not block.
	OnLoss func(queue string)
}

func (c *ClientConfig) check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("stream: new client: "+format, args...))
	}
	if c.MaxPayload < 0 || c.MaxPayload > hardPayload {
		bad("MaxPayload %d: use 1 to %d bytes, or 0 for 1 MiB", c.MaxPayload, hardPayload)
	}
	if c.MaxQueue < 0 {
		bad("MaxQueue %d: use 1 or more, or 0 for no limit", c.MaxQueue)
	}
	if c.MaxAwait < 0 || c.MaxAwait > mostAwaited {
		bad("MaxAwait %d: use 1 to %d, or 0 for 1000", c.MaxAwait, mostAwaited)
	}
	if c.RetryFor < 0 {
		bad("RetryFor %v: use a positive time, or 0 for 10s", c.RetryFor)
	}
	if c.LaneTTL != 0 && c.LaneTTL < time.Minute {
		bad("LaneTTL %v: use at least 1m, or 0 for 24h", c.LaneTTL)
	}
	if c.ReplyTTL != 0 && c.ReplyTTL < 3*time.Second {
		bad("ReplyTTL %v: use at least 3s, or 0 for 1m", c.ReplyTTL)
	}
	return errors.Join(errs...)
}

// Client puts tasks into queues and waits for outcomes. It is safe for concurrent use; enqueues that come while one is on its way
// share the next round trip. Beside the connections of its [Store] it keeps up to eight of its own, for the queues it used last, but none on
// a cluster; those that are idle for a minute are closed.
type Client struct {
	store *Store
	cfg   ClientConfig
	lines *lines
	made  time.Time
	heard atomic.Int64 // when Redis last answered anything, in ns since made

	enqueues sync.Pool // of *enqueue: nothing of one client's waits in another's, nor in another's bubble of a test

	mu      sync.Mutex
	lanes   map[string]*lane
	callers map[string]*caller
	awaits  map[string]*awaiter
	waiters int // calls of Await
	closed  bool

	discards sync.WaitGroup // sessions that are not needed and being closed
}

// NewClient returns a Client. It dials nothing. All that is wrong with cfg is reported at once.
func NewClient(store *Store, cfg ClientConfig) (*Client, error) {
	if store == nil {
		return nil, errors.New("stream: new client: store is nil: make it with NewStore")
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.MaxPayload = orDefault(cfg.MaxPayload, 1<<20)
	cfg.RetryFor = orDefault(cfg.RetryFor, 10*time.Second)
	cfg.LaneTTL = orDefault(cfg.LaneTTL, 24*time.Hour)
	cfg.MaxAwait = orDefault(cfg.MaxAwait, 1000)
	cfg.ReplyTTL = orDefault(cfg.ReplyTTL, time.Minute)
	return &Client{store: store, cfg: cfg, lines: newLines(store), made: time.Now(), lanes: make(map[string]*lane), callers: make(map[string]*caller), awaits: make(map[string]*awaiter)}, nil
}

// Store is where the client's queues lie.
func (c *Client) Store() *Store { return c.store }

// RetryFor is that of the client's configuration, or its default.
func (c *Client) RetryFor() time.Duration { return c.cfg.RetryFor }

// Close ends the sessions that calls wait on; calls and waits under way fail with [ErrClosed]. What was enqueued stays. It takes five seconds
// at most, also when Redis does not answer.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	callers, awaits := c.callers, c.awaits
	c.callers, c.lanes, c.awaits, c.closed = nil, nil, nil, true
	c.mu.Unlock()
	closed := make(chan error, len(callers))
	for _, caller := range callers {
		go func() { closed <- caller.close(ctx) }()
	}
	var errs []error
	for _, a := range awaits {
		errs = append(errs, a.close())
	}
	for range callers {
		errs = append(errs, <-closed)
	}
	c.discards.Wait()
	return errors.Join(append(errs, c.lines.close())...)
}

// lane is the client's producer lane of a queue.
func (c *Client) lane(queue string) (*lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("stream: client: %w", ErrClosed)
	}
	l := c.lanes[queue]
	if l == nil {
		if err := wire.CheckName("queue", queue); err != nil {
			return nil, fmt.Errorf("stream: %w", err)
		}
		l = newLane(c, queue)
		c.lanes[queue] = l
	}
	return l, nil
}

// hear notes that Redis has answered a lane or a session.
func (c *Client) hear() { c.hearAt(time.Now()) }

func (c *Client) hearAt(now time.Time) { c.heard.Store(int64(now.Sub(c.made))) }

// mostRetries is for how many times RetryFor a call goes on at most, while others are answered.
const mostRetries = 4

// isLate tells whether a call that began then, and had no answer, is to be given up.
func (c *Client) isLate(began time.Time) bool {
	took, silent := time.Since(began), time.Since(c.made)-time.Duration(c.heard.Load())
	return min(took, silent) >= c.cfg.RetryFor || took >= mostRetries*c.cfg.RetryFor
}

// lost tells the user that Redis lost acknowledged tasks.
func (c *Client) lost(queue string) {
	c.store.logger.Warn("redis has lost tasks that it had acknowledged: calls and maps send theirs again")
	if c.cfg.OnLoss != nil {
		c.cfg.OnLoss(queue)
	}
}
