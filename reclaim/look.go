package reclaim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// Found is what one look saw. The counts are those of the group's pending list.
type Found struct {
	OwnPending    int      // entries pending with this worker
	OthersPending int      // entries pending with other workers, dead or alive
	Released      int      // entries that leaving workers handed back; anybody may take them
	Dead          []string // dead workers that have entries, for [Reclaimer.Take]
	Suspects      int      // workers that look dead since a moment: look again in a tenth of a second
}

// signs are what a look knows about one other worker.
type signs struct {
	lease    bool // the lease key is there
	presence bool // and says that the worker keeps a channel subscribed
	seen     bool // the channel had a subscriber
}

// Look asks Redis once what is pending with whom and, only while others have something pending, once more for their signs of
// life. Errors of Redis are wrapped, so that NOGROUP can be told.
func (r *Reclaimer) Look(ctx context.Context) (Found, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, err := r.look(ctx)
	if err != nil {
		// Redis was away for us and so, most likely, for others: let them renew their leases before they are judged.
		now := time.Now()
		r.dead = nil
		r.presence.disturb(now)
		r.leaseHeld = now.Add(r.lease / 2)
		return Found{}, err
	}
	r.lastLook = time.Now()
	r.released = found.Released
	return found, nil
}

func (r *Reclaimer) look(ctx context.Context) (Found, error) {
	pending, err := r.store.Client().XPending(ctx, r.keys.Tasks(), r.store.Group()).Result()
	if err != nil {
		return Found{}, fmt.Errorf("reclaim: look at pending entries of %s: %w", r.queue, err)
	}
	var found Found
	others := map[string]int{}
	for name, count := range pending.Consumers {
		switch name {
		case r.worker:
			found.OwnPending = int(count)
		case wire.ReleasedConsumer:
			found.Released = int(count)
		default:
			found.OthersPending += int(count)
			others[name] = int(count)
		}
	}
	r.dead = nil
	r.forgetBut(others)
	if len(others) == 0 {
		return found, nil
	}
	names := slices.Sorted(maps.Keys(others))
	life, own, err := r.signsOf(ctx, names)
	if err != nil {
		return Found{}, err
	}
	dead, suspects, err := r.judge(ctx, names, life, own)
	if err != nil {
		return Found{}, err
	}
	for _, name := range names {
		if mode := dead[name]; mode != "" {
			r.dead = append(r.dead, corpse{name: name, mode: mode, pending: others[name]})
			found.Dead = append(found.Dead, name)
		}
	}
	found.Suspects = suspects
	return found, nil
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

// signsOf asks for the leases and channels of the named workers, and whether this worker's own channel is seen, in one round trip.
func (r *Reclaimer) signsOf(ctx context.Context, names []string) (map[string]signs, bool, error) {
	channels := make([]string, 0, len(names)+1)
	channels = append(channels, r.keys.Presence(r.worker))
	for _, name := range names {
		channels = append(channels, r.keys.Presence(name))
	}
	pipe, count, err := r.pipeline(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("reclaim: find the node of %s: %w", r.queue, err)
	}
	leases := make([]*redis.StringCmd, len(names))
	for i, name := range names {
		leases[i] = pipe.Get(ctx, r.keys.Lease(name))
	}
	subscribers := count(ctx, channels...)
	_, _ = pipe.Exec(ctx) // each command has its own error

	// An answer with an error means that this server or this user may not ask: leases alone decide then.
	seen, err := subscribers.Result()
	if err != nil && !known(err) {
		return nil, false, fmt.Errorf("reclaim: look at the presence of workers of %s: %w", r.queue, err)
	}
	life := make(map[string]signs, len(names))
	for i, name := range names {
		value, err := leases[i].Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, false, fmt.Errorf("reclaim: look at the lease of %s in %s: %w", name, r.queue, err)
		}
		life[name] = signs{lease: err == nil, presence: keepsPresence(value), seen: seen[channels[i+1]] > 0}
	}
	return life, seen[channels[0]] > 0, nil
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

// keepsPresence reads from a lease, "<fence> <JSON>", whether its worker keeps a channel subscribed.
func keepsPresence(lease string) bool {
	var value struct {
		Presence bool `json:"presence"`
	}
	_, text := wire.ParseLease(lease)
	return json.Unmarshal([]byte(text), &value) == nil && value.Presence
}

// forgetBut drops what is known of workers that have nothing pending.
func (r *Reclaimer) forgetBut(others map[string]int) {
	maps.DeleteFunc(r.leased, func(name string, _ bool) bool { return others[name] == 0 })
	maps.DeleteFunc(r.told, func(name string, _ bool) bool { return others[name] == 0 })
	maps.DeleteFunc(r.presence.absent, func(name string, _ time.Time) bool { return others[name] == 0 })
}
