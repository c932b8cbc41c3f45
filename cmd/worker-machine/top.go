package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/fleet"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/top"
)

func (a *app) topCommand() *cobra.Command {
	var names queueNames
	var interval time.Duration
	var plainly, once bool
	var supervisor string
	cmd := &cobra.Command{
		Use:   "top [QUEUE...]",
		Short: "Watch queues, workers and functions live",
		Long: `Watch live what the queues hold and how fast they are, who works on what, which functions are slow or fail, and what the dead letters
say. It looks once a second with a bounded number of commands, and costs Redis next to nothing.

Keys: 1 to 4 or tab for queues, workers, functions and dead letters; the arrows select, enter shows details, esc goes back; p pauses or
resumes a queue and asks first; / filters; s sorts functions; q quits. NO_COLOR is honoured.

Without a terminal, or with --plain, it prints a snapshot every --interval; with --once one and ends; with --json one object a line.`,
		Example: "  worker-machine top\n  worker-machine top web mail\n  worker-machine top --plain --interval 10s\n  worker-machine top --once --json | jq '.queues[].waiting'",
		RunE: func(cmd *cobra.Command, args []string) error {
			queues, err := names.of(args)
			if err != nil {
				return err
			}
			const soonest = 100 * time.Millisecond
			if interval < soonest {
				return usagef("--interval: at least %v", soonest)
			}
			if supervisor != "" {
				if err := fleet.CheckAddr(supervisor); err != nil {
					return usagef("--supervisor: %w", err)
				}
			}
			return a.top(cmd.Context(), topFlags{queues, interval, plainly, once, supervisor})
		},
	}
	names.register(a, cmd)
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "how often to look")
	cmd.Flags().BoolVar(&plainly, "plain", false, "print plain snapshots, also on a terminal")
	cmd.Flags().BoolVar(&once, "once", false, "print one snapshot and end")
	cmd.Flags().StringVar(&supervisor, "supervisor", "", "also show the processes of the supervise with this --status-addr, as in 127.0.0.1:9110")
	return cmd
}

// topFlags are the flags of top.
type topFlags struct {
	queues        []string
	interval      time.Duration
	plainly, once bool
	supervisor    string
}

func (a *app) top(ctx context.Context, f topFlags) error {
	l, err := a.lookAt(ctx, f.queues...)
	if err != nil {
		return err
	}
	defer l.Close()
	watcher := top.NewWatcher(l.Inspector, f.queues...)
	watcher.Supervisor = f.supervisor
	if !f.plainly && !f.once && !a.json && isTerminal(a.stdin) && isTerminal(a.stdout) {
		where := l.at.target.Addr() + "  prefix " + a.prefix
		return top.Run(ctx, watcher, top.Terminal{In: a.stdin, Out: a.stdout, Env: a.env, Where: where, Every: f.interval})
	}
	if f.once {
		f.interval = 0
	}
	first := true
	return a.again(ctx, f.interval, func() error {
		if !first && !a.json {
			_ = a.printf("\n")
		}
		first = false
		snapshot, err := watcher.Look(ctx, top.Everything)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(snapshot)
		}
		return snapshot.Print(a.stdout)
	})
}
