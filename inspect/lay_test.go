package inspect_test

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
)

// pipe does some commands in one transaction.
func (r *rig) pipe(fill func(redis.Pipeliner)) {
	r.t.Helper()
	pipe := r.redis.TxPipeline()
	fill(pipe)
	if _, err := pipe.Exec(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// makeGroup makes the consumer group.
func (r *rig) makeGroup() {
	r.t.Helper()
	if err := r.redis.XGroupCreateMkStream(r.t.Context(), r.keys.Tasks(), r.store.Group(), "0").Err(); err != nil {
		r.t.Fatal(err)
	}
}

// taskID is the ID of a task that was made so long ago.
func taskID(ago time.Duration, n int) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	ms := time.Now().Add(-ago).UnixMilli()
	b := make([]byte, 10)
	for i := range b {
		b[len(b)-1-i] = alphabet[ms>>(5*i)&31]
	}
	return string(b) + fmt.Sprintf("KEDTSV4R%08d", n)
}

// add adds a task as a client does.
func (r *rig) add(task wire.Task) (entry string) {
	r.t.Helper()
	entry, err := r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.keys.Tasks(), Values: task.Fields()}).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return entry
}

// deliver hands entries to a consumer, which is there also when it gets none.
func (r *rig) deliver(consumer string, n int64) {
	r.t.Helper()
	ok(r.t, r.redis.XGroupCreateConsumer(r.t.Context(), r.keys.Tasks(), r.store.Group(), consumer).Err())
	if n == 0 {
		return
	}
	err := r.redis.XReadGroup(r.t.Context(), &redis.XReadGroupArgs{
		Group: r.store.Group(), Consumer: consumer, Streams: []string{r.keys.Tasks(), ">"}, Count: n, Block: -1,
	}).Err()
	if err != nil {
		r.t.Fatal(err)
	}
}
