package mapreduce

import (
	"errors"
	"fmt"
	"strings"
)

// Result is what one input of a [Batch] ended with: a Value, or an Err.
type Result[In, Out any] struct {
	// Index is the number of the input, from 0 in the order the inputs came.
	Index int
	// Input is the input itself.
	Input In
	// Value is the result of the function; the zero value when Err is set.
	Value Out
	// Err is nil, or why this input has no value: a [*stream.TaskError] when its task failed for good (its attempts are used up, it
	// was dropped, nobody knows the function), an error of the codec, or [stream.ErrPayloadTooLarge].
	Err error
	// TaskID is the ID of the task; empty for an input that could not become one.
	TaskID string
	// Attempt is the number of the attempt that failed, from 1. It is 0 for a value: the wire does not say which attempt made it.
	Attempt int
}

// ErrResultsTaken is part of [Batch.Err] when the results of a batch were ranged over more than once.
var ErrResultsTaken = errors.New("mapreduce: results can be ranged over only once")

// ErrOver is returned by [Batch.Set] and [Batch.Get] when the batch is over: its shared context is gone.
var ErrOver = errors.New("mapreduce: the batch is over")

// FailuresError is the [Batch.Err] of a batch that [FailFast] or [FailAfter] stopped.
type FailuresError struct {
	Limit int     // how many failures it took
	Errs  []error // the first ten of them, by arrival; not those before a durable batch was resumed
}

// Error names the tasks that failed and why.
func (e *FailuresError) Error() string {
	texts := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		texts[i] = err.Error()
	}
	if len(e.Errs) == 0 {
		texts = []string{"before it was resumed"}
	} else if more := e.Limit - len(e.Errs); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("mapreduce: stopped after %d failed: %s", e.Limit, strings.Join(texts, "; "))
}

// Unwrap gives the failures, so that errors.As finds a [*stream.TaskError] in it.
func (e *FailuresError) Unwrap() []error { return e.Errs }
