package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/census"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/internal/wire"
)

func (a *app) statsCommand() *cobra.Command {
	var watch time.Duration
	cmd := &cobra.Command{
		Use:    "stats [QUEUE...]",
		Hidden: true, // for scripts that have it
		Short:  "Show what lies in the queues, as before there was worker-machine queues",
		Long: `Show what lies in the queues: tasks that wait (backlog), run, are due later (delayed), and dead letters; how old the oldest
task is that waits or runs; how many workers there are; and how many tasks are done since the queue was made.

Without arguments all queues are shown that a client or a worker has used.`,
		Example: "  worker-machine stats\n  worker-machine stats --watch 1s web mail\n  worker-machine stats --json | jq .backlog",
		Args: func(_ *cobra.Command, args []string) error {
			for _, name := range args {
				if err := wire.CheckName("queue", name); err != nil {
					return usagef("%w", err)
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.stats(cmd.Context(), args, watch) },
	}
	cmd.Flags().DurationVar(&watch, "watch", 0, "show again and again, that often, until ctrl-C")
	return cmd
}

func (a *app) stats(ctx context.Context, names []string, watch time.Duration) error {
	if watch < 0 {
		return usagef("--watch: more than 0")
	}
	target, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	return a.again(ctx, watch, func() error {
		a.wipe(watch)
		return a.showQueues(ctx, target, names)
	})
}

func (a *app) showQueues(ctx context.Context, target *connection, names []string) (err error) {
	if len(names) == 0 {
		if names, err = target.store.Queues(ctx); err != nil {
			return err
		}
	}
	rows := make([][]string, 0, len(names))
	for _, name := range names {
		queue, err := census.Count(ctx, target.store, name)
		if err != nil {
			return err
		}
		if a.json {
			if err := a.printJSON(queue); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, queueRow(queue))
	}
	switch {
	case a.json:
		return nil
	case len(rows) == 0:
		a.note("no queue with the prefix %s at %s yet", a.prefix, target.target.Addr())
		return nil
	}
	return plain.Table(a.stdout, []string{"queue", "backlog", "running", "delayed", "dead", "oldest", "workers", "done"}, rows)
}

func queueRow(q census.Queue) []string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		plain.Line(q.Name), number(q.Backlog), number(q.Running), number(q.Delayed), number(q.Dead),
		ageText(time.Duration(q.Oldest * float64(time.Second))), number(q.Workers), number(q.Counts["done"]),
	}
}

func ageText(d time.Duration) string { return plain.Age(d) }
