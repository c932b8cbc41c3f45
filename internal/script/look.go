package script

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
)

var (
	lookScript    = load("look")
	waitingScript = load("waiting")
)

// queuesAtOnce bounds one script over many queues, so that Redis is never busy for long with one worker.
const queuesAtOnce = 100

// Sight is what a look saw in one queue.
type Sight struct {
	Pending map[string]int // entries by consumer
	Waiting int            // entries that are pending with nobody: not delivered yet, or ghosts
	Due     time.Duration  // until the first task is due, by the clock of Redis; -1 when there is none
}

// Look tells what is pending with whom in some queues and, with whole, what waits and what is due: one [Sight] for each queue. On a
// cluster it takes one queue.
func (r *Runner) Look(ctx context.Context, queues []wire.Keys, group string, whole bool) ([]Sight, error) {
	sights := make([]Sight, len(queues))
	for i := range sights {
		sights[i].Due = -1
	}
	flag := 0
	if whole {
		flag = 1
	}
	if len(queues) == 1 && !whole { // the usual case, without the cost of a script
		var err error
		sights[0].Pending, err = r.pending(ctx, queues[0], group)
		return sights, err
	}
	for start := 0; start < len(queues); start += queuesAtOnce {
		some := queues[start:min(start+queuesAtOnce, len(queues))]
		names := make([]string, 0, 2*len(some))
		for _, keys := range some {
			names = append(names, keys.Tasks(), keys.Due())
		}
		answer, err := r.run(ctx, lookScript, names, []any{group, flag})
		if err != nil {
			return nil, err
		}
		rows, err := list(lookScript, answer, 0)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			values, err := list(lookScript, row, 3)
			if err != nil {
				return nil, err
			}
			sights[start+number(values[0])-1] = decodeSight(values)
		}
	}
	return sights, nil
}

// pending tells what is pending with whom in one queue; nothing where there is no group.
func (r *Runner) pending(ctx context.Context, keys wire.Keys, group string) (map[string]int, error) {
	answer, err := r.client.XPending(ctx, keys.Tasks(), group).Result()
	if redis.HasErrorPrefix(err, "NOGROUP") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("script: look: %w", err)
	}
	pending := make(map[string]int, len(answer.Consumers))
	for name, count := range answer.Consumers {
		pending[name] = int(count)
	}
	return pending, nil
}

func decodeSight(values []any) Sight {
	sight := Sight{Pending: map[string]int{}, Waiting: number(values[1]), Due: time.Duration(number(values[2])) * time.Microsecond}
	if sight.Due < 0 {
		sight.Due = -1
	}
	for i := 3; i+1 < len(values); i += 2 {
		sight.Pending[text(values[i])] = number(values[i+1])
	}
	return sight
}

// Waiting finds, among queues of one server, those where entries wait that nobody was given: it returns their indexes, in order.
func (r *Runner) Waiting(ctx context.Context, queues []wire.Keys, group string) ([]int, error) {
	var found []int
	start := 0
	for some := range slices.Chunk(queues, queuesAtOnce) {
		names := make([]string, len(some))
		for i, keys := range some {
			names[i] = keys.Tasks()
		}
		answer, err := r.run(ctx, waitingScript, names, []any{group})
		if err != nil {
			return nil, err
		}
		values, err := list(waitingScript, answer, 0)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			found = append(found, start+number(v)-1)
		}
		start += len(some)
	}
	return found, nil
}
