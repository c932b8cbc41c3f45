package inspect

import (
	"context"
	"time"
)

// History is what Redis still knows of one task.
type History struct {
	Task
	Events []Event `json:"events"` // oldest first
	Looked Count   `json:"looked"` // entries that were searched; not exact where there were more than one call may look at
}

// Event is a step in the life of a task.
type Event struct {
	At     time.Time `json:"at,omitzero"` // left out where it is not known
	What   string    `json:"what"`        // enqueued, delayed, delivered, failed, crashed, buried, done, cancelled, replayed
	Worker string    `json:"worker,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// Task finds a task by its ID, an item of a chunk too. With "" for the queue it looks in all queues. It is ErrNotFound when the task is
// nowhere, or done and its result not kept; the History then says how much was searched.
func (i *Inspector) Task(ctx context.Context, queue, id string) (History, error) {
	return History{}, errNotYet
}
