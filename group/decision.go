package group

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// ErrLeaseLost is the cause of a handler's context that was cancelled because this worker lost touch with Redis for longer than
// its lease: other workers have the task by now. What the handler then fails with is not recorded; a success still is, if it
// is the first.
var ErrLeaseLost = errors.New("group: the worker's lease was lost, another worker may run the task")

// ErrDrain is the cause of a handler's context that was cancelled because the worker stops and Config.Drain is over. A handler
// that then fails loses no attempt: the task is handed to another worker.
var ErrDrain = errors.New("group: the worker stops")

// ErrCancelled is the cause of a handler's context that was cancelled because somebody cancelled the task. A handler that then returns an
// error, whichever, ends it: it is not tried again, and whoever waits for it is told. A result counts as ever.
var ErrCancelled = errors.New("group: the task was cancelled")

// ErrTimeout is the cause of a handler's context whose time is over.
var ErrTimeout = errors.New("group: the task's time is over")

// PanicError is the error of a handler that panicked, or that ended its goroutine with [runtime.Goexit].
type PanicError struct {
	Value any    // what was given to panic
	Stack []byte // where, as debug.Stack prints it
}

// Error names the value given to panic, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap is the value given to panic when that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

func newPanicError(value any) *PanicError { return &PanicError{Value: value, Stack: debug.Stack()} }

// Drop makes a handler's task a dead letter at once, however many attempts it has left. Drop(nil) is nil.
func Drop(err error) error {
	if err == nil {
		return nil
	}
	return &dropError{err}
}

type dropError struct{ cause error }

func (e *dropError) Error() string { return e.cause.Error() }
func (e *dropError) Unwrap() error { return e.cause }

// RetryAfter makes a handler's task wait for d, instead of the backoff, before its next attempt. It costs an attempt like any
// other error. RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{wait: max(d, 0), cause: err}
}

type retryAfterError struct {
	wait  time.Duration
	cause error
}

func (e *retryAfterError) Error() string { return e.cause.Error() }
func (e *retryAfterError) Unwrap() error { return e.cause }

// Snooze makes a handler's task run again after d. It costs no attempt: the task is not failed, only not ready.
func Snooze(d time.Duration) error { return &snoozeError{wait: max(d, 0)} }

type snoozeError struct{ wait time.Duration }

func (e *snoozeError) Error() string { return fmt.Sprintf("group: snoozed for %v", e.wait) }

// payloadError is that of a payload which is not what the function takes.
type payloadError struct{ cause error }

func (e *payloadError) Error() string { return e.cause.Error() }
func (e *payloadError) Unwrap() error { return e.cause }

// IsDrop tells whether an error, as a handler returns it, makes its task a dead letter at once; see [Drop].
func IsDrop(err error) bool {
	_, ok := errors.AsType[*dropError](err)
	return ok
}

// IsSnooze tells whether an error, as a handler returns it, only puts its task off; see [Snooze].
func IsSnooze(err error) bool {
	_, ok := errors.AsType[*snoozeError](err)
	return ok
}
