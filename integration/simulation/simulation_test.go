package simulation

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
)

// settles is how long after the last fault all must be done.
const settles = 60 * time.Second

type silent struct{}

// Printf says nothing: go-redis tells of each connection that is refused.
func (silent) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silent{})
	debug.SetGCPercent(1000) // there is little to keep
	runtime.GOMAXPROCS(1)    // a seed is then nearly the same each time, and takes less
	os.Exit(m.Run())
}

const (
	fewSeeds   = 400 // some 10 s of one core
	manySeeds  = 10_000
	mostFailed = 5 // seeds, until the rest is not of interest
)

// TestSimulation runs seed after seed. WM_SEED names one, and shows its story; WM_SEEDS says how many, WM_FIRST with which to begin.
func TestSimulation(t *testing.T) {
	t.Parallel()
	first, n := number64(t, "WM_FIRST", 1), number64(t, "WM_SEEDS", fewSeeds)
	if os.Getenv("WM_FULL") != "" {
		n = number64(t, "WM_SEEDS", manySeeds)
	}
	if one := number64(t, "WM_SEED", 0); one != 0 {
		first, n = one, 1
	}
	sum := figures{began: time.Now(), faults: make(map[string]int64)}
	for seed := first; seed < first+n && sum.failed < mostFailed; seed++ {
		w := runSeed(t, seed)
		sum.add(w)
		if len(w.complains) == 0 {
			continue
		}
		sum.failed++
		t.Logf("seed %d of %d; run it again, up to 20 times: WM_SEED=%d go test -run TestSimulation ./integration/simulation", seed-first+1, n, seed)
		if n == 1 {
			t.Logf("%+v:\n%s", w.plan, w.report())
		}
	}
	t.Log(sum.text())
}

// number64 is what the environment says.
func number64(t *testing.T, name string, standard uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: use a number", name, text)
	}
	return n
}

// figures are sums over seeds.
type figures struct {
	began                          time.Time
	seeds, tasks, commands, failed int
	virtual                        time.Duration
	faults                         map[string]int64
}

func (f *figures) add(w *world) {
	f.seeds++
	f.tasks += len(w.ledger.tasks)
	f.virtual += w.took
	if w.redis != nil {
		f.commands += w.redis.served
	}
	for i := range w.counts {
		if n := w.counts[i].Load(); n > 0 {
			f.faults[fateNames[i]] += n
		}
	}
	for kind, n := range w.events {
		f.faults[kind] += int64(n)
	}
}

func (f *figures) text() string {
	took := time.Since(f.began)
	all := int64(0)
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(f.faults)) {
		all += f.faults[kind]
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, f.faults[kind]))
	}
	return fmt.Sprintf("%d seeds, %d failed: %d tasks, %d commands, %d faults of %d kinds, %.1f hours of virtual time in %v: %.1f seeds a second\n%s",
		f.seeds, f.failed, f.tasks, f.commands, all, len(kinds), f.virtual.Hours(), took.Round(time.Millisecond), float64(f.seeds)/took.Seconds(), strings.Join(kinds, ", "))
}

// runSeed runs one seed in a bubble.
func runSeed(t *testing.T, seed uint64) *world {
	t.Helper()
	// Pools of the library and of go-redis may hold channels and timers of the bubble before. Two collections empty them.
	runtime.GC()
	runtime.GC()
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t.Context(), seed)
		w.run()
		w.took = w.since()
	})
	for _, text := range w.complains { // not in the bubble: the test would end with it
		t.Errorf("seed %d: %s", seed, text)
	}
	return w
}

func newWorld(ctx context.Context, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 0))
	return &world{
		ctx: ctx, seed: seed, rng: rng, began: time.Now(), plan: newPlan(rng), ledger: newLedger(), keys: wire.NewKeys("wm", queue),
		events: make(map[string]int),
	}
}

// run lets the plan happen, and looks what has become of it.
func (w *world) run() {
	server, err := newRedisServer()
	if err != nil {
		w.complain("%v", err)
		return
	}
	w.redis = server
	defer server.close()
	ctx, leave := w.ctx, context.CancelFunc(nil)
	w.ctx, leave = context.WithCancel(ctx)
	defer leave()
	admin, overseer, err := w.open("overseer")
	if err != nil {
		w.complain("%v", err)
		return
	}
	defer admin.close()
	admin.exempt = true
	for range w.plan.workers {
		w.hire(w.ctx)
	}
	var events, orders sync.WaitGroup
	w.schedule(&events)
	w.trade(&orders)
	w.lasting(&orders)
	events.Wait()
	w.replacing.Wait()
	w.calm.Store(true)
	w.tell("calm")
	if w.settle(&orders, admin) {
		w.checkOutcomes(w.ctx, overseer)
	}
	w.shut()
	leave() // who still waits does so no longer
	orders.Wait()
	_ = overseer.Close(ctx)
	<-time.After(w.replyTTL() + w.plan.lease)
	w.checkKeys(ctx, admin.client)
}

// schedule lets the events happen in their time.
func (w *world) schedule(events *sync.WaitGroup) {
	for _, e := range w.plan.events {
		events.Go(func() {
			<-time.After(e.at)
			w.happen(e)
		})
	}
	events.Go(func() { <-time.After(w.plan.lasts) })
}

// trade runs the clients.
func (w *world) trade(orders *sync.WaitGroup) {
	for i := range w.plan.clients {
		p, client, err := w.open("client " + strconv.Itoa(i+1))
		if err != nil {
			w.complain("%v", err)
			return
		}
		var own sync.WaitGroup
		for j := range w.plan.orders {
			if o := &w.plan.orders[j]; o.from == i {
				own.Go(func() {
					<-time.After(o.at)
					w.place(w.ctx, client, o)
				})
			}
		}
		for j := range w.plan.batches {
			if b := &w.plan.batches[j]; b.from == i {
				own.Go(func() {
					<-time.After(b.at)
					w.spreadOut(w.ctx, client, b)
				})
			}
		}
		orders.Go(func() {
			own.Wait()
			if err := client.Close(w.ctx); err != nil {
				w.tell("%s has closed with %v", p.name, err)
			}
			p.close()
		})
	}
}

// lasting runs what outlives its owners.
func (w *world) lasting(orders *sync.WaitGroup) {
	for i := range w.plan.lasting {
		orders.Go(func() { w.last(w.ctx, &w.plan.lasting[i], i+1) })
	}
}

// settle waits until all is done; false when it takes too long.
func (w *world) settle(orders *sync.WaitGroup, admin *process) bool {
	traded := make(chan struct{})
	go func() {
		orders.Wait()
		close(traded)
	}()
	late := time.After(settles)
	select {
	case <-traded:
	case <-late:
		w.complain("after %v callers still wait: %s", settles, w.pending(admin.client))
		return false
	}
	<-time.After(3 * w.plan.lease) // what is late comes now
	for w.left(w.ctx, admin.client) > 0 {
		select {
		case <-time.After(pollEach):
		case <-late:
			w.complain("after %v %d tasks are left", settles, w.left(w.ctx, admin.client))
			return false
		}
	}
	return true
}

// shut stops the workers, and waits for them.
func (w *world) shut() {
	for _, p := range w.hired {
		p.stop()
	}
	late := time.After(drain + settles)
	for _, p := range w.hired {
		select {
		case <-p.ended:
		case <-late:
			w.complain("%s has not ended", p.name)
			return
		}
	}
}
