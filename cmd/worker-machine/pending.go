package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// aged is how many workers of a queue are asked for their oldest entry: each costs Redis a command.
const aged = 50

func (a *app) pendingCommand() *cobra.Command {
	var names queueNames
	var limit int
	cmd := &cobra.Command{
		Use:   "pending [QUEUE]",
		Short: "Show which workers have which entries: redis-cli XPENDING in words",
		Long: `Show the entries that were delivered to workers and are not committed yet, which is what redis-cli XPENDING shows: how many each
worker has, whether it is alive, and how long ago the oldest of them was delivered (for the 50 workers where it matters most: the dead
ones, then those with most entries).

With --limit, that many entries follow, in their order: the entry, its task, its worker, how long ago it was delivered and how often.`,
		Example: "  worker-machine pending\n  worker-machine pending web --limit 20\n  worker-machine pending web --json | jq 'select(.alive | not)'",
		RunE: func(cmd *cobra.Command, args []string) error {
			queue, err := names.one(args)
			if err != nil {
				return err
			}
			if limit < 0 || limit > pageLimit {
				return usagef("--limit: 0 to %d", pageLimit)
			}
			named := []string{queue}
			if queue == "" {
				queue, named = stream.DefaultQueue, nil
			}
			return a.pending(cmd.Context(), queue, named, limit)
		},
	}
	names.register(a, cmd)
	cmd.ValidArgsFunction = a.completeQueue
	cmd.Flags().IntVar(&limit, "limit", 0, "show so many entries too")
	return cmd
}

// holder is a consumer that has entries.
type holder struct {
	Worker string  `json:"worker"`
	Queue  string  `json:"queue"`
	Alive  bool    `json:"alive"`
	N      int64   `json:"pending"`
	Oldest float64 `json:"oldest_seconds,omitempty"` // since its oldest entry was delivered, of the first ones
	Entry  string  `json:"entry,omitempty"`          // the oldest
}

func (a *app) pending(ctx context.Context, queue string, named []string, limit int) error {
	l, err := a.lookAt(ctx, named...)
	if err != nil {
		return err
	}
	defer l.Close()
	summary, holders, err := holdersOf(ctx, l, queue)
	if err != nil {
		return err
	}
	var page inspect.TaskPage
	if limit > 0 {
		if page, err = l.Tasks(ctx, queue, inspect.Filter{State: inspect.Running, Limit: limit}); err != nil {
			return err
		}
	}
	if a.json {
		return a.pendingJSON(holders, page.Tasks)
	}
	if summary.Count == 0 {
		a.note("no entry of queue %s is pending: no worker has one", queue)
		return nil
	}
	if err := a.printHolders(queue, summary, holders); err != nil || len(page.Tasks) == 0 {
		return err
	}
	_ = a.printf("\n")
	return a.printEntries(page)
}

// holdersOf asks Redis who has entries: those that need somebody first.
func holdersOf(ctx context.Context, l *lookout, queue string) (*redis.XPending, []holder, error) {
	store, keys := l.at.store, l.at.store.Keys(queue)
	summary, err := store.Client().XPending(ctx, keys.Tasks(), store.Group()).Result()
	if conn.IsNoGroup(err) || errors.Is(err, redis.Nil) {
		return &redis.XPending{}, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look at the pending entries of queue %s: %w", queue, err)
	}
	holders := make([]holder, 0, len(summary.Consumers))
	leases := make([]string, 0, len(summary.Consumers))
	for name, n := range summary.Consumers {
		holders = append(holders, holder{Worker: name, Queue: queue, N: n})
		leases = append(leases, keys.Lease(name))
	}
	if len(holders) == 0 {
		return summary, nil, nil
	}
	values, err := store.Client().MGet(ctx, leases...).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("look for the leases of queue %s: %w", queue, err)
	}
	for i := range holders {
		holders[i].Alive = values[i] != nil
	}
	slices.SortFunc(holders, func(x, y holder) int {
		return cmp.Or(aliveOrder(x)-aliveOrder(y), cmp.Compare(y.N, x.N), cmp.Compare(x.Worker, y.Worker))
	})
	return summary, holders, l.age(ctx, queue, holders[:min(len(holders), aged)])
}

// aliveOrder is 0 for who needs help, and 1 for the rest.
func aliveOrder(h holder) int {
	if h.Alive || h.Worker == wire.ReleasedConsumer {
		return 1
	}
	return 0
}

// age finds the oldest entry of each.
func (l *lookout) age(ctx context.Context, queue string, holders []holder) error {
	store := l.at.store
	pipe := store.Client().Pipeline()
	replies := make([]*redis.XPendingExtCmd, len(holders))
	for i := range holders {
		replies[i] = pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: store.Keys(queue).Tasks(), Group: store.Group(), Start: "-", End: "+", Count: 1, Consumer: holders[i].Worker,
		})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("look at the pending entries of queue %s: %w", queue, err)
	}
	for i, reply := range replies {
		if entries := reply.Val(); len(entries) == 1 {
			holders[i].Oldest, holders[i].Entry = max(entries[0].Idle.Seconds(), 0.001), entries[0].ID
		}
	}
	return nil
}

func (a *app) pendingJSON(holders []holder, entries []inspect.Task) error {
	for i := range holders {
		if err := a.printJSON(holders[i]); err != nil {
			return err
		}
	}
	for i := range entries {
		if err := a.printJSON(entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printHolders(queue string, summary *redis.XPending, holders []holder) error {
	if err := a.printf("%d entries of queue %s are pending, from %s to %s, with %d workers\n\n",
		summary.Count, plain.Line(queue), plain.Line(summary.Lower), plain.Line(summary.Higher), len(holders)); err != nil {
		return err
	}
	rows := make([][]string, 0, len(holders))
	for i := range holders {
		h := &holders[i]
		rows = append(rows, []string{plain.Line(h.Worker), holderState(h), numberText(h.N), secondsText(h.Oldest), plain.Line(h.Entry)})
	}
	return plain.Table(a.stdout, []string{"worker", "state", "entries", "oldest", "entry"}, rows)
}

// holderState says what will become of the entries.
func holderState(h *holder) string {
	switch {
	case h.Worker == wire.ReleasedConsumer:
		return "handed back, for any worker"
	case h.Alive:
		return "alive"
	}
	return "dead, others take them over"
}

func (a *app) printEntries(page inspect.TaskPage) error {
	rows := make([][]string, 0, len(page.Tasks))
	for i := range page.Tasks {
		t := &page.Tasks[i]
		rows = append(rows, []string{
			plain.Line(t.Entry), plain.Line(orDash(t.ID)), plain.Short(orDash(t.Function), shownPayload), plain.Line(orDash(t.Worker)),
			ageText(max(time.Since(t.Since), time.Millisecond)), timesText(t.Deliveries),
		})
	}
	if err := plain.Table(a.stdout, []string{"entry", "task", "function", "worker", "delivered", "how often"}, rows); err != nil {
		return err
	}
	if page.Next != "" {
		a.note("there are more; worker-machine tasks list --state running --after %s goes on", plain.Line(page.Next))
	}
	return nil
}
