package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) pauseCommand() *cobra.Command {
	return a.gateCommand(true, &cobra.Command{
		Use:   "pause QUEUE...",
		Short: "Let workers take no new tasks of queues",
		Long: `Let workers take no new tasks of the queues, at once and until resume. What runs goes on to its end; clients may go on storing tasks,
and callers wait.`,
		Example: "  worker-machine pause web\n  worker-machine pause web mail --json",
	})
}

func (a *app) resumeCommand() *cobra.Command {
	return a.gateCommand(false, &cobra.Command{
		Use:     "resume QUEUE...",
		Short:   "Let workers take tasks of paused queues again",
		Long:    "Let workers take tasks of the queues again, at once. A queue that is not paused stays as it is.",
		Example: "  worker-machine resume web\n  worker-machine resume web mail --json",
	})
}

// gateCommand completes a command that pauses or resumes.
func (a *app) gateCommand(pause bool, cmd *cobra.Command) *cobra.Command {
	var names queueNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		queues, err := names.of(args)
		if err != nil {
			return err
		}
		if len(queues) == 0 {
			return usagef("name the queues; worker-machine queues lists them")
		}
		return a.gate(cmd.Context(), pause, queues)
	}
	names.register(a, cmd)
	return cmd
}

func (a *app) gate(ctx context.Context, pause bool, queues []string) error {
	l, err := a.lookAt(ctx, queues...)
	if err != nil {
		return err
	}
	defer l.Close()
	does, said := l.Pause, "queue %s is paused: its workers take no new tasks"
	if !pause {
		does, said = l.Resume, "queue %s is open: its workers take tasks"
	}
	if err := does(ctx, queues...); err != nil {
		return err
	}
	for _, queue := range queues {
		if !a.json {
			a.note(said, queue)
			continue
		}
		if err := a.printJSON(map[string]any{"queue": queue, "paused": pause}); err != nil {
			return err
		}
	}
	return nil
}
