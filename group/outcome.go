package group

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

const (
	maxResult    = 4 << 20 // bytes of one result
	maxErrorText = 4096    // bytes of an error in a dead letter or a failure
)

// decide turns what a handler returned into the outcome of its flight, which has ended.
func (f *feed) decide(flight *flight, data []byte, err error, took time.Duration) {
	flight.ran = took
	if err == nil {
		f.succeed(flight, data, took)
		return
	}
	f.decideFailure(flight, err)
}

func (f *feed) decideFailure(flight *flight, err error) {
	ended := flight.context.endedBy()
	var (
		drop    *dropError
		payload *payloadError
		after   *retryAfterError
		snooze  *snoozeError
	)
	switch {
	case errors.Is(ended, ErrLeaseLost):
		// Another worker has it, or will: it must not suffer from what this one failed with.
		f.log.Info("a handler ended after the lease was lost", zap.String("task", flight.task.ID), zap.Error(err))
		if flight.chunk != nil {
			flight.chunk.handOver(flight.item)
			return
		}
		f.flights.remove(flight)
		f.wantAudit() // if it is still pending here, it runs again here
	case errors.Is(ended, ErrCancelled):
		f.cancel(flight, cancelledRunning)
	case errors.As(err, &snooze):
		f.retry(flight, flight.task, putOff{wait: snooze.wait, counter: "snoozed"})
	case errors.As(err, &drop):
		f.bury(flight, wire.ReasonDropped, err)
	case errors.Is(ended, ErrDrain):
		f.release(flight)
	case errors.As(err, &payload):
		f.bury(flight, wire.ReasonMalformed, err)
	case errors.As(err, &after):
		f.fail(flight, err, putOff{wait: after.wait, counter: "retried", err: err})
	default:
		f.fail(flight, err, putOff{wait: f.worker.cfg.Backoff.wait(flight.task.Attempt), counter: "retried", err: err})
	}
}

func (f *feed) succeed(flight *flight, data []byte, took time.Duration) {
	if flight.task.Reply != "" && len(data) > maxResult {
		f.bury(flight, wire.ReasonTooLarge, fmt.Errorf("the result of %d bytes is above the limit of %d", len(data), maxResult))
		return
	}
	if flight.chunk != nil {
		flight.chunk.succeed(flight.item, data, took)
		return
	}
	outcome := ""
	if flight.task.Reply != "" {
		o := wire.Outcome{TaskID: flight.task.ID, Kind: wire.KindResult, Payload: data}
		outcome = o.Encode()
	}
	flight.task.Payload = nil // not needed any more, and the batch it came in may live as long as its slowest task
	f.commits.add(result{flight: flight, outcome: outcome, took: took})
}

// fail puts a failed task off, or buries it when its attempts are used up.
func (f *feed) fail(flight *flight, err error, off putOff) {
	reason := wire.ReasonFailed
	if off.counter == "unknown" {
		reason = wire.ReasonUnknown
	}
	if flight.task.Attempt >= flight.maxAttempts() {
		f.bury(flight, reason, err)
		return
	}
	next := flight.task
	next.Attempt++
	next.LastError = clip(err.Error(), maxErrorText)
	f.retry(flight, next, off)
}

// putOff is why and how long a task waits.
type putOff struct {
	wait    time.Duration
	counter string
	err     error
}

// retry moves the task to those that are due later.
func (f *feed) retry(flight *flight, next wire.Task, off putOff) {
	if flight.chunk != nil {
		flight.chunk.retry(flight, next, off)
		return
	}
	meta := flight.metadata()
	f.settles.add(settlement{what: "put off a task", flight: flight, try: func(ctx context.Context, again bool) error {
		ok, err := f.worker.store.Scripts().Retry(ctx, script.RetryItem{
			Keys: f.keys, Group: f.worker.store.Group(), Consumer: f.worker.name, Entry: flight.entry,
			Task: next, Delay: off.wait, Counter: off.counter,
		})
		if err != nil {
			return err
		}
		if !ok && !again {
			f.refused(meta)
			return nil
		}
		if off.err != nil {
			f.deeds.failed(flight, false)
		}
		if hook := f.worker.cfg.Hooks.Retry; hook != nil {
			hook(meta, off.wait, off.err)
		}
		return nil
	}})
}

