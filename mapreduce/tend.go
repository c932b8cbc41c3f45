package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	tendLeast  = 100 * time.Millisecond
	tendMost   = 2 * time.Second
	tendParts  = 10 // it looks as often in the time since the last change
	slowFactor = 3  // times the median is far
	slowLeast  = time.Second
	heardMost  = 500 // replies of one read
)

// tend looks after a run once, and is put off until the next time. All that it does is decided by scripts, so that two of them do no harm.
func tend(ctx context.Context, w *group.Worker) error {
	meta := group.Meta(ctx)
	id := meta.Headers[headerRun]
	probe := wire.Task{ID: id, Function: "f"}
	if err := probe.Check(); err != nil {
		return group.Drop(fmt.Errorf("mapreduce: the header %s of a task that tends a run names it: %w", headerRun, err))
	}
	at := &place{store: w.Store(), keys: w.Store().Keys(meta.Queue).Run(id), within: taskPatience}
	state, err := at.tend(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil { // no error of it is a reason to leave a run alone
		at.store.Logger().Warn("tend a run", zap.String("run", id), zap.Error(err))
		return group.Snooze(tendMost + rand.N(tendMost))
	}
	if state.Over() {
		return nil
	}
	return group.Snooze(min(max(state.Since/tendParts, tendLeast), tendMost, max(state.TTL/renewParts, time.Millisecond)))
}

func (p *place) tend(ctx context.Context) (state script.RunState, err error) {
	state, err = p.advance(ctx, true)
	if err != nil || state.State == script.RunGone {
		return state, err
	}
	if state.Over() {
		return state, p.end(ctx, state)
	}
	if err = p.hear(ctx); err != nil {
		return state, err
	}
	err = p.renewInTime(ctx, state)
	if err == nil && state.Speculate {
		err = p.speculate(ctx, state)
	}
	return state, err
}

// end removes what nobody needs any more of a run that is over, and gives the rest its time.
func (p *place) end(ctx context.Context, state script.RunState) error {
	switch {
	case state.Reason == script.ReasonCancelled || state.Reason == script.ReasonRemoved:
		return p.clear(ctx, state.Partitions) // whoever removes it was interrupted, or does the same now
	case state.State == script.RunFailed:
		if err := p.unlink(ctx, state.Partitions, true); err != nil {
			return err
		}
	default:
		if err := p.unlink(ctx, state.Partitions, false); err != nil {
			return err
		}
	}
	ttl := state.TTL
	if state.Keep > 0 {
		ttl = state.Keep
	}
	err := p.again(ctx, func() error { return p.store.Scripts().KeepPartitions(ctx, p.keys, state.Partitions, ttl, false) })
	if err != nil {
		return err
	}
	return p.again(ctx, func() error {
		_, err := p.store.Scripts().RenewRun(ctx, p.keys, ttl, true)
		return err
	})
}

// hear notes the deaths that no handler can report: those of tasks that kill their workers, or that somebody cancelled.
func (p *place) hear(ctx context.Context) error {
	for {
		entries, err := p.store.Client().XRangeN(ctx, p.keys.Reply(), "-", "+", heardMost).Result()
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, entry := range entries {
			for id, value := range entry.Values {
				text, _ := value.(string)
				o, err := wire.DecodeOutcome(id, text)
				if err != nil || o.Kind != wire.KindFailure {
					continue
				}
				if err := p.bury(ctx, &o); err != nil {
					return err
				}
			}
		}
		ids := make([]string, len(entries))
		for i := range entries {
			ids[i] = entries[i].ID
		}
		if err := p.store.Client().XDel(ctx, p.keys.Reply(), ids...).Err(); err != nil || len(entries) < heardMost {
			return err
		}
	}
}

// bury notes that a task of the run has failed for good, if that is not noted yet.
func (p *place) bury(ctx context.Context, o *stream.Outcome) error {
	phase, number, ok := parseTaskID(p.keys.ID(), o.TaskID)
	if !ok {
		return nil
	}
	f := TaskFailure{
		Phase: phaseName(phase), Number: number, TaskID: o.TaskID, Attempt: o.Failure.Attempt, Reason: o.Failure.Reason, Message: clipText(o.Failure.Message),
	}
	_, complete, err := p.fail(ctx, &script.RunFailure{Phase: phase, Number: number, Text: f.encode()})
	if err == nil && complete {
		_, err = p.advance(ctx, true)
	}
	return err
}

// speculate starts tasks a second time that take far longer than the others.
func (p *place) speculate(ctx context.Context, state script.RunState) error {
	phase, kind := script.Maps, kindMapCopy
	switch state.State {
	case script.RunMapping:
	case script.RunReducing:
		phase, kind = script.Reduces, kindReduceCopy
	default:
		return nil
	}
	slow, err := p.store.Scripts().SlowRun(ctx, p.keys, slowFactor, slowLeast)
	if err != nil {
		return err
	}
	for _, one := range slow {
		entries, err := p.store.Client().XRange(ctx, p.keys.Queue().Tasks(), one.Entry, one.Entry).Result()
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			continue // it waits for another attempt
		}
		text, _ := entries[0].Values[wire.Field].(string)
		task, err := wire.DecodeValue([]byte(text))
		number, bad := strconv.Atoi(one.Number)
		if err = errors.Join(err, bad); err != nil {
			return fmt.Errorf("mapreduce: copy task %s at entry %s: %w", one.Number, one.Entry, err)
		}
		task.ID, task.Attempt, task.MaxAttempts, task.LastError, task.Promoted = taskID(p.keys.ID(), kind, number), 1, 1, "", false
		task.Headers[headerCopy] = one.Worker
		copied, err := p.store.Scripts().CopyRun(ctx, p.keys, phase, one, task.Encode())
		if err != nil {
			return err
		}
		if copied {
			p.store.Logger().Info("a slow task is started a second time", zap.String("run", p.keys.ID()), zap.String("phase", string(phase)), zap.Int("number", number))
		}
	}
	return nil
}
