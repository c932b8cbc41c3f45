package inspect

import "context"

// Queue is what one queue holds at a moment. A chunk counts as one task in Waiting and Running, which are not exact then.
type Queue struct {
	Name    string           `json:"queue"`
	Paused  bool             `json:"paused"`
	Waiting Count            `json:"waiting"`        // tasks that wait for a worker: the backlog
	Running Count            `json:"running"`        // tasks that a worker has
	Delayed Count            `json:"delayed"`        // tasks that are due later, retries among them
	Dead    Count            `json:"dead"`           // dead letters
	Workers Count            `json:"workers"`        // workers with a lease
	Oldest  float64          `json:"oldest_seconds"` // how long the oldest task has been waiting or running; 0 without one
	Recent  Minute           `json:"recent"`         // the last full minute
	Totals  map[string]int64 `json:"totals"`         // since the queue was made, by the names of PROTOCOL.md: done, retried and so on
}

// Queues looks at the named queues, or at all that a client or a worker has used, in alphabetical order.
func (i *Inspector) Queues(ctx context.Context, names ...string) ([]Queue, error) {
	return nil, errNotYet
}

// Queue looks at one queue.
func (i *Inspector) Queue(ctx context.Context, name string) (Queue, error) { return Queue{}, errNotYet }
