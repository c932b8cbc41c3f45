package group

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/supervise"
	"github.com/athoune/worker-machine/stream"
)

// blockFor bounds one blocking read: a connection that died without a word is noticed a second later.
const blockFor = 2 * time.Second

const (
	asideConns    = 4
	asidePatience = 2 * time.Second // how long a call for background work waits for the next bytes of its answer
)

// ErrUsed is returned by the second Run of a worker: its name is never used again, so a new worker has to be made.
var ErrUsed = errors.New("group: the worker has run already")

// Worker reads queues and runs the handlers of their tasks. It is one incarnation: its consumer name is never used again.
type Worker struct {
	store *stream.Store
	cfg   Config
	name  string
	log   *zap.Logger
	mux   mux
	ran   atomic.Bool

	pool     *pool
	feeds    []*feed
	bundles  []*bundle
	byTasks  map[string]*feed // by the name of the stream
	policy   policy
	gate     gate
	suspects suspects
	logged   limiter
	reopen   chan struct{} // outcomes were recorded: a queue may be read again

	beats  redis.UniversalClient // heartbeats only, so that nothing starves them
	pulse  *script.Runner        // on beats
	aside  *stream.Store         // for what goes on beside the tasks: it gives up soon when Redis does not answer
	own    redis.UniversalClient // of aside
	shared *conn.Reader          // for all feeds on one server; nil on a cluster, where each feed has its own

	life    context.Context // of everything that outlives Run's context while the worker drains
	began   time.Time
	present atomic.Bool  // the presence channels are subscribed
	asked   atomic.Int64 // when a worker that is to stop asked whether Redis is there, since began
	unclean error        // how the drain ended
}

// NewWorker returns a worker for the queues of cfg. It does not talk to Redis; [Worker.Run] does. The store stays the caller's.
// All bad fields of cfg are reported at once.
func NewWorker(store *stream.Store, cfg Config) (*Worker, error) {
	cfg, err := cfg.normalize()
	if store == nil {
		err = errors.Join(errors.New("group: new worker: the store is nil"), err)
	}
	if err != nil {
		return nil, err
	}
	w := &Worker{store: store, cfg: cfg, name: newName(), byTasks: map[string]*feed{}}
	w.log = store.Logger().With(zap.String("worker", w.name))
	w.pool = newPool(cfg.Concurrency, w.run)
	w.suspects.arrived, w.reopen = make(chan struct{}, 1), make(chan struct{}, 1)
	return w, nil
}

// Name is the worker's consumer name: the host, the process ID, and a ULID.
func (w *Worker) Name() string { return w.name }

// Store is where the worker's queues lie.
func (w *Worker) Store() *stream.Store { return w.store }

// Refuse makes Run return err at once. It is for packages that register handlers and find that they are set up wrongly.
func (w *Worker) Refuse(err error) { w.mux.refuse(err) }

// Run reads the queues and runs handlers until ctx is done, then drains: it takes nothing new, hands what has not started to other
// workers, gives running handlers Config.Drain to end, cancels their contexts with [ErrDrain], and hands over what is left. No
// task loses an attempt by it.
//
// While Redis cannot be reached Run goes on trying. It returns nil after a clean end, and an error at once when the worker or a
// handler is set up wrongly.
func (w *Worker) Run(ctx context.Context) error {
	if w.ran.Swap(true) {
		return ErrUsed
	}
	if err := w.setUp(); err != nil {
		return err
	}
	defer w.closeClients()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	w.life, w.began = life, time.Now()
	for _, f := range w.feeds {
		f.confirmed.Store(int64(-time.Hour)) // no lease yet
	}
	defer context.AfterFunc(ctx, w.ask)()
	w.log.Info("worker starts", zap.Int("concurrency", w.cfg.Concurrency), zap.Strings("queues", w.queueNames()))
	err := supervise.Run(ctx, supervise.Options{Logger: w.log}, w.loops()...)
	w.log.Info("worker has stopped")
	return errors.Join(err, w.unclean)
}

