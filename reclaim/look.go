package reclaim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/mutant"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// Found is what one look saw. The counts are those of the group's pending list.
type Found struct {
	OwnPending    int      // entries pending with this worker
	OthersPending int      // entries pending with other workers, dead or alive
	Others        int      // how many other workers those are
	Released      int      // entries that leaving workers handed back; anybody may take them
	Dead          []string // dead workers that have entries, for [Reclaimer.Take]
	Suspects      int      // workers that look dead since a moment: look again in a tenth of a second
}

// crowd is how many other workers one look asks about at most.
const crowd = 16

// signs are what a look knows about one other worker.
type signs struct {
	lease    bool // the lease key is there
	presence bool // and says that the worker keeps a channel subscribed
	seen     bool // the channel had a subscriber
}

// View is what is pending in the queue of a reclaimer, with whom, as the caller has just seen it.
type View struct {
	Of      *Reclaimer
	Pending map[string]int // entries by consumer, the worker itself and "released" among them
}

// Look asks Redis once what is pending with whom and, only while others have something pending, once more for their signs of
// life. Errors of Redis are wrapped, so that NOGROUP can be told.
func (r *Reclaimer) Look(ctx context.Context) (Found, error) {
	pending, err := r.store.Client().XPending(ctx, r.keys.Tasks(), r.store.Group()).Result()
	if err != nil {
		r.Missed()
		return Found{}, fmt.Errorf("reclaim: look at pending entries of %s: %w", r.queue, err)
	}
	view := View{Of: r, Pending: map[string]int{}}
	for name, count := range pending.Consumers {
		view.Pending[name] = int(count)
	}
	found, err := LookTogether(ctx, []View{view})
	if err != nil {
		return Found{}, err
	}
	return found[0], nil
}

// LookTogether is [Reclaimer.Look] for several queues of one server: the signs of life of all workers that have something pending are
// asked for in one round trip. In a crowd that is a random part of them, so that hundreds of workers do not all ask for each other.
// On a cluster it takes one queue. What is found comes back even beside an error; it is nothing for queues whose look failed.
func LookTogether(ctx context.Context, views []View) ([]Found, error) {
	found := make([]Found, len(views))
	looks := make([]*look, 0, len(views))
	for i, view := range views {
		r := view.Of
		r.mu.Lock()
		defer r.mu.Unlock()
		if l := r.begin(view.Pending, &found[i]); len(l.names) > 0 {
			looks = append(looks, l)
		} else {
			r.lastLook = time.Now()
		}
	}
	var errs []error
	common := signsOfLife(ctx, looks)
	for _, l := range looks {
		err := common
		if err == nil {
			err = l.end(ctx)
		}
		if err != nil {
			*l.found = Found{}
			l.of.missed()
			errs = append(errs, err)
		}
	}
	if common != nil {
		return found, common
	}
	return found, errors.Join(errs...)
}

// Missed tells the reclaimer that the caller could not look: Redis was away for us and so, most likely, for others. They may renew
// their leases before they are judged.
func (r *Reclaimer) Missed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed()
}

// missed is Missed with mu held.
func (r *Reclaimer) missed() {
	now := time.Now()
	r.dead = nil
	r.presence.disturb(now)
	r.leaseHeld = now.Add(r.lease / 2)
}

// look is one that is under way, at one queue where other workers have something pending.
type look struct {
	of     *Reclaimer
	found  *Found
	others map[string]int
	names  []string // of those whose signs of life are asked for
	leases []*redis.StringCmd
	seen   map[string]int64 // subscribers by channel
}

// begin counts, and chooses whom to look at. mu is held until the look has ended.
func (r *Reclaimer) begin(pending map[string]int, found *Found) *look {
	l := &look{of: r, found: found, others: map[string]int{}}
	for name, count := range pending {
		switch name {
		case r.worker:
			found.OwnPending = count
		case wire.ReleasedConsumer:
			found.Released = count
		default:
			found.OthersPending += count
			l.others[name] = count
		}
	}
	found.Others = len(l.others)
	r.dead, r.released = nil, found.Released
	r.crowded = len(l.others) > crowd
	r.forgetBut(l.others)
	l.names = r.choose(l.others)
	return l
}

// choose returns whom to look at: everybody, or in a crowd those that looked dead before and some others.
func (r *Reclaimer) choose(others map[string]int) []string {
	if !r.crowded {
		return slices.Sorted(maps.Keys(others))
	}
	names := slices.Collect(maps.Keys(r.presence.absent))
	for name := range others { // in random order
		if len(names) >= crowd {
			break
		}
		if _, absent := r.presence.absent[name]; !absent {
			names = append(names, name)
		}
	}
	return names
}

// end judges those that were looked at.
func (l *look) end(ctx context.Context) error {
	life, err := l.signs()
	if err != nil {
		return err
	}
	own := l.seen[l.of.keys.Presence(l.of.worker)] > 0
	dead, suspects, err := l.of.judge(ctx, l.names, life, own)
	if err != nil {
		return err
	}
	for _, name := range l.names {
		if mode := dead[name]; mode != "" {
			l.of.dead = append(l.of.dead, corpse{name: name, mode: mode, pending: l.others[name]})
			l.found.Dead = append(l.found.Dead, name)
		}
	}
	l.found.Suspects = suspects
	l.of.lastLook = time.Now()
	return nil
}

