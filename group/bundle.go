package group

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/athoune/worker-machine/internal/turn"
)

// bundle is the feeds that are looked after together, by one loop of each kind: all feeds on one server. On a cluster each feed is
// one by itself, since its keys may be on any node, and a node that is away must not hold up the others.
type bundle struct {
	worker    *Worker
	feeds     []*feed
	byControl map[string]*feed // by control channel
	shard     bool             // presence is asked of the node of the slot

	beating turn.Lock // held while a heartbeat is under way
	leased  []*feed   // whose leases it renews

	unsettled sync.Once
	settled   chan struct{} // closed once it is known whether presence is there
	beatNow   chan struct{} // beat at once
	dueNow    chan struct{} // some feed's due time has changed
	lookNow   chan struct{} // some feed wants to be looked at
}

func newBundle(w *Worker, feeds []*feed, shard bool) *bundle {
	b := &bundle{
		worker: w, feeds: feeds, leased: slices.Clone(feeds), byControl: make(map[string]*feed, len(feeds)), shard: shard, settled: make(chan struct{}),
		beatNow: make(chan struct{}, 1), dueNow: make(chan struct{}, 1), lookNow: make(chan struct{}, 1),
	}
	for _, f := range feeds {
		f.bundle = b
		b.byControl[f.keys.Control()] = f
	}
	return b
}

// makeBundles sorts the feeds.
func (w *Worker) makeBundles() {
	if w.shared != nil {
		w.bundles = []*bundle{newBundle(w, w.feeds, false)}
		return
	}
	for _, f := range w.feeds {
		w.bundles = append(w.bundles, newBundle(w, []*feed{f}, true))
	}
}

// name is for logs.
func (b *bundle) name() string {
	if len(b.feeds) == 1 {
		return b.feeds[0].queue.Name
	}
	return fmt.Sprintf("%d queues", len(b.feeds))
}

// now is the time since the worker began, by the monotonic clock.
func (w *Worker) now() time.Duration { return time.Since(w.began) }
