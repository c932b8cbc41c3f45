package mapreduce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/stream"
)

// waitBlock is how long a waiter hears nothing at most before it looks by itself.
const waitBlock = 2 * time.Second

// Run is one execution of a [Job] on the workers, as seen by whoever submitted or resumed it. It holds no connection and needs no Close;
// the run goes on without it. It is safe for concurrent use, and there may be several of one run, in several processes.
type Run[K cmp.Ordered, Out any] struct {
	ID string // ULID, for [Job.Resume]

	at     *place
	decode func([]byte) (Out, error)
	seen   atomic.Bool // it was there
}

func newRun[K cmp.Ordered, Out any](job, id string, client *stream.Client, queue string, decode func([]byte) (Out, error)) *Run[K, Out] {
	store := client.Store()
	return &Run[K, Out]{
		ID: id, decode: decode,
		at: &place{store: store, keys: store.Keys(queue).Run(id), job: job, within: client.RetryFor()},
	}
}

// Resume returns a run of this job that some process has submitted, whatever became of that process. The error is [ErrNoRun] when it is not
// there. A run whose inputs are not all stored is continued by [Job.Submit] with [RunID]; until then it waits for them.
func (j *Job[In, K, V, Out]) Resume(ctx context.Context, client *stream.Client, id string) (*Run[K, Out], error) {
	full, err := j.filled()
	if err == nil && client == nil {
		err = fmt.Errorf("mapreduce: resume %s: client is nil: make it with stream.NewClient", j.Name)
	}
	if err != nil {
		return nil, err
	}
	run := newRun[K](full.Name, id, client, full.Queue, full.out().DecodeOut)
	r, err := run.at.record(ctx)
	if err == nil && r.Job != full.Name {
		err = fmt.Errorf("%w: run %s is one of job %s", ErrNoRun, id, r.Job)
	}
	if err != nil {
		return nil, fmt.Errorf("mapreduce: resume run %s of %s: %w", id, j.Name, err)
	}
	run.seen.Store(true)
	return run, nil
}

// Wait blocks until the run is done, and returns nil then: results may still lack what failed tasks would have given, see [Tolerate]. When
// the run has failed the error is a [*RunError]. It is [ErrNoRun] when the run is not there, and also [ErrCancelled] when it was there before;
// [stream.ErrUnavailable] when Redis has not answered for ClientConfig.RetryFor: call it again to go on waiting. While somebody waits, the
// run does not expire.
func (r *Run[K, Out]) Wait(ctx context.Context) error {
	if err := r.wait(ctx); err != nil {
		return fmt.Errorf("mapreduce: wait for run %s of %s: %w", r.ID, r.at.job, err)
	}
	return nil
}

func (r *Run[K, Out]) wait(ctx context.Context) error {
	events, err := conn.NewReader(r.at.store.Client(), waitBlock)
	if err != nil {
		return err
	}
	defer events.Close()
	for cursor := "0-0"; ; {
		state, err := r.at.advance(ctx, false)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if over, err := r.judge(ctx, state); over {
			return err
		}
		err = r.at.renewInTime(ctx, state)
		if errors.Is(err, ErrNoRun) { // removed since
			continue
		}
		if err != nil {
			return err
		}
		if cursor, err = r.hear(ctx, events, cursor, state.TTL); err != nil {
			return err
		}
	}
}

// hear waits for the next change of state. After an error it hears all of them again.
func (r *Run[K, Out]) hear(ctx context.Context, events *conn.Reader, cursor string, ttl time.Duration) (string, error) {
	block := min(waitBlock, max(ttl/renewParts, time.Millisecond))
	heard, err := events.Read(ctx, r.at.keys.Events(), cursor, 16, block)
	if err != nil {
		r.at.store.Logger().Debug("hear of a run", zap.String("run", r.ID), zap.Error(err))
		if !pause(ctx, minPause) {
			return "", context.Cause(ctx)
		}
		return "0-0", nil
	}
	if len(heard) > 0 {
		cursor = heard[len(heard)-1].ID
	}
	return cursor, nil
}

