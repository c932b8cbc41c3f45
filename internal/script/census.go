package script

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

var censusScript = load("census")

// censusValues is how many values come before the totals.
const censusValues = 11

// Census is what one queue holds at a moment.
type Census struct {
	Now       time.Time // by the clock of Redis
	Entries   int64     // in the stream
	Running   int64     // of them pending with workers
	First     string    // the oldest entry, "" where there is none
	Chunks    bool      // one was seen: entries are not tasks
	Due, Dead int64
	Paused    bool
	Workers   int64       // consumers of the group
	Alive     int64       // of them those with a lease
	Recent    wire.Minute // the last one that is over
	Totals    map[string]int64
	Err       error // why this queue could not be counted
}

// Census counts some queues, each as it is at one moment. On a cluster they lie on several servers.
func (r *Runner) Census(ctx context.Context, queues []wire.Keys, group string) []Census {
	counted := make([]Census, 0, len(queues))
	for some := range slices.Chunk(queues, queuesAtOnce) {
		calls := make([]keyedCall, len(some))
		for i, keys := range some {
			calls[i].keys = []string{keys.Tasks(), keys.Due(), keys.Dead(), keys.Chunks(), keys.State(), keys.Counts(), keys.Now(), keys.Trend()}
			calls[i].args = []any{group, keys.Lease("")}
		}
		for _, command := range r.many(ctx, censusScript, calls) {
			counted = append(counted, newCensus(command.Result()))
		}
	}
	return counted
}

func newCensus(answer any, err error) Census {
	if err != nil {
		return Census{Err: wrap(censusScript, err)}
	}
	values, err := list(censusScript, answer, censusValues)
	if err != nil {
		return Census{Err: err}
	}
	return decodeCensus(values)
}

func decodeCensus(values []any) Census {
	c := Census{
		Now: millis(values[0]), Entries: int64(number(values[1])), Running: int64(number(values[2])), First: text(values[3]), Chunks: number(values[4]) == 1,
		Due: int64(number(values[5])), Dead: int64(number(values[6])), Paused: text(values[7]) != "" && text(values[7]) != "0",
		Workers: int64(number(values[8])), Alive: int64(number(values[9])), Recent: wire.ParseMinute(text(values[10])), Totals: map[string]int64{},
	}
	for i := censusValues; i+1 < len(values); i += 2 {
		if n, err := strconv.ParseInt(text(values[i+1]), 10, 64); err == nil {
			c.Totals[text(values[i])] = n
		}
	}
	return c
}

// millis reads a time in ms since 1970.
func millis(v any) time.Time {
	n, err := strconv.ParseInt(text(v), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

// count reads a number that is a text where it came out of a hash.
func count(v any) int64 {
	if n, err := strconv.ParseInt(text(v), 10, 64); err == nil {
		return n
	}
	return int64(number(v))
}