// bury makes a dead letter of the task, and tells whoever waits for it.
func (f *feed) bury(flight *flight, reason string, err error) {
	task := &flight.task
	text := errorText(err)
	failure := wire.Outcome{TaskID: task.ID, Kind: wire.KindFailure, Failure: wire.Failure{
		Function: task.Function, Attempt: task.Attempt, Reason: reason, Message: clip(err.Error(), maxErrorText),
	}}
	if flight.chunk != nil {
		flight.chunk.bury(flight, reason, failure.Failure, err)
		return
	}
	f.buryAs(flight, reason, err, script.BuryItem{
		TaskID: task.ID, Reply: task.Reply, Unique: task.Unique, Outcome: failure.Encode(),
		Fields: append(task.Fields(), "reason", reason, "error", text),
	})
}

// buryRaw makes a dead letter of an entry that is no task, so that it blocks nobody.
func (f *feed) buryRaw(flight *flight, fields []string, err error) {
	reason, kept := wire.ReasonMalformed, []string{"raw", wire.Raw(fields)}
	if errors.Is(err, wire.ErrNewer) && len(fields) <= mostNewerFields {
		// It is kept whole: once the workers are upgraded it can be replayed.
		reason, kept = wire.ReasonNewer, slices.Clone(fields)
	}
	if !f.hold(flight) {
		return
	}
	f.buryAs(flight, reason, err, script.BuryItem{
		Fields: append(kept, "reason", reason, "error", clip(err.Error(), maxErrorText)),
	})
}

// mostNewerFields bounds what is kept whole; no version will have that many.
const mostNewerFields = 64

// buryCrashed makes a dead letter of a task that killed its workers.
func (f *feed) buryCrashed(flight *flight) {
	if !f.hold(flight) {
		return
	}
	f.bury(flight, wire.ReasonCrash,
		fmt.Errorf("%d workers died while they ran it, the last one with nothing beside it", flight.crashes))
}

// hold takes an entry in hand that is not to run; it reports false when it is in hand already.
func (f *feed) hold(one *flight) bool {
	one.state.Store(flightEnded)
	return len(f.flights.add([]*flight{one})) == 1
}

func (f *feed) buryAs(flight *flight, reason string, cause error, item script.BuryItem) {
	w := f.worker
	meta := flight.metadata()
	item.Keys, item.Group, item.Consumer, item.Entry = f.keys, w.store.Group(), w.name, flight.entry
	item.Fields = append(item.Fields, "worker", w.name, "entry", flight.entry)
	f.settles.add(settlement{what: "bury a task", flight: flight, try: func(ctx context.Context, again bool) error {
		ok, err := w.store.Scripts().Bury(ctx, item)
		if err != nil {
			return err
		}
		if !ok && !again {
			f.refused(meta)
			return nil
		}
		f.deeds.failed(flight, true)
		f.tellDead(meta, reason, cause)
		if hook := w.cfg.Hooks.Dead; hook != nil {
			hook(meta, reason, cause)
		}
		return nil
	}})
}

// tellDead logs a dead letter. What a handler says may hold anything and stays in Redis; what is wrong with an entry is said.
func (f *feed) tellDead(meta Metadata, reason string, cause error) {
	if meta.ID == "" {
		f.log.Warn("an entry is no task and becomes a dead letter",
			zap.String("entry", meta.Entry), zap.String("reason", reason), zap.Error(cause))
		return
	}
	f.log.Warn("a task is a dead letter", zap.String("task", meta.ID), zap.String("function", meta.Function),
		zap.String("entry", meta.Entry), zap.Int("attempt", meta.Attempt), zap.String("reason", reason))
}

