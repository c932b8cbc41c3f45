package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
)

const (
	trendMinutes = 15
	trendQueues  = 20 // have a trend in a listing: each costs Redis two commands
)

func (a *app) queuesCommand() *cobra.Command {
	var watch time.Duration
	var names queueNames
	cmd := &cobra.Command{
		Use:   "queues [QUEUE...]",
		Short: "Show what lies in the queues",
		Long: `Show what lies in the queues: tasks that wait for a worker, run, are due later (delayed), and dead letters; how old the oldest
task is that waits or runs; how many workers there are; how many tasks were done in the last full minute, and a line of the tasks
done in each of the last 15 minutes. A number with a + is at least so large.

Without arguments all queues are shown that a client or a worker has used. With --json there is all that is known of each, the
latencies and functions of the last minute too.`,
		Example: "  worker-machine queues\n  worker-machine queues --watch 1s web mail\n  worker-machine queues --json | jq '{queue, waiting: .waiting.n}'",
		RunE: func(cmd *cobra.Command, args []string) error {
			queues, err := names.of(args)
			if err != nil {
				return err
			}
			return a.queues(cmd.Context(), queues, watch)
		},
	}
	names.register(a, cmd)
	cmd.Flags().DurationVar(&watch, "watch", 0, "show again and again, that often, until ctrl-C")
	return cmd
}

func (a *app) queues(ctx context.Context, names []string, watch time.Duration) error {
	if watch < 0 {
		return usagef("--watch: more than 0")
	}
	l, err := a.lookAt(ctx, names...)
	if err != nil {
		return err
	}
	defer l.Close()
	return a.again(ctx, watch, func() error {
		a.wipe(watch)
		return a.listQueues(ctx, l, names)
	})
}

func (a *app) listQueues(ctx context.Context, l *lookout, names []string) error {
	queues, err := l.Queues(ctx, names...)
	if err != nil {
		return err
	}
	if a.json {
		for i := range queues {
			if err := a.printJSON(queues[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(queues) == 0 {
		a.note("no queue with the prefix %s at %s yet", a.prefix, l.at.target.Addr())
		return nil
	}
	rows := make([][]string, 0, len(queues))
	for i := range queues {
		trend := ""
		if i < trendQueues {
			trend = doneTrend(ctx, l, queues[i].Name)
		}
		rows = append(rows, []string{
			plain.Line(queues[i].Name), queueState(&queues[i]), countText(queues[i].Waiting), countText(queues[i].Running),
			countText(queues[i].Delayed), countText(queues[i].Dead), secondsText(queues[i].Oldest), countText(queues[i].Workers),
			numberText(queues[i].Totals["done"]), numberText(queues[i].Recent.Done), trend,
		})
	}
	return plain.Table(a.stdout, []string{"queue", "state", "waiting", "running", "delayed", "dead", "oldest", "workers", "done", "/min", "15 minutes"}, rows)
}

// queueState is one word for what a person should know first.
func queueState(q *inspect.Queue) string {
	switch {
	case q.Paused:
		return "paused"
	case q.Workers.N == 0 && q.Waiting.N+q.Running.N > 0:
		return "no worker"
	}
	return "open"
}

// doneTrend is a line of the tasks done in the last minutes; without a record it is empty.
func doneTrend(ctx context.Context, l *lookout, queue string) string {
	minutes, err := l.Trend(ctx, queue, trendMinutes)
	if err != nil {
		return ""
	}
	done := make([]int64, len(minutes))
	for i := range minutes {
		done[i] = minutes[i].Done
	}
	return plain.Spark(done)
}