// judge returns by which sign each dead one of the named workers is dead, and how many others look like it.
func (r *Reclaimer) judge(ctx context.Context, names []string, life map[string]signs, own bool) (verdicts, int, error) {
	now := time.Now()
	valid := r.presence.look(now, own)
	found := verdicts{}
	var strangers []string
	suspects := 0
	for _, name := range names {
		switch sign := life[name]; {
		case mutant.Lease: // everybody lives for ever
		case !sign.lease && r.leased[name]:
			found[name] = script.ByLease
		case !sign.lease:
			strangers = append(strangers, name)
		case !sign.presence || sign.seen:
			r.leased[name] = true
			r.presence.forget(name)
		case valid && r.presence.missing(name, now):
			found[name] = script.ByPresence
		default:
			r.leased[name] = true
			suspects++
		}
	}
	if err := r.judgeStrangers(ctx, strangers, found); err != nil {
		return nil, 0, err
	}
	if r.holdsLeases(now) {
		maps.DeleteFunc(found, func(_ string, mode script.ReclaimMode) bool { return mode == script.ByLease })
	}
	return found, suspects, nil
}

// verdicts says of dead workers by which sign they are dead.
type verdicts map[string]script.ReclaimMode

// judgeStrangers finds dead the workers whose lease was never seen and that asked for nothing for longer than a lease.
func (r *Reclaimer) judgeStrangers(ctx context.Context, names []string, found verdicts) error {
	if len(names) == 0 {
		return nil
	}
	consumers, err := r.store.Client().XInfoConsumers(ctx, r.keys.Tasks(), r.store.Group()).Result()
	if err != nil {
		return fmt.Errorf("reclaim: list consumers of %s: %w", r.queue, err)
	}
	for _, c := range consumers {
		if c.Idle > r.lease && slices.Contains(names, c.Name) {
			found[c.Name] = script.ByLease
		}
	}
	return nil
}

// holdsLeases tells whether Redis was away, or this worker did not look, for so long that leases of live workers may have run out.
func (r *Reclaimer) holdsLeases(now time.Time) bool {
	return now.Before(r.leaseHeld) || (!r.lastLook.IsZero() && now.Sub(r.lastLook) > r.lease)
}

// signsOfLife asks for the leases and channels of the chosen workers, and whether this worker's own channels are seen, in one round trip.
func signsOfLife(ctx context.Context, looks []*look) error {
	if len(looks) == 0 {
		return nil
	}
	pipe, count, err := looks[0].of.pipeline(ctx)
	if err != nil {
		return fmt.Errorf("reclaim: find the node of %s: %w", looks[0].of.queue, err)
	}
	var channels []string
	for _, l := range looks {
		channels = append(channels, l.of.keys.Presence(l.of.worker))
		for _, name := range l.names {
			l.leases = append(l.leases, pipe.Get(ctx, l.of.keys.Lease(name)))
			channels = append(channels, l.of.keys.Presence(name))
		}
	}
	subscribers := count(ctx, channels...)
	_, _ = pipe.Exec(ctx) // each command has its own error
	// An answer with an error means that this server or this user may not ask: leases alone decide then.
	seen, err := subscribers.Result()
	if err != nil && !known(err) {
		return fmt.Errorf("reclaim: look at the presence of workers of %s: %w", looks[0].of.queue, err)
	}
	for _, l := range looks {
		l.seen = seen
	}
	return nil
}

// signs are those of the chosen workers.
func (l *look) signs() (map[string]signs, error) {
	keys := l.of.keys
	life := make(map[string]signs, len(l.names))
	for i, name := range l.names {
		value, err := l.leases[i].Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("reclaim: look at the lease of %s in %s: %w", name, l.of.queue, err)
		}
		life[name] = signs{lease: err == nil, presence: keepsPresence(value), seen: l.seen[keys.Presence(name)] > 0}
	}
	return life, nil
}

// pipeline is one to the node that serves the queue, with the command that counts subscribers there: on a cluster channels are
// sharded, and only the node that owns the slot knows its subscribers.
func (r *Reclaimer) pipeline(ctx context.Context) (
	redis.Pipeliner, func(context.Context, ...string) *redis.MapStringIntCmd, error,
) {
	cluster, ok := r.store.Client().(*redis.ClusterClient)
	if !ok {
		pipe := r.store.Client().Pipeline()
		return pipe, pipe.PubSubNumSub, nil
	}
	node, err := cluster.MasterForKey(ctx, r.keys.Tasks())
	if err != nil {
		return nil, nil, err
	}
	pipe := node.Pipeline()
	return pipe, pipe.PubSubShardNumSub, nil
}

// keepsPresence reads from a lease whether its worker keeps a channel subscribed.
func keepsPresence(lease string) bool { return wire.DecodeLeaseInfo(lease).Presence }

// forgetBut drops what is known of workers that have nothing pending.
func (r *Reclaimer) forgetBut(others map[string]int) {
	maps.DeleteFunc(r.leased, func(name string, _ bool) bool { return others[name] == 0 })
	maps.DeleteFunc(r.told, func(name string, _ bool) bool { return others[name] == 0 })
	maps.DeleteFunc(r.presence.absent, func(name string, _ time.Time) bool { return others[name] == 0 })
}