// judge tells whether the run is over, and how.
func (r *Run[K, Out]) judge(ctx context.Context, state script.RunState) (over bool, err error) {
	switch state.State {
	case script.RunGone:
		if r.seen.Load() {
			return true, fmt.Errorf("%w, or has expired: %w", ErrCancelled, ErrNoRun)
		}
		return true, ErrNoRun
	case script.RunDone:
		r.seen.Store(true)
		return true, nil
	case script.RunFailed:
		r.seen.Store(true)
		if err = r.at.failure(ctx); errors.Is(err, ErrNoRun) { // being cancelled: it fails first, and is removed then
			err = fmt.Errorf("%w: %w", ErrCancelled, ErrNoRun)
		}
		return true, err
	default:
		r.seen.Store(true)
		return false, nil
	}
}

// Results waits for the end of the run, and yields what its reducers returned, in the order of the keys. It holds a piece of some 256 KiB
// of each partition. An error comes last: those of [Run.Wait], and [ErrDataLost] when Redis has lost a part of the results. Breaking out
// of the loop leaves all as it is; a loop that reaches its end, or the error of a run that has failed, removes everything that the run has
// left in Redis, unless [Keep] says otherwise.
func (r *Run[K, Out]) Results(ctx context.Context) iter.Seq2[Pair[K, Out], error] {
	return func(yield func(Pair[K, Out], error) bool) {
		fail := func(err error) {
			yield(Pair[K, Out]{}, fmt.Errorf("mapreduce: results of run %s of %s: %w", r.ID, r.at.job, err))
		}
		if err := r.wait(ctx); err != nil {
			if _, ok := errors.AsType[*RunError](err); ok {
				r.read(ctx)
			}
			fail(err)
			return
		}
		sources, err := r.at.outputs(ctx)
		if err != nil {
			fail(err)
			return
		}
		for pair, err := range mergeResults[K](sources, r.decode) {
			if err != nil {
				fail(err)
				return
			}
			if !yield(pair, nil) {
				return
			}
		}
		r.read(ctx)
	}
}

// read removes a run whose results were read, unless they are to be kept. What cannot be removed expires.
func (r *Run[K, Out]) read(ctx context.Context) {
	record, err := r.at.record(ctx)
	if err == nil && record.keep > 0 {
		return
	}
	if err == nil {
		r.seen.Store(false) // nobody else has ended it
		_, err = r.at.remove(ctx, script.ReasonRemoved)
	}
	if err != nil && !errors.Is(err, ErrNoRun) {
		r.at.store.Logger().Warn("a run whose results were read is left to expire", zap.String("run", r.ID), zap.Error(err))
	}
}

// Progress tells how far the run is; the error is [ErrNoRun] when it is not there.
func (r *Run[K, Out]) Progress(ctx context.Context) (RunProgress, error) {
	record, err := r.at.record(ctx)
	if err != nil {
		return RunProgress{}, fmt.Errorf("mapreduce: progress of run %s of %s: %w", r.ID, r.at.job, err)
	}
	r.seen.Store(true)
	return record.RunProgress, nil
}

// Failures are the tasks that have failed for good so far, by phase and number.
func (r *Run[K, Out]) Failures(ctx context.Context) ([]TaskFailure, error) {
	failures, err := r.at.failures(ctx)
	if err != nil {
		return nil, fmt.Errorf("mapreduce: failures of run %s of %s: %w", r.ID, r.at.job, err)
	}
	return failures, nil
}

// Cancel ends the run everywhere and removes all its keys. Handlers that run have their context cancelled within about a second, tasks that
// wait end when a worker takes them. The error is [ErrNoRun] when it is not there.
func (r *Run[K, Out]) Cancel(ctx context.Context) error {
	there, err := r.at.remove(ctx, script.ReasonCancelled)
	if err == nil && !there {
		err = ErrNoRun
	}
	if err != nil {
		return fmt.Errorf("mapreduce: cancel run %s of %s: %w", r.ID, r.at.job, err)
	}
	r.seen.Store(true)
	return nil
}

// Remove removes all keys of the run; one that is not over is cancelled. A run that is not there is no error.
func (r *Run[K, Out]) Remove(ctx context.Context) error {
	if _, err := r.at.remove(ctx, script.ReasonRemoved); err != nil {
		return fmt.Errorf("mapreduce: remove run %s of %s: %w", r.ID, r.at.job, err)
	}
	r.seen.Store(false)
	return nil
}

// pause waits; it reports false when ctx is done.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