// setUp makes what needs the handlers to be known.
func (w *Worker) setUp() error {
	if err := w.mux.seal(w.cfg.Middleware); err != nil {
		return err
	}
	if len(w.cfg.Queues) == 0 {
		served := w.mux.queues
		if len(served) == 0 {
			served = []Queue{{Name: stream.DefaultQueue}}
		}
		queues, err := normalizeQueues(served)
		if err != nil {
			return err
		}
		w.cfg.Queues = queues
	}
	if err := w.openClients(); err != nil {
		w.closeClients()
		return err
	}
	return nil
}

func (w *Worker) openClients() (err error) {
	client := w.store.Client()
	_, clustered := client.(*redis.ClusterClient)
	patience := min(time.Second, max(w.cfg.Lease/6, minLease))
	w.beats, err = conn.Derive(client, conn.Options{PoolSize: min(len(w.cfg.Queues), 4), ReadTimeout: patience, MaxRetries: -1})
	if err != nil {
		return fmt.Errorf("group: make a connection for heartbeats: %w", err)
	}
	w.pulse = w.store.Scripts().With(w.beats)
	if err = w.openAside(); err != nil {
		return err
	}
	if !clustered {
		if w.shared, err = conn.NewReader(client, blockFor); err != nil {
			return fmt.Errorf("group: make a connection for reads: %w", err)
		}
	}
	for _, queue := range w.cfg.Queues {
		f := newFeed(w, queue)
		f.reader = w.shared
		if clustered {
			if f.reader, err = conn.NewReader(client, blockFor); err != nil {
				return fmt.Errorf("group: make a connection for reads of %s: %w", queue.Name, err)
			}
		}
		if err := f.openReclaimer(); err != nil {
			return err
		}
		w.feeds = append(w.feeds, f)
		w.byTasks[f.keys.Tasks()] = f
	}
	w.makeBundles()
	w.policy = newPolicy(w.feeds, w.cfg.Strict)
	return nil
}

// openAside makes the store for background work. It shares no connection with heartbeats, since it may bring large entries.
func (w *Worker) openAside() (err error) {
	w.own, err = conn.Derive(w.store.Client(), conn.Options{PoolSize: asideConns, ReadTimeout: asidePatience, MaxRetries: -1})
	if err != nil {
		return fmt.Errorf("group: make a connection for background work: %w", err)
	}
	w.aside, err = stream.NewStore(w.own, stream.Config{Prefix: w.store.Prefix(), Group: w.store.Group(), Logger: w.store.Logger()})
	if err != nil {
		return fmt.Errorf("group: open a store for background work: %w", err)
	}
	return nil
}

func (w *Worker) closeClients() {
	if w.aside != nil {
		_ = w.aside.Close()
	}
	if w.own != nil {
		_ = w.own.Close()
	}
	if w.beats != nil {
		_ = w.beats.Close() // nothing is under way any more
	}
	for _, f := range w.feeds {
		if f.reader != nil && f.reader != w.shared {
			_ = f.reader.Close()
		}
	}
	if w.shared != nil {
		_ = w.shared.Close()
	}
}

// loops are in the order in which they start; they stop in reverse. Presence BEFORE the leases, which tell others to look for
// it; leases before the rest; fetch last, so that it stops first.
func (w *Worker) loops() []supervise.Loop {
	var loops []supervise.Loop
	each := func(name string, run func(b *bundle, ctx context.Context) error) {
		for _, b := range w.bundles {
			loops = append(loops, supervise.Loop{Name: name + " of " + b.name(), Run: func(ctx context.Context) error { return run(b, ctx) }})
		}
	}
	each("presence", (*bundle).subscribe)
	each("heartbeat", (*bundle).keepLeases)
	loops = append(loops, supervise.Loop{Name: "drain", Run: w.drain})
	each("due", (*bundle).promote)
	each("rescue", (*bundle).rescue)
	each("report", (*bundle).report)
	return append(loops,
		supervise.Loop{Name: "suspects", Run: w.runSuspects},
		supervise.Loop{Name: "fetch", Run: w.fetch})
}

func (w *Worker) queueNames() []string {
	names := make([]string, len(w.feeds))
	for i, f := range w.feeds {
		names[i] = f.queue.Name
	}
	return names
}
