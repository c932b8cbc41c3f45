// Package inspect tells people what lies in the queues of a store, and changes it on their word.
//
//	look := inspect.New(store)
//	queues, err := look.Queues(ctx)                                        // what waits, runs, is dead
//	page, err := look.Tasks(ctx, "web", inspect.Filter{State: inspect.Running})
//	history, err := look.Task(ctx, "web", id)                              // one task, as far as Redis knows it
//	err = look.Pause(ctx, "web")
//
// No call reads without a bound: what could be long comes in pages, and a number that is an estimate says so. A call on a queue that
// nobody has used is not an error: the queue is empty.
package inspect

import (
	"github.com/athoune/worker-machine/stream"
)

// Inspector looks at the queues of a store. It keeps nothing and is safe for concurrent use.
type Inspector struct {
	store *stream.Store
}

// New returns an Inspector of a store. It dials nothing.
func New(store *stream.Store) *Inspector { return &Inspector{store: store} }

// Store is what the Inspector looks at.
func (i *Inspector) Store() *stream.Store { return i.store }

// Count is a number of things. Where it is not exact there are at least so many: counting them all would have had no bound.
type Count struct {
	N     int64 `json:"n"`
	Exact bool  `json:"exact"`
}
