package group

import (
	"context"
	"time"
)

// Metadata describes the task a handler runs.
type Metadata struct {
	ID          string            // ULID, the same for all attempts
	Function    string            // what it calls
	Queue       string            // where it came from
	Attempt     int               // 1 for the first
	MaxAttempts int               // after which a failure is final
	Timeout     time.Duration     // of this attempt; 0 for none
	LastError   string            // of the attempt before, shortened
	Headers     map[string]string // given by the client; not to be changed
	Entry       string            // where it lies in the queue's stream; new for each attempt, and grows
}

// Task is what a raw handler gets.
type Task struct {
	Metadata
	Payload []byte // as the client sent it
}

// Handler runs one task; what it returns is the task's result. See [Drop], [RetryAfter] and [Snooze] for what its error decides.
type Handler func(ctx context.Context, task Task) ([]byte, error)

// Middleware puts something around a handler. It may change context, task, result and error, and may leave out the call of next.
type Middleware func(next Handler) Handler

// Meta describes the task whose handler was given ctx. It is zero for any other context.
func Meta(ctx context.Context) Metadata {
	f, ok := ctx.Value(flightKey{}).(*flight)
	if !ok {
		return Metadata{}
	}
	return f.metadata()
}

// Waited is how long the task had waited whose handler was given ctx: since it was stored, or came due, until now, by the clock of Redis. It is
// 0 for any other context.
func Waited(ctx context.Context) time.Duration {
	f, ok := ctx.Value(flightKey{}).(*flight)
	if !ok {
		return 0
	}
	return f.waited(time.Now())
}

// flightKey finds the flight in a handler's context.
type flightKey struct{}