// When a task was cancelled, for people.
const (
	cancelledWaiting = "it was cancelled before it started"
	cancelledRunning = "it was cancelled while it ran"
)

// cancel ends a task that nobody wants any more.
func (f *feed) cancel(flight *flight, when string) {
	if flight.chunk != nil {
		flight.chunk.cancel(flight.item, when)
		return
	}
	task := &flight.task
	meta := flight.metadata()
	failure := wire.Outcome{TaskID: task.ID, Kind: wire.KindFailure, Failure: cancelled(task, when)}
	batch := script.CommitBatch{
		Keys: f.keys, Group: f.worker.store.Group(), Worker: f.worker.name, Counter: "cancelled",
		Items: []script.CommitItem{{
			Entry: flight.entry, TaskID: task.ID, Reply: task.Reply, Unique: task.Unique, Outcome: failure.Encode(),
		}},
	}
	f.settles.add(settlement{what: "cancel a task", flight: flight, try: func(ctx context.Context, again bool) error {
		late, err := f.worker.store.Scripts().Commit(ctx, batch)
		if err != nil {
			return err
		}
		if hook := f.worker.cfg.Hooks.Cancelled; hook != nil && (len(late) == 0 || again) {
			hook(meta)
		}
		return nil
	}})
}

// cancelled is the failure of a task that nobody wants any more.
func cancelled(task *wire.Task, when string) wire.Failure {
	return wire.Failure{Function: task.Function, Attempt: task.Attempt, Reason: wire.ReasonCancelled, Message: when}
}

// release hands tasks to other workers, at no cost of an attempt.
func (f *feed) release(all ...*flight) {
	all = slices.DeleteFunc(all, func(one *flight) bool { return one.chunk != nil && one.chunk.release(one) })
	if len(all) == 0 {
		return
	}
	f.settles.add(settlement{what: "release tasks", flight: all[0], try: func(ctx context.Context, _ bool) error {
		err := f.worker.store.Scripts().Release(ctx, f.keys, f.worker.store.Group(), f.worker.name, entriesOf(all))
		if err != nil {
			return err
		}
		f.flights.remove(all...)
		f.worker.hookReleased(f, len(all))
		return nil
	}})
}

// dropDeleted takes an entry off the pending list that was deleted from the stream by somebody's XTRIM or XDEL: there is nothing
// left to run, nor anybody to tell.
func (f *feed) dropDeleted(flight *flight) {
	if !f.hold(flight) {
		return
	}
	f.log.Error("an entry was deleted from the stream before it was done", zap.String("entry", flight.entry))
	f.settles.add(settlement{what: "forget a deleted entry", flight: flight, try: func(ctx context.Context, _ bool) error {
		client := f.worker.store.Client()
		if err := client.XAck(ctx, f.keys.Tasks(), f.worker.store.Group(), flight.entry).Err(); err != nil {
			return err
		}
		if err := client.HDel(ctx, f.keys.Chunks(), flight.entry).Err(); err != nil {
			return err
		}
		return client.HDel(ctx, f.keys.Crashes(), flight.entry, flight.entry+"!").Err()
	}})
}

// refused tells of an outcome that came too late: the entry is with another worker. Should it still be pending here, as after a
// lease that was lost and found again, it runs once more.
func (f *feed) refused(meta Metadata) {
	f.wantAudit()
	if hook := f.worker.cfg.Hooks.Late; hook != nil {
		hook(meta)
	}
}

// errorText is an error for people, with the stack of a panic.
func errorText(err error) string {
	text := err.Error()
	var panicked *PanicError
	if errors.As(err, &panicked) {
		text += "\n" + string(panicked.Stack)
	}
	return clip(text, maxErrorText)
}

// clip shortens a text to at most n bytes of valid UTF-8.
func clip(text string, n int) string {
	if len(text) > n {
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	return text
}
