package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	watchEvery  = time.Second
	mostPut     = 4 << 20         // bytes of one round trip
	dropWithin  = 2 * time.Second // what removing the output of an execution that is of no account may take
	putOffWhile = time.Second     // of a task that could not reach Redis; a random part more
	elsewhere   = 100 * time.Millisecond
)

// Causes of the end of an execution's context.
var (
	errOver    = errors.New("mapreduce: the run is over")
	errDecided = errors.New("mapreduce: another execution of the task was first")
	errStopped = errors.New("mapreduce: the task has ended")
)

// awayError is of a call to Redis that had no answer: it is no fault of the task.
type awayError struct{ error }

// Unwrap returns the error itself.
func (e *awayError) Unwrap() error { return e.error }

// execution is one of a map or reduce task.
type execution struct {
	script.Execution
	at         *place
	meta       group.Metadata
	partitions int // of the run
	first      int // number of the first input
	inputs     int
	began      time.Time

	stop     context.CancelCauseFunc // of its context
	written  []script.Part           // without data: what is to be removed if it is of no account
	bytes    int64
	deciding bool // it was asked for: the output may count
}

// execute runs a task of a run: it begins, watches the run, and decides what an error is.
func execute(ctx context.Context, w *group.Worker, phase script.Phase, run func(ctx context.Context, x *execution) error) error {
	x, err := newExecution(ctx, w, phase)
	if err != nil {
		return err
	}
	var verdict string
	err = x.again(ctx, func() (err error) {
		verdict, x.partitions, err = x.at.store.Scripts().BeginRun(ctx, &x.Execution)
		return err
	})
	switch {
	case err != nil:
		return x.failed(ctx, err)
	case verdict == script.VerdictElsewhere:
		return group.Snooze(elsewhere)
	case verdict == script.VerdictDecided:
		x.tidy(ctx)
		return nil
	case verdict != script.VerdictRun:
		return nil
	}
	inner, stop := context.WithCancelCause(ctx)
	x.stop = stop
	defer stop(errStopped)
	watch := x.watch(inner)
	defer watch.Stop()
	returned := false
	defer func() {
		if !returned { // runtime.Goexit: group makes a failure of it
			_ = x.failed(inner, errors.New("the handler ended its goroutine with runtime.Goexit"))
		}
	}()
	err = guarded(func() error { return run(inner, x) })
	returned = true
	if err != nil {
		return x.failed(inner, err)
	}
	return nil
}

// guarded makes an error of a panic, as group does: a task that panics for the last time fails its run.
func guarded(run func() error) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if value := recover(); value != nil {
			err = &group.PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	err = run()
	returned = true
	return err
}

// again makes a call that may be repeated. When Redis does not answer that is no fault of the task.
func (x *execution) again(ctx context.Context, call func() error) error {
	return away(x.at.again(ctx, call))
}

func away(err error) error {
	if errors.Is(err, stream.ErrUnavailable) {
		return &awayError{err}
	}
	return err
}

// watch ends the context when the run is over, or the task was decided by another execution.
func (x *execution) watch(ctx context.Context) *time.Timer {
	var timer *time.Timer
	began := make(chan struct{})
	timer = time.AfterFunc(watchEvery, func() {
		<-began
		if ctx.Err() != nil {
			return
		}
		if cause, err := x.look(ctx); err == nil && cause != nil {
			x.stop(cause)
			return
		}
		timer.Reset(watchEvery)
	})
	close(began)
	return timer
}

