package group

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
)

const (
	lookIdle   = time.Second            // how often the pending lists are looked at while nobody else has entries
	lookBusy   = 200 * time.Millisecond // while others have, if they are few
	lookSlow   = 2 * time.Second        // the same, if they are many
	lookSoon   = 100 * time.Millisecond // while one of them looks dead
	lookWith   = 20 * time.Millisecond  // what is to be looked at so soon is looked at together
	perOther   = 4 * time.Millisecond   // each other worker in a queue makes looks so much rarer: all of them look
	crowded    = 16                     // so many others are a crowd: what one hears all hear
	perQueue   = 200 * time.Microsecond // and so does each queue that is busy
	lookWhole  = 4 * time.Second        // how often a look is also for what is due and for ghosts
	auditEvery = time.Minute            // how often consumers of no use are looked for
	auditPace  = 500 * time.Millisecond // and how far apart two queues are in that, at least
	staleAfter = 250 * time.Millisecond // tasks that wait for a slot for longer are handed to other workers
	auditMost  = 100                    // entries taken at a time
)

// rescuer is the state of one bundle's rescue loop.
type rescuer struct {
	*bundle
	rows      []rescueRow
	nextIdle  time.Time // when all queues are looked at that nobody else has entries of
	nextWhole time.Time
	claimed   bool // some entries, in this look
}

// rescueRow is what the rescuer knows of one queue.
type rescueRow struct {
	feed      *feed
	next      time.Time // when to look; zero: with all others that are idle
	nextAudit time.Time
	nextStops time.Time
	stops     string // what was noted of cancelled tasks when it was last looked
	others    int    // workers that had entries at the last look
	astray    int    // looks in a row that found more pending than in hand
	haunted   bool   // the last audit found ghosts, and there may be more
	inHand    int    // when the look began
	added     uint64
	sight     script.Sight
}

