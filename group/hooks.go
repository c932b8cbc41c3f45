package group

import (
	"context"
	"time"
)

// Hooks are called as things happen; nil ones are skipped. They run on the goroutine of the task or of a loop, so they must be
// quick, must not block, and are called by many goroutines at a time. None is given a payload.
type Hooks struct {
	// Fetched is called with the number of new tasks of one read.
	Fetched func(queue string, tasks int)
	// Start is called before a handler is.
	Start func(ctx context.Context, m Metadata)
	// Waited is called before a handler is, with how long its task had waited since it was stored or came due; an item of a chunk since its
	// chunk was stored.
	Waited func(m Metadata, wait time.Duration)
	// Done is called once a result is recorded in Redis.
	Done func(m Metadata, took time.Duration)
	// Retry is called once a task is put off: it failed and has attempts left, or asked for it. A snooze has no error.
	Retry func(m Metadata, wait time.Duration, err error)
	// Dead is called once a task is a dead letter.
	Dead func(m Metadata, reason string, err error)
	// Late is called when an outcome was refused, since another worker has the task or was first.
	Late func(m Metadata)
	// Stuck is called when a handler did not return in time, although its context had ended.
	Stuck func(m Metadata, ran time.Duration)
	// Cancelled is called once a task is ended that was cancelled, by a caller that left before it started or by somebody else.
	Cancelled func(m Metadata)
	// Reclaimed is called with the number of tasks taken over from workers that died, or found lost.
	Reclaimed func(queue string, tasks int)
	// Released is called with the number of tasks handed to other workers before they started.
	Released func(queue string, tasks int)
	// Committed is called after each call that records results, with how many and how long it took, or why it did not.
	Committed func(queue string, tasks int, took time.Duration, err error)
	// Renewed is called after each heartbeat, with how long it took, or why the lease was not confirmed.
	Renewed func(queue string, took time.Duration, err error)
	// LeaseLost is called when the worker could not confirm its lease in time, or lost it.
	LeaseLost func(queue string)
}
