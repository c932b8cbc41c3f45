package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
)

const (
	mostBatches = 200
	// renewedWithin is how long ago a live process has renewed its batch at most; it does so every second.
	renewedWithin = 5 * time.Second
)

// Batch is a session that waits for outcomes: a map, a client with calls, or the saved state of a durable batch.
type Batch struct {
	ID       string    `json:"batch"` // of the session, or the name of a durable batch
	Queue    string    `json:"queue"`
	Durable  bool      `json:"durable"`
	Alive    bool      `json:"alive"`              // its process has renewed it in the last five seconds
	Function string    `json:"function,omitempty"` // of all its tasks
	Host     string    `json:"host,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Began    time.Time `json:"began"`
	Seen     time.Time `json:"seen"` // when it was last renewed or saved
	Sent     int64     `json:"sent"` // tasks; of a durable batch inputs, as of the last save
	Done     int64     `json:"done"` // outcomes that came back, failures among them
	Failed   int64     `json:"failed"`
}

// Batches lists the sessions and durable batches of a queue, latest renewal first, 200 at most; more says that there are more. Sessions that
// died are listed for an hour, durable batches as long as their checkpoint is there. A durable batch that runs has a session too.
func (i *Inspector) Batches(ctx context.Context, queue string) (batches []Batch, more bool, err error) {
	if err = wire.CheckName("queue", queue); err != nil {
		return nil, false, fmt.Errorf("inspect: batches: %w", err)
	}
	batches, now, more, err := i.sessions(ctx, queue)
	if err != nil {
		return nil, false, fmt.Errorf("inspect: batches of queue %s: %w", queue, err)
	}
	durable, moreDurable, err := mapreduce.Checkpoints(ctx, i.store, queue)
	if err != nil {
		return nil, false, fmt.Errorf("inspect: batches of queue %s: %w", queue, err)
	}
	for _, c := range durable {
		batches = append(batches, Batch{
			ID: c.Name, Queue: queue, Durable: true, Alive: now.Sub(c.Renewed) < renewedWithin, Function: c.Function,
			Began: c.Claimed, Seen: c.Renewed, Sent: int64(c.Taken), Done: int64(c.Delivered), Failed: int64(c.Failed),
		})
	}
	slices.SortStableFunc(batches, func(a, b Batch) int { return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.ID, b.ID)) })
	if len(batches) > mostBatches {
		batches, more = batches[:mostBatches], true
	}
	return batches, more || moreDurable, nil
}

// sessions lists the sessions of a queue; now is by the clock of Redis.
func (i *Inspector) sessions(ctx context.Context, queue string) (batches []Batch, now time.Time, more bool, err error) {
	keys := i.store.Keys(queue)
	pipe := i.store.Client().Pipeline()
	clock := pipe.Time(ctx)
	latest := pipe.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: keys.Sessions(), Start: 0, Stop: mostBatches, Rev: true})
	if _, err = pipe.Exec(ctx); err != nil {
		return nil, now, false, err
	}
	now = clock.Val()
	ids := make([]string, 0, len(latest.Val()))
	for _, z := range latest.Val() {
		id, _ := z.Member.(string)
		ids = append(ids, id)
		seen := time.UnixMilli(int64(z.Score))
		batches = append(batches, Batch{ID: id, Queue: queue, Began: seen, Seen: seen, Alive: now.Sub(seen) < renewedWithin})
	}
	if len(ids) == 0 {
		return nil, now, false, nil
	}
	texts, err := i.store.Client().HMGet(ctx, keys.SessionInfo(), ids...).Result()
	if err != nil {
		return nil, now, false, err
	}
	for n := range batches {
		text, _ := texts[n].(string)
		batches[n].describe(text)
	}
	return batches, now, len(ids) > mostBatches, nil
}

// describe fills in what a session tells of itself; one that tells nothing is only there.
func (b *Batch) describe(text string) {
	var told wire.SessionInfo
	if json.Unmarshal([]byte(text), &told) != nil {
		return
	}
	b.Host, b.PID, b.Function, b.Sent, b.Done, b.Failed = told.Host, told.PID, told.Function, told.Sent, told.Done, told.Failed
	b.Began = time.UnixMilli(told.Began)
}

// Runs lists the map/reduce runs of a queue, latest first.
func (i *Inspector) Runs(ctx context.Context, queue string) ([]mapreduce.RunInfo, error) {
	return mapreduce.Runs(ctx, i.store, queue)
}
