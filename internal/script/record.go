package script

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
)

var recordScript = load("record")

// Record is what a worker did in a queue.
type Record struct {
	Keys   wire.Keys
	Minute wire.Minute
}

// MostRecords is how many queues one call of [Runner.Record] may name; on a cluster it is one.
const MostRecords = queuesAtOnce

// Record adds what a worker did to the present minute of some queues. It is not to be repeated after an answer that was lost: that would
// count twice.
func (r *Runner) Record(ctx context.Context, group string, records []Record) error {
	keys, args := make([]string, 0, 5*len(records)), []any{group}
	for i := range records {
		k := records[i].Keys
		keys = append(keys, k.Now(), k.Trend(), k.Tasks(), k.Due(), k.Counts())
		fields := records[i].Minute.Fields()
		args = append(append(args, len(fields)/2), fields...)
	}
	_, err := r.run(ctx, recordScript, keys, args)
	return err
}

// Trend reads the last minutes of a queue, the latest first and at most so many, and the time of Redis in ms. The first one may not be over.
func (r *Runner) Trend(ctx context.Context, keys wire.Keys, minutes int) (trend []wire.Minute, now int64, err error) {
	pipe := r.client.Pipeline()
	clock := pipe.Time(ctx)
	present := pipe.HGetAll(ctx, keys.Now())
	past := pipe.XRevRangeN(ctx, keys.Trend(), "+", "-", int64(minutes))
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, 0, wrap(recordScript, err)
	}
	if fields := present.Val(); len(fields) > 0 {
		trend = append(trend, wire.ParseMinute(joined(fields)))
	}
	for _, entry := range past.Val() {
		trend = append(trend, parseTrend(entry))
	}
	return trend, clock.Val().UnixMilli(), nil
}

func parseTrend(entry redis.XMessage) wire.Minute { return wire.ParseMinute(text(entry.Values["v1"])) }

func joined(fields map[string]string) string {
	var all []byte
	for name, value := range fields {
		all = slices.Concat(all, []byte(name), []byte{' '}, []byte(value), []byte{' '})
	}
	return string(all)
}
