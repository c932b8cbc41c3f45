package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// tasksDeed is something done to tasks by their IDs.
type tasksDeed struct {
	use, short, long, example string
	do                        func(ctx context.Context, l *lookout, queue string, ids []string) error
}

func (a *app) tasksCancelCommand() *cobra.Command {
	return a.deedCommand(tasksDeed{
		use: "cancel ID...", short: "Cancel tasks that wait, run or are delayed",
		long: `Cancel tasks. Those that have not started are removed; the workers of those that run are told, and end the contexts of their
handlers (a program that runs is killed). Whoever waits for such a task is told that it was cancelled.`,
		example: "  worker-machine tasks cancel --queue web 01M842GNH5PAD9BP9VDYDARKF0",
		do:      a.cancelTasks,
	})
}

func (a *app) tasksRetryCommand() *cobra.Command {
	return a.deedCommand(tasksDeed{
		use: "retry ID...", short: "Run tasks now that are delayed or dead",
		long:    "Run tasks now that are delayed, or dead: a dead letter goes back to its queue with all its attempts.",
		example: "  worker-machine tasks retry --queue web 01M842GNH5PAD9BP9VDYDARKF0",
		do: func(ctx context.Context, l *lookout, queue string, ids []string) error {
			n, err := l.Retry(ctx, queue, ids...)
			return a.told(queue, "retried", n, ids, err)
		},
	})
}

func (a *app) tasksDeleteCommand() *cobra.Command {
	return a.deedCommand(tasksDeed{
		use: "delete ID...", short: "Remove tasks that have not started, and dead ones",
		long: `Remove tasks that wait or are delayed, and dead letters, by the IDs of their tasks. Whoever waits for such a task is told that it
was cancelled. What runs is left alone; cancel it first.`,
		example: "  worker-machine tasks delete --queue web 01M842GNH5PAD9BP9VDYDARKF0",
		do: func(ctx context.Context, l *lookout, queue string, ids []string) error {
			n, err := l.Delete(ctx, queue, ids...)
			return a.told(queue, "deleted", n, ids, err)
		},
	})
}

// deedCommand makes a command of a deed.
func (a *app) deedCommand(d tasksDeed) *cobra.Command {
	var queue string
	cmd := &cobra.Command{
		Use: d.use, Short: d.short, Long: d.long, Example: d.example,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("name the IDs that `worker-machine tasks list` shows")
			}
			return checkTaskIDs(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wire.CheckName("queue", queue); err != nil {
				return usagef("--queue: %w", err)
			}
			l, err := a.lookAt(cmd.Context(), queue)
			if err != nil {
				return err
			}
			defer l.Close()
			for start := 0; start < len(args); start += pageLimit {
				if err := d.do(cmd.Context(), l, queue, args[start:min(start+pageLimit, len(args))]); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&queue, "queue", "q", stream.DefaultQueue, "the queue")
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completeQueues)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

// told says to how many of the tasks it was done. Fewer than were named are a failure.
func (a *app) told(queue, done string, n int, ids []string, err error) error {
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(map[string]any{"queue": queue, done: n, "missing": len(ids) - n})
	} else {
		a.note("%s %d", done, n)
	}
	if err == nil && n < len(ids) {
		a.noteMissing(queue, ids, len(ids)-n)
		return errReported
	}
	return err
}

// noteMissing says how to find tasks that are not where they were looked for.
func (a *app) noteMissing(queue string, ids []string, missing int) {
	a.note("worker-machine: %d of %d are not in queue %s in a state for it; find out with: worker-machine tasks show %s",
		missing, len(ids), queue, strings.Join(ids[:1], " "))
}

func (a *app) cancelTasks(ctx context.Context, l *lookout, queue string, ids []string) error {
	c, err := l.Cancel(ctx, queue, ids...)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(struct {
			Queue string `json:"queue"`
			inspect.Cancellation
		}{queue, c})
	} else {
		a.note("removed %d, told the workers of %d", c.Removed, c.Told)
	}
	if err == nil && c.Missing > 0 {
		a.noteMissing(queue, ids, c.Missing)
		return errReported
	}
	return err
}
