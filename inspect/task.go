package inspect

import (
	"context"
	"errors"
	"time"
)

// ErrNotFound says that nothing of that ID or name was found where the call looked.
var ErrNotFound = errors.New("not found")

// State is where a task is.
type State string

// The states of a task.
const (
	Waiting   State = "waiting"   // for a worker
	Running   State = "running"   // a worker has it
	Delayed   State = "delayed"   // it is due later
	Dead      State = "dead"      // a dead letter
	Done      State = "done"      // its result is kept
	Failed    State = "failed"    // its failure is kept, and no dead letter was found
	Cancelled State = "cancelled" // its outcome is kept, and says so
)

// Task is a task, wherever it is. What is not known is left out.
type Task struct {
	ID          string            `json:"task"`
	Queue       string            `json:"queue"`
	Function    string            `json:"function"`
	State       State             `json:"state"`
	Attempt     int               `json:"attempt"` // 1 is the first
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Timeout     time.Duration     `json:"timeout_ns,omitempty"`
	Items       int               `json:"items,omitempty"` // it is a chunk of so many
	Enqueued    time.Time         `json:"enqueued"`        // from its ID, by the clock of its client
	Since       time.Time         `json:"since"`           // in this state, by the clock of Redis; of a running one, since it was delivered
	Due         time.Time         `json:"due,omitzero"`
	Worker      string            `json:"worker,omitempty"`
	Deliveries  int64             `json:"deliveries,omitempty"`
	Crashes     int64             `json:"crashes,omitempty"` // workers that died while they had it
	LastError   string            `json:"last_error,omitempty"`
	Reason      string            `json:"reason,omitempty"` // why it failed for good
	Headers     map[string]string `json:"headers,omitempty"`
	Reply       string            `json:"reply,omitempty"`  // the session that waits for it
	Unique      string            `json:"unique,omitempty"` // hash of its uniqueness lock
	Entry       string            `json:"entry,omitempty"`  // where it lies
	Letter      string            `json:"letter,omitempty"` // ID of its dead letter
	Size        int               `json:"size"`             // bytes of the payload
	Payload     []byte            `json:"-"`                // front ends decide who may see it
	Result      []byte            `json:"-"`
}

// Filter chooses tasks of one state.
type Filter struct {
	State    State  // Waiting, Running, Delayed or Dead; default Waiting
	Function string // only these; the page may then be short or empty while Next says that there are more
	Worker   string // only those that this worker has; State is Running then
	After    string // Next of the page before
	Limit    int    // default 50, at most 200
}

// TaskPage is a part of the tasks of a queue.
type TaskPage struct {
	Tasks []Task `json:"tasks"`
	Next  string `json:"next,omitempty"` // for Filter.After; "" at the end
	Total Count  `json:"total"`          // of the state, whatever the function
}

// Tasks lists tasks of a queue: waiting and running ones oldest first, delayed ones by when they are due, dead ones newest first. One
// call looks at 5,000 at most.
func (i *Inspector) Tasks(ctx context.Context, queue string, filter Filter) (TaskPage, error) {
	return TaskPage{}, errNotYet
}

// History is what Redis still knows of one task.
type History struct {
	Task
	Events []Event `json:"events"` // oldest first
	Looked Count   `json:"looked"` // entries that were searched; not exact where there were more than one call may look at
}

// Event is a step in the life of a task.
type Event struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"` // enqueued, delayed, delivered, failed, crashed, buried, done, cancelled, replayed
	Worker string    `json:"worker,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// Task finds a task by its ID, an item of a chunk too. With "" for the queue it looks in all queues. It is ErrNotFound when the task is
// nowhere, or done and its result not kept; the History then says how much was searched.
func (i *Inspector) Task(ctx context.Context, queue, id string) (History, error) {
	return History{}, errNotYet
}
