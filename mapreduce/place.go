package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// renewParts is how often the keys of a run are renewed in the time after which they expire.
const renewParts = 3

// place is where a run lies, and how long to wait for Redis there.
type place struct {
	store  *stream.Store
	keys   wire.RunKeys
	job    string // its name, "" when it is not known yet
	within time.Duration
}

// again makes a call that may be repeated, until Redis answers.
func (p *place) again(ctx context.Context, call func() error) error {
	return p.store.Again(ctx, p.within, call)
}

// advance brings the run to the state it should be in, and tells it.
func (p *place) advance(ctx context.Context, tending bool) (state script.RunState, err error) {
	err = p.again(ctx, func() (err error) {
		state, err = p.store.Scripts().AdvanceRun(ctx, p.keys, tending)
		return err
	})
	return state, err
}

// renew keeps all keys of the run for another ttl. Its home goes last: it says when the others were renewed.
func (p *place) renew(ctx context.Context, ttl time.Duration) error {
	r, err := p.record(ctx)
	if err == nil {
		err = p.again(ctx, func() error { return p.store.Scripts().KeepPartitions(ctx, p.keys, r.Partitions, ttl, false) })
	}
	if err == nil {
		err = p.again(ctx, func() error {
			_, err := p.store.Scripts().RenewRun(ctx, p.keys, ttl, false)
			return err
		})
	}
	return err
}

// renewInTime renews the keys of the run when that is due. While inputs are submitted it is the submitter who does: a run that nobody
// continues is to go.
func (p *place) renewInTime(ctx context.Context, state script.RunState) error {
	if state.State == script.RunOpen || state.Renewed <= state.TTL/renewParts {
		return nil
	}
	if err := p.renew(ctx, state.TTL); err != nil && !errors.Is(err, ErrNoRun) { // the next look tells
		return err
	}
	return nil
}

// fail ends the run for a reason, or notes that one of its tasks has failed.
func (p *place) fail(ctx context.Context, f *script.RunFailure) (verdict string, complete bool, err error) {
	f.Keys = p.keys
	err = p.again(ctx, func() (err error) {
		verdict, complete, err = p.store.Scripts().FailRun(ctx, f)
		return err
	})
	return verdict, complete, err
}

// remove ends the run and removes all its keys; it reports false when there was none. It is marked BEFORE, so that whoever tends it goes
// on should this be interrupted, and the record goes last.
func (p *place) remove(ctx context.Context, reason string) (bool, error) {
	r, err := p.record(ctx)
	if errors.Is(err, ErrNoRun) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, _, err = p.fail(ctx, &script.RunFailure{Reason: reason}); err != nil {
		return false, err
	}
	return true, p.clear(ctx, r.Partitions)
}

// clear removes all keys of a run that is over.
func (p *place) clear(ctx context.Context, partitions int) error {
	if err := p.unlink(ctx, partitions, true); err != nil {
		return err
	}
	return p.again(ctx, func() error {
		_, err := p.store.Scripts().RemoveRun(ctx, p.keys)
		return err
	})
}

// unlink removes what lies between mappers and reducers, and with out also the results.
func (p *place) unlink(ctx context.Context, partitions int, out bool) error {
	return p.again(ctx, func() error {
		_, err := p.store.Client().Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for n := range partitions {
				pipe.Unlink(ctx, p.keys.Shuffle(n))
				if out {
					pipe.Unlink(ctx, p.keys.Out(n))
				}
			}
			return nil
		})
		return err
	})
}

// gone is the error of a run that was there and is not any more. A submitter may have opened its partitions after it was removed.
func (p *place) gone(ctx context.Context) error {
	_ = p.unlink(ctx, mostPartitions, true) // otherwise they expire
	return fmt.Errorf("%w, or has expired: %w", ErrCancelled, ErrNoRun)
}

// failure is the error of a run that has failed.
func (p *place) failure(ctx context.Context) error {
	r, err := p.record(ctx)
	if err != nil {
		return err
	}
	failures, err := p.failures(ctx)
	if err != nil {
		return err
	}
	cause := reasons[r.reason]
	if cause == nil {
		cause = fmt.Errorf("mapreduce: the run ended: %s", r.reason)
	}
	return &RunError{ID: p.keys.ID(), Job: r.Job, Cause: cause, Failures: failures}
}
