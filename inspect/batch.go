package inspect

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/mapreduce"
)

// Batch is a session that waits for outcomes: a map, a client with calls, or the saved state of a durable batch.
type Batch struct {
	ID       string    `json:"batch"` // of the session, or the name of a durable batch
	Queue    string    `json:"queue"`
	Durable  bool      `json:"durable"`
	Alive    bool      `json:"alive"` // its process has renewed it in time
	Function string    `json:"function,omitempty"`
	Host     string    `json:"host,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Began    time.Time `json:"began"`
	Seen     time.Time `json:"seen"` // when it was last renewed or saved
	Sent     int64     `json:"sent"` // tasks
	Done     int64     `json:"done"` // outcomes that came back, failures among them
	Failed   int64     `json:"failed"`
}

// Batches lists the sessions and durable batches of a queue, latest first, 200 at most; more says that there are more.
func (i *Inspector) Batches(ctx context.Context, queue string) (batches []Batch, more bool, err error) {
	return nil, false, errNotYet
}

// Runs lists the map/reduce runs of a queue, latest first.
func (i *Inspector) Runs(ctx context.Context, queue string) ([]mapreduce.RunInfo, error) {
	return mapreduce.Runs(ctx, i.store, queue)
}
