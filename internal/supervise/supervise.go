// Package supervise runs the named loops of a component: it starts them in order, restarts what fails, and stops them in
// reverse.
//
//	return supervise.Run(ctx, supervise.Options{Logger: logger},
//		supervise.Loop{Name: "heartbeat", Run: w.heartbeat},
//		supervise.Loop{Name: "fetch", Run: w.fetch}, // stops first
//	)
package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

// Loop is one background activity. Run blocks until its work is done or its context is cancelled. Its context is cancelled only
// when it is this loop's turn to stop, so a loop may rely on every loop before it for as long as it runs.
//
// A Run that returns nil is done and is not started again. One that returns an error or panics before the end is started again
// after a backoff. One that returns an error marked by [Fatal] ends all loops.
type Loop struct {
	Name string // for logs and errors
	Run  func(ctx context.Context) error
}

// Options tunes [Run]. The zero value is ready to use.
type Options struct {
	Logger     *zap.Logger   // the first failure of a trouble is a warning, further ones are debug; nil is silent
	MinBackoff time.Duration // the first restart waits at most this long; default 50ms
	MaxBackoff time.Duration // no restart waits longer; default 5s. A loop that ran longer than this starts at MinBackoff again
}

const (
	defaultMinBackoff = 50 * time.Millisecond
	defaultMaxBackoff = 5 * time.Second
)

// Run starts the loops in their order and blocks until all of them are done. Once ctx is cancelled it stops them in reverse
// order: it cancels the last one, waits for it, goes on with the one before it. It returns nil after a clean end, and the
// loop's error when a loop failed with [Fatal]; whatever else loops return is logged and retried, and ignored while they stop.
func Run(ctx context.Context, opts Options, loops ...Loop) error {
	opts.Logger = cmp.Or(opts.Logger, zap.NewNop())
	opts.MinBackoff = cmp.Or(opts.MinBackoff, defaultMinBackoff)
	opts.MaxBackoff = max(opts.MinBackoff, cmp.Or(opts.MaxBackoff, defaultMaxBackoff))

	fatal := make(chan error, len(loops))
	runners := make([]*runner, len(loops))
	for i, loop := range loops {
		runners[i] = start(ctx, opts, loop, fatal)
	}

	var failure error
	select {
	case failure = <-fatal:
	case <-ctx.Done():
	case <-allDone(runners):
	}
	for i := len(runners) - 1; i >= 0; i-- {
		runners[i].cancel()
		<-runners[i].done
	}
	close(fatal)
	for err := range fatal { // of loops that failed meanwhile
		failure = cmp.Or(failure, err)
	}
	return failure
}

// runner keeps one loop running.
type runner struct {
	loop   Loop
	opts   Options
	cancel context.CancelFunc
	done   chan struct{} // closed once the loop is over for good
}

func start(ctx context.Context, opts Options, loop Loop, fatal chan<- error) *runner {
	// Without the parent's cancellation, with its values: each loop is stopped in its turn.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &runner{loop: loop, opts: opts, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := r.keepRunning(own); err != nil {
			fatal <- err
		}
	}()
	return r
}

// allDone is closed once every loop is done.
func allDone(runners []*runner) <-chan struct{} {
	all := make(chan struct{})
	go func() {
		defer close(all)
		for _, r := range runners {
			<-r.done
		}
	}()
	return all
}

// keepRunning runs the loop again and again; it returns an error only when that is fatal.
func (r *runner) keepRunning(ctx context.Context) error {
	log := r.opts.Logger.With(zap.String("loop", r.loop.Name))
	ceiling, level := r.opts.MinBackoff, zap.WarnLevel
	for {
		began := time.Now()
		err := r.runOnce(ctx)
		if err == nil {
			return nil
		}
		if isFatal(err) {
			return fmt.Errorf("supervise: loop %s: %w", r.loop.Name, err)
		}
		if ctx.Err() != nil {
			if !errors.Is(err, context.Canceled) {
				log.Debug("loop failed while it stopped", zap.Error(err))
			}
			return nil
		}
		if time.Since(began) > r.opts.MaxBackoff {
			ceiling, level = r.opts.MinBackoff, zap.WarnLevel // it was well for a while
		}
		// Full jitter: loops of many processes that failed together do not come back together.
		wait := rand.N(ceiling) + 1
		log.Log(level, "loop failed and is started again", zap.Error(err), zap.Duration("wait", wait))
		level = zap.DebugLevel // once is enough, until it was well
		if !sleep(ctx, wait) {
			return nil
		}
		ceiling = min(2*ceiling, r.opts.MaxBackoff)
	}
}

// runOnce runs the loop once and makes an error of its panic.
func (r *runner) runOnce(ctx context.Context) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &PanicError{Value: cause, Stack: debug.Stack()}
		}
	}()
	return r.loop.Run(ctx)
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// PanicError is the error a loop that panicked is restarted for.
type PanicError struct {
	Value any    // what was given to panic
	Stack []byte // where, as debug.Stack prints it
}

// Error names the value and shows the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Unwrap is the value of the panic when that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Fatal marks an error no restart can mend: [Run] stops all loops and returns it. Fatal(nil) is nil.
func Fatal(err error) error {
	if err == nil {
		return nil
	}
	return &fatalError{err}
}

type fatalError struct{ cause error }

func (e *fatalError) Error() string { return e.cause.Error() }
func (e *fatalError) Unwrap() error { return e.cause }

func isFatal(err error) bool {
	var fatal *fatalError
	return errors.As(err, &fatal)
}