// rescue looks after what went astray: work of dead workers, work that leavers released, deliveries whose reply was lost, ghosts,
// and tasks that wait here although others could run them. One look is for all queues that are to be looked at.
func (b *bundle) rescue(ctx context.Context) error {
	r := &rescuer{bundle: b, rows: make([]rescueRow, len(b.feeds))}
	for i, f := range b.feeds {
		r.rows[i] = rescueRow{feed: f, nextAudit: time.Now().Add(rand.N(r.auditEach()))}
	}
	for ctx.Err() == nil {
		r.once(ctx)
		timer := time.NewTimer(time.Until(r.next()))
		select {
		case <-ctx.Done():
		case <-b.lookNow:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// auditEach is how often each queue is audited that has nothing that waits.
func (r *rescuer) auditEach() time.Duration {
	return max(auditEvery, time.Duration(len(r.rows))*auditPace)
}

// next is when to look again.
func (r *rescuer) next() time.Time {
	next := r.nextIdle
	for i := range r.rows {
		if at := r.rows[i].next; !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return next
}

// once looks once at the queues whose turn it is, and takes what can be taken.
func (r *rescuer) once(ctx context.Context) {
	r.handBackStale()
	r.stopUnheard(ctx)
	now := time.Now()
	whole := !now.Before(r.nextWhole)
	rows := r.turn(now)
	if len(rows) == 0 {
		return
	}
	if whole {
		r.nextWhole = now.Add(jitter(lookWhole))
	}
	r.readUnread(ctx, rows)
	views, err := r.look(ctx, rows, whole)
	if err != nil {
		r.worker.log.Warn("cannot look after other workers", zap.Error(err))
		for _, row := range rows {
			row.next = now.Add(jitter(lookIdle))
		}
		return
	}
	found, err := reclaim.LookTogether(ctx, views)
	if err != nil {
		r.worker.log.Warn("cannot look after other workers", zap.Error(err))
	}
	looked := time.Now()
	busy := jitter(lookInterval(found)) // the same for all, so that they are looked at together again
	for i, row := range rows {
		_, added := row.feed.flights.census()
		row.compare(found[i].OwnPending, row.inHand+int(added-row.added))
		r.takeOver(ctx, row, found[i])
		r.audit(ctx, row, whole)
		row.next, row.others = time.Time{}, found[i].Others
		switch {
		case row.haunted:
			row.next = looked.Add(lookWith)
		case found[i].Suspects > 0:
			row.next = looked.Add(lookSoon + lookWith) // not before: it would be too soon to tell
		case found[i].OthersPending+found[i].Released > 0:
			row.next = now.Add(busy)
		}
	}
	if r.claimed {
		r.claimed = false
		r.worker.stir() // a read that waits now counted on these slots
	}
}

// turn chooses the queues to look at.
func (r *rescuer) turn(now time.Time) []*rescueRow {
	idle := !now.Before(r.nextIdle)
	with := now.Add(lookWith)
	if idle {
		r.nextIdle = now.Add(lookIdle*3/4 + jitter(lookIdle)/4)
	}
	var rows []*rescueRow
	for i := range r.rows {
		row := &r.rows[i]
		if !row.feed.ready.Load() {
			continue
		}
		if row.feed.wanted.Swap(false) {
			row.hurry(now)
		}
		if row.next.IsZero() && idle || !row.next.IsZero() && row.next.Before(with) {
			rows = append(rows, row)
		}
	}
	return rows
}

// hurry makes the next look come at once or, in a crowd that was told the same, within a while: the first of them comes soon.
func (r *rescueRow) hurry(now time.Time) {
	at := now
	if r.others > crowded {
		at = now.Add(rand.N(time.Duration(r.others) * perOther / 2))
	}
	if r.next.IsZero() || at.Before(r.next) {
		r.next = at
	}
}

// readUnread reads the pause switches that could not be read when they should have been.
func (r *rescuer) readUnread(ctx context.Context, rows []*rescueRow) {
	var unread []*feed
	for _, row := range rows {
		if !row.feed.switched.Load() {
			unread = append(unread, row.feed)
		}
	}
	if len(unread) > 0 {
		_ = r.readSwitches(ctx, unread) // it has logged why not, and is tried again
	}
}

// look asks Redis what is pending with whom.
func (r *rescuer) look(ctx context.Context, rows []*rescueRow, whole bool) ([]reclaim.View, error) {
	w := r.worker
	queues := make([]wire.Keys, len(rows))
	for i, row := range rows {
		queues[i] = row.feed.keys
		row.inHand, row.added = row.feed.flights.census() // BEFORE the look: what comes later may be pending, or not
	}
	sights, err := w.aside.Scripts().Look(ctx, queues, w.store.Group(), whole)
	if err != nil {
		for _, row := range rows {
			row.feed.reclaimer.Missed()
		}
		return nil, err
	}
	views := make([]reclaim.View, len(rows))
	for i, row := range rows {
		row.sight = sights[i]
		holds := len(sights[i].Pending) > 0 || sights[i].Waiting > 0 || sights[i].Due >= 0
		if holds || whole { // the other looks do not ask for what waits
			row.feed.holds.Store(holds)
		}
		views[i] = reclaim.View{Of: row.feed.reclaimer, Pending: sights[i].Pending}
		if sights[i].Due >= 0 {
			row.feed.dueWithin(sights[i].Due)
		}
	}
	return views, nil
}

// lookInterval is how often queues are looked at while others have entries of them. The more there is to see, the rarer each worker
// looks, and the more workers there are that do: together they look just as often.
func lookInterval(found []reclaim.Found) time.Duration {
	interval := time.Duration(0)
	most := 0
	for i := range found {
		if found[i].Others > 0 {
			interval += perQueue
			most = max(most, found[i].Others)
		}
	}
	return min(max(interval, time.Duration(most)*perOther, lookBusy), lookSlow)
}

// compare notices deliveries that never arrived here: the fetcher then reads the whole history. Some replies are always just
// under way, so it takes two looks.
func (r *rescueRow) compare(pending, inHand int) {
	if pending <= inHand {
		r.astray = 0
		return
	}
	if r.astray++; r.astray >= 2 {
		r.astray = 0
		r.feed.wantAudit()
	}
}

// takeOver claims what is there to claim, as far as there are slots.
func (r *rescuer) takeOver(ctx context.Context, row *rescueRow, found reclaim.Found) {
	if found.Released > 0 || len(found.Dead) > 0 {
		r.claim(ctx, row.feed, "take over entries", row.feed.reclaimer.Take)
	}
}

// audit searches the next page of the stream for ghosts if anything is there that may be one, and for consumers of no use now and then.
func (r *rescuer) audit(ctx context.Context, row *rescueRow, whole bool) {
	now := time.Now()
	ghosts := row.haunted || whole && row.sight.Waiting > 0
	if !ghosts && now.Before(row.nextAudit) {
		return
	}
	row.nextAudit = now.Add(jitter(r.auditEach()))
	taken := r.claim(ctx, row.feed, "audit the stream", row.feed.reclaimer.Audit)
	// Where one is there are others: somebody has removed a consumer, or the group.
	row.haunted = taken > 0 || row.haunted && row.feed.reclaimer.Auditing()
}

// claim takes entries as far as there are slots, and returns how many.
func (r *rescuer) claim(ctx context.Context, f *feed, what string, by func(ctx context.Context, want int) ([]script.Entry, error)) int {
	want := min(f.worker.pool.free(), auditMost)
	if want == 0 || !f.open() {
		return 0
	}
	f.claiming.Lock()
	defer f.claiming.Unlock()
	entries, err := by(ctx, want)
	if err != nil && !conn.IsNoGroup(err) {
		f.log.Warn("cannot "+what, zap.Error(err))
		if !conn.NotSent(err) {
			f.wantAudit() // claimed entries may be old: only the whole history tells
		}
	}
	if len(entries) == 0 {
		return 0
	}
	f.log.Info("took over entries", zap.Int("entries", len(entries)))
	f.worker.hookReclaimed(f, f.admitEntries(ctx, entries))
	r.claimed = true
	return len(entries)
}

// handBackStale gives tasks to other workers that wait here for a slot: the handlers are slower than they were.
func (b *bundle) handBackStale() {
	now := time.Now()
	stale := b.worker.pool.take(func(one *flight) bool { return one.feed.bundle == b && now.Sub(one.arrived) > staleAfter })
	if len(stale) == 0 {
		return
	}
	b.worker.pool.slow(staleAfter)
	b.worker.log.Debug("handing back tasks that wait for a slot", zap.Int("tasks", len(stale)))
	for f, some := range byFeed(stale) {
		f.release(some...)
	}
}

// byFeed sorts flights by their queues.
func byFeed(all []*flight) map[*feed][]*flight {
	sorted := map[*feed][]*flight{}
	for _, one := range all {
		sorted[one.feed] = append(sorted[one.feed], one)
	}
	return sorted
}