// look tells whether the execution is of no use any more: errOver, errDecided, or nil.
func (x *execution) look(ctx context.Context) (cause, err error) {
	decided := x.Keys.Maps()
	if x.Phase == script.Reduces {
		decided = x.Keys.Reduces()
	}
	var state *redis.StringCmd
	var there *redis.BoolCmd
	err = x.again(ctx, func() error {
		_, err := x.at.store.Client().Pipelined(ctx, func(pipe redis.Pipeliner) error {
			state, there = pipe.HGet(ctx, x.Keys.Hash(), "state"), pipe.HExists(ctx, decided, fmt.Sprint(x.Number))
			return nil
		})
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case state.Val() == "" || state.Val() == script.RunDone || state.Val() == script.RunFailed:
		return errOver, nil
	case there.Val():
		return errDecided, nil
	default:
		return nil, nil
	}
}

// missed decides what it means that something of the run is not there: the execution is late, or Redis has lost it.
func (x *execution) missed(ctx context.Context, what string) error {
	cause, err := x.look(ctx)
	if err != nil {
		return err
	}
	if cause != nil {
		x.stop(cause)
		return cause
	}
	return fmt.Errorf("%w: %s", ErrDataLost, what)
}

// account notes the bytes that are about to be sent.
func (x *execution) account(ctx context.Context, parts []script.Part) error {
	for _, part := range parts {
		x.bytes += int64(len(part.Data))
	}
	var state string
	err := x.again(ctx, func() (err error) {
		state, err = x.at.store.Scripts().SpillRun(ctx, &x.Execution, x.bytes)
		return err
	})
	if err == nil && state != script.RunOpen && state != script.RunMapping {
		err = errOver
		if state == script.RunReducing {
			err = errDecided
		}
		x.stop(err)
	}
	return err
}

// put stores segments or pieces.
func (x *execution) put(ctx context.Context, parts []script.Part) error {
	for len(parts) > 0 {
		n, size := 0, 0
		for n < len(parts) && (n == 0 || size+len(parts[n].Data) <= mostPut) {
			size += len(parts[n].Data)
			x.written = append(x.written, script.Part{Key: parts[n].Key, Field: parts[n].Field})
			n++
		}
		var stored bool
		err := x.again(ctx, func() (err error) {
			stored, err = x.at.store.Scripts().PutParts(ctx, parts[:n])
			return err
		})
		if err != nil {
			return err
		}
		if !stored {
			return x.missed(ctx, "a partition to write to is not there")
		}
		parts = parts[n:]
	}
	return nil
}

// finish asks whether the output counts. Its context is not that of the handler: half an answer is none.
func (x *execution) finish(ctx context.Context, manifest []byte, pairs int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	free := context.WithoutCancel(ctx)
	x.deciding = true
	f := script.Finished{Manifest: manifest, Took: time.Since(x.began), Bytes: x.bytes, Pairs: pairs}
	var verdict string
	var complete bool
	err := x.again(free, func() (err error) {
		verdict, complete, err = x.at.store.Scripts().FinishRun(free, &x.Execution, f)
		return err
	})
	if err != nil {
		return err
	}
	if verdict != script.VerdictWon {
		x.deciding = false
		x.drop(free)
		return nil
	}
	x.tidy(free)
	if complete {
		_, err = x.at.advance(free, false)
		x.log("advance the run", err) // whoever tends it does it too
	}
	return nil
}

// tidy removes the segments of a partition that is reduced. Should it not happen, they go at the end of the run.
func (x *execution) tidy(ctx context.Context) {
	if x.Phase == script.Reduces {
		x.log("remove a partition that is reduced", x.at.store.Client().Unlink(ctx, x.Keys.Shuffle(x.Number)).Err())
	}
}

// drop removes the output of an execution that is of no account. Should it not happen, it goes with its partition.
func (x *execution) drop(ctx context.Context) {
	if x.deciding || len(x.written) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
	defer cancel()
	_, err := x.at.store.Client().Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, part := range x.written {
			pipe.HDel(ctx, part.Key, part.Field)
		}
		return nil
	})
	if err == nil && x.Phase == script.Maps {
		_, err = x.at.store.Scripts().SpillRun(ctx, &x.Execution, 0)
	}
	x.log("remove what does not count", err)
}

func (x *execution) log(what string, err error) {
	if err != nil {
		x.at.store.Logger().Debug(what, zap.String("run", x.Keys.ID()), zap.String("phase", string(x.Phase)), zap.Int("number", x.Number), zap.Error(err))
	}
}

// failed decides what the error of an execution means for its task and its run, and returns what the handler is to return.
func (x *execution) failed(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var absent *awayError
	switch {
	case errors.Is(cause, group.ErrLeaseLost):
		return err // another worker has it
	case errors.Is(cause, errOver), errors.Is(cause, errDecided):
		x.drop(ctx)
		return nil
	case errors.Is(cause, group.ErrDrain):
		x.drop(ctx)
		return err
	case errors.Is(cause, group.ErrCancelled):
		x.drop(ctx)
		return x.report(ctx, err, "") // it is not tried again
	case errors.As(err, &absent):
		return group.Snooze(putOffWhile + rand.N(putOffWhile))
	case group.IsSnooze(err):
		x.drop(ctx)
		return err
	}
	x.drop(ctx)
	if errors.Is(err, ErrDataLost) {
		return x.report(ctx, err, script.ReasonDataLost)
	}
	if x.Avoid != "" {
		return nil // the first execution goes on, and what it ends with counts
	}
	if last := x.meta.Attempt >= x.meta.MaxAttempts; last || group.IsDrop(err) {
		return x.report(ctx, err, "")
	}
	return err
}

// report tells the run that the task has failed for good. Should it not arrive, whoever tends the run hears of it.
func (x *execution) report(ctx context.Context, err error, reason string) error {
	free := context.WithoutCancel(ctx)
	f := TaskFailure{
		Phase: phaseName(x.Phase), Number: x.Number, First: x.first, Inputs: x.inputs, TaskID: x.Task, Attempt: x.meta.Attempt,
		Worker: x.Worker, Reason: wire.ReasonFailed, Message: clipText(err.Error()),
	}
	switch {
	case reason != "":
		f.Reason = reason
	case group.IsDrop(err):
		f.Reason = wire.ReasonDropped
	}
	_, complete, reported := x.at.fail(free, &script.RunFailure{Phase: x.Phase, Number: x.Number, Text: f.encode(), Reason: reason})
	x.log("report a failure", reported)
	if complete {
		_, advanced := x.at.advance(free, false)
		x.log("advance the run", advanced)
	}
	if reason != "" && reported == nil {
		return group.Drop(err)
	}
	return err
}

func phaseName(p script.Phase) string {
	if p == script.Maps {
		return "map"
	}
	return "reduce"
}

// mostMessage bounds what an error of a task takes in the record of its run.
const mostMessage = 2 << 10

func clipText(text string) string {
	if len(text) > mostMessage {
		text = text[:mostMessage] + "..."
	}
	return text
}
