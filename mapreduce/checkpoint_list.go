package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// mostListed is how many durable batches one listing has: each costs Redis a command.
const mostListed = 50

// CheckpointSummary is a durable batch in a listing.
type CheckpointSummary struct {
	Name      string
	Function  string
	Claimed   time.Time // when its owner began
	Renewed   time.Time // when its owner last saved or renewed it
	Taken     int       // inputs
	Delivered int       // of these
	Failed    int       // of these
}

// Checkpoints lists the durable batches of a queue that have a checkpoint, latest renewal first, 50 at most; more says that there are more.
func Checkpoints(ctx context.Context, store *stream.Store, queue string) (list []CheckpointSummary, more bool, err error) {
	queue = queueName(queue)
	if err = wire.CheckName("queue", queue); err != nil {
		return nil, false, fmt.Errorf("mapreduce: list checkpoints: %w", err)
	}
	keys := store.Keys(queue)
	names, err := store.Client().ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: keys.Batches(), Start: 0, Stop: mostListed, Rev: true}).Result()
	if err != nil {
		return nil, false, fmt.Errorf("mapreduce: list checkpoints of queue %s: %w", queue, err)
	}
	if more = len(names) > mostListed; more {
		names = names[:mostListed]
	}
	found := make([]*redis.SliceCmd, len(names))
	_, err = store.Client().Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range names {
			found[i] = p.HMGet(ctx, keys.Batch(memberName(name)), "function", "epoch", "inputs", "delivered", "failed")
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("mapreduce: list checkpoints of queue %s: %w", queue, err)
	}
	for i, name := range names {
		if summary, err := summarize(found[i].Val()); err == nil {
			summary.Name, summary.Renewed = memberName(name), time.UnixMilli(int64(name.Score))
			list = append(list, summary)
		}
	}
	return list, more, nil
}

func memberName(z redis.Z) string {
	name, _ := z.Member.(string)
	return name
}

// summarize fails for a checkpoint that has expired.
func summarize(values []any) (c CheckpointSummary, err error) {
	var text [5]string
	for i := range min(len(values), len(text)) {
		text[i], _ = values[i].(string)
	}
	if text[0] == "" {
		return c, ErrNoCheckpoint
	}
	number := func(text string) int {
		n, _ := strconv.Atoi(text) // nothing before the first save
		return n
	}
	delivered, err := parseSpans(text[3])
	if err != nil {
		return c, errors.Join(ErrNoCheckpoint, err)
	}
	c = CheckpointSummary{Function: text[0], Taken: number(text[2]), Delivered: delivered.count(), Failed: number(text[4])}
	c.Claimed = time.UnixMilli(int64(number(text[1])))
	return c, nil
}
