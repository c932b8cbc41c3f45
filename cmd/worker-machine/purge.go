package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
)

func (a *app) purgeCommand() *cobra.Command {
	var names queueNames
	var state string
	var yes bool
	cmd := &cobra.Command{
		Use:   "purge QUEUE --state {waiting|delayed|dead}",
		Short: "Remove all tasks of a queue that wait, are delayed, or are dead",
		Long: `Remove all tasks of one state from a queue, for good. It says how many there are and asks first; tasks that come in meanwhile stay.
Whoever waits for a removed task is told that it was cancelled. What runs is left alone.

It goes in small steps, so that workers and clients are not held up, and may be stopped and begun again.`,
		Example: "  worker-machine purge web --state waiting\n  worker-machine purge web --state dead --yes --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			queue, err := names.one(args)
			switch {
			case err != nil:
				return err
			case queue == "":
				return usagef("name the queue; worker-machine queues lists them")
			case state == "":
				return usagef("--state: say which tasks, waiting, delayed or dead")
			}
			switch inspect.State(state) {
			case inspect.Waiting, inspect.Delayed, inspect.Dead:
			case inspect.Running:
				return usagef("--state: what runs is not purged; see worker-machine pause and worker-machine tasks cancel")
			default:
				return usagef("--state: waiting, delayed or dead, and not %q", plain.Short(state, 40))
			}
			return a.purge(cmd.Context(), queue, inspect.State(state), yes)
		},
	}
	names.register(a, cmd)
	cmd.ValidArgsFunction = a.completeQueue
	cmd.Flags().StringVarP(&state, "state", "s", "", "which tasks: waiting, delayed or dead")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	complete(cmd, "state", string(inspect.Waiting), string(inspect.Delayed), string(inspect.Dead))
	return cmd
}

func (a *app) purge(ctx context.Context, queue string, state inspect.State, yes bool) error {
	l, err := a.lookAt(ctx, queue)
	if err != nil {
		return err
	}
	defer l.Close()
	q, err := l.Queue(ctx, queue)
	if err != nil {
		return err
	}
	count := map[inspect.State]inspect.Count{inspect.Waiting: q.Waiting, inspect.Delayed: q.Delayed, inspect.Dead: q.Dead}[state]
	if err := a.confirm(yes, fmt.Sprintf("remove %s %s tasks of queue %s for good", countText(count), state, queue)); err != nil {
		return err
	}
	bar := a.newCounter("removed", count.N)
	n, err := l.Purge(ctx, queue, state, bar.show)
	bar.finish()
	if !a.json {
		a.note("removed %d", n)
	} else if printErr := a.printJSON(map[string]any{"queue": queue, "state": state, "removed": n}); err == nil {
		err = printErr
	}
	return err
}
