package stream

import (
	"errors"
	"fmt"

	"github.com/athoune/worker-machine/internal/wire"
)

// What an enqueue may answer besides the errors of ctx; test with errors.Is.
var (
	// ErrDuplicate says that an earlier task with the same uniqueness key is not done yet, or that there was one with the same idempotency key. The ID returned beside it is that task's.
	ErrDuplicate = errors.New("a task with the same key was there before")
	// ErrQueueFull says that the queue holds ClientConfig.MaxQueue tasks, or that Redis is at its memory limit: nothing was stored. Try later.
	ErrQueueFull = errors.New("the queue is full")
	// ErrPayloadTooLarge says that the encoded input is above ClientConfig.MaxPayload: nothing was stored.
	ErrPayloadTooLarge = errors.New("the payload is too large")
	// ErrNotReplicated says that the task is stored, but too few replicas confirmed it in time.
	ErrNotReplicated = errors.New("too few replicas have the task")
	// ErrUnknownOutcome says that the task may be stored or not: the connection failed, and stayed so, after it was sent.
	ErrUnknownOutcome = errors.New("the task may be stored or not")
	// ErrUnavailable says that Redis could not be reached or refused to serve for ClientConfig.RetryFor: nothing was stored.
	ErrUnavailable = errors.New("redis is not available")
	// ErrNotKept says that there is no outcome to wait for.
	ErrNotKept = errors.New("no outcome is kept: the task was enqueued without stream.Keep, the time it gave is over, or there is no such task")
	// ErrTooManyWaiters says that ClientConfig.MaxAwait tasks are awaited: try later, or look at the outcome now and then.
	ErrTooManyWaiters = errors.New("too many tasks are awaited")
	// ErrClosed says that the client or session was closed.
	ErrClosed = errors.New("closed")
)

// reasonDuplicate is the reason of a call whose task was not stored because of its uniqueness key.
const reasonDuplicate = "duplicate"

// TaskError is how a task failed, as it comes back to the caller over the wire.
type TaskError struct {
	Function string // what was to run
	TaskID   string // ULID
	Attempt  int    // the last one; 1 is the first
	Reason   string // "failed", "dropped", "unknown function", "malformed", "crash loop", "cancelled", "result too large", ...
	Message  string // of the handler's error
}

// Error is a line for a person: function, task, attempt and message.
func (e *TaskError) Error() string {
	if e.Reason == "" || e.Reason == wire.ReasonFailed {
		return fmt.Sprintf("%s (task %s, attempt %d): %s", e.Function, e.TaskID, e.Attempt, e.Message)
	}
	return fmt.Sprintf("%s (task %s, attempt %d): %s: %s", e.Function, e.TaskID, e.Attempt, e.Reason, e.Message)
}

// Is makes errors.Is(err, ErrDuplicate) true for a call that was not stored because of its uniqueness key.
func (e *TaskError) Is(target error) bool {
	return target == ErrDuplicate && e.Reason == reasonDuplicate
}

// NewTaskError turns a failure outcome into an error.
func NewTaskError(o Outcome) *TaskError {
	return &TaskError{
		Function: o.Failure.Function, TaskID: o.TaskID, Attempt: o.Failure.Attempt, Reason: o.Failure.Reason, Message: o.Failure.Message,
	}
}
