package group

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

const (
	reportEvery   = 5 * time.Second
	reportLeast   = time.Minute // how often a queue that holds something is reported in which this worker did nothing
	reportAtEnd   = time.Second // how long the last report may take
	mostFunctions = 50          // of a report; the others are one
)

// deeds is what a worker did in a queue since its last report. Results are noted by the batch that a commit recorded, so that a task costs
// no lock of its own.
type deeds struct {
	mu     sync.Mutex
	minute wire.Minute
	any    bool

	name string // of the function that was noted last
	last *wire.Deeds
}

// of is what is noted of a function. mu is held.
func (d *deeds) of(function string) *wire.Deeds {
	if d.last != nil && d.name == function {
		return d.last
	}
	name := function
	if _, known := d.minute.Functions[name]; name == "" || !known && len(d.minute.Functions) >= mostFunctions {
		name = wire.More
	}
	d.any, d.name, d.last = true, function, d.minute.Deeds(name)
	return d.last
}

// done notes results that a commit recorded; late are the numbers of those that were not.
func (d *deeds) done(batch []result, late []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ahead := time.Duration(batch[0].flight.feed.ahead.Load())
	var stored entryClock
	for i := range batch {
		if len(late) > 0 && late[0] == i {
			late = late[1:]
			continue
		}
		one := batch[i].flight
		of := d.of(one.task.Function)
		of.Done++
		of.Handler.Add(batch[i].took, 1)
		d.minute.Wait.Add(waitedSince(stored.of(one.entry), one.started, ahead), 1)
	}
}

// items notes results of a chunk, with the mean of their times.
func (d *deeds) items(c *chunk, n int64) {
	w := c.feed.worker
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.of(c.single.Function)
	of.Done += n
	if each := c.each(); each > 0 {
		of.Handler.Add(each, n)
	}
	d.minute.Wait.Add(c.flight.waited(w.began.Add(time.Duration(c.began.Load()))), n)
}

// failed notes an attempt that failed, the last one or not.
func (d *deeds) failed(one *flight, dead bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.of(one.task.Function)
	if dead {
		of.Dead++
	} else {
		of.Retried++
	}
	if one.ran > 0 && !one.started.IsZero() {
		of.Handler.Add(one.ran, 1)
		d.minute.Wait.Add(one.waited(one.started), 1)
	}
}

// take returns what was noted, and begins anew.
func (d *deeds) take() (noted wire.Minute, any bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	noted, any = d.minute, d.any
	d.minute, d.any, d.last = wire.Minute{}, false, nil
	return noted, any
}

// giveBack takes in what could not be reported.
func (d *deeds) giveBack(noted *wire.Minute) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minute.Merge(noted)
	d.any, d.last = true, nil
}

// report tells Redis every few seconds what was done. An idle worker of idle queues tells nothing.
func (b *bundle) report(ctx context.Context) error {
	for sleep(ctx, reportEvery*9/10+rand.N(reportEvery/5)) {
		b.reportOnce(ctx, b.worker.now())
	}
	return nil
}

// reportOnce tells what was done since the last time.
func (b *bundle) reportOnce(ctx context.Context, now time.Duration) {
	var feeds []*feed
	var records []script.Record
	for _, f := range b.feeds {
		noted, any := f.deeds.take()
		if !any && (!f.holds.Load() || now-time.Duration(f.reported.Load()) < reportLeast) {
			continue
		}
		f.reported.Store(int64(now))
		feeds = append(feeds, f)
		records = append(records, script.Record{Keys: f.keys, Minute: noted})
	}
	for len(records) > 0 {
		n := min(len(records), script.MostRecords)
		b.send(ctx, feeds[:n], records[:n])
		feeds, records = feeds[n:], records[n:]
	}
}

// send makes one report. One whose answer is lost is not repeated, since it may have been counted; one that was refused comes with the next.
func (b *bundle) send(ctx context.Context, feeds []*feed, records []script.Record) {
	err := b.worker.aside.Scripts().Record(ctx, b.worker.store.Group(), records)
	if err == nil {
		return
	}
	if b.worker.logged.allow("report of " + b.name()) {
		b.worker.log.Warn("cannot report what was done", zap.Error(err))
	}
	if !conn.NotSent(err) && !conn.IsFull(err) {
		return
	}
	for i, f := range feeds {
		f.deeds.giveBack(&records[i].Minute)
	}
}

// reportAll makes the last report.
func (w *Worker) reportAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reportAtEnd)
	defer cancel()
	for _, b := range w.bundles {
		b.reportOnce(ctx, w.now())
	}
}

// count is how many of some totals are of a name.
func count(totals []script.Total, name string) int64 {
	if i := slices.IndexFunc(totals, func(t script.Total) bool { return t.Name == name }); i >= 0 {
		return int64(totals[i].N)
	}
	return 0
}
