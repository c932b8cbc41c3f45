package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
)

func (a *app) batchesCommand() *cobra.Command {
	var names queueNames
	cmd := &cobra.Command{
		Use:   "batches [QUEUE...]",
		Short: "Show who waits for outcomes: maps, calls, durable batches",
		Long: `Show the sessions that wait for outcomes, the latest first: a map, a client with calls, or the saved state of a durable batch; where
their processes run, and how far they are. Of a queue 200 are shown.

Map/reduce runs are shown by worker-machine runs.`,
		Example: "  worker-machine batches web\n  worker-machine batches --json | jq 'select(.alive | not)'",
		RunE: func(cmd *cobra.Command, args []string) error {
			queues, err := names.of(args)
			if err != nil {
				return err
			}
			return a.batches(cmd.Context(), queues)
		},
	}
	names.register(a, cmd)
	return cmd
}

func (a *app) batches(ctx context.Context, queues []string) error {
	l, err := a.lookAt(ctx, queues...)
	if err != nil {
		return err
	}
	defer l.Close()
	if queues, err = l.queuesOr(ctx, queues); err != nil {
		return err
	}
	var rows [][]string
	for _, queue := range queues {
		batches, more, err := l.Batches(ctx, queue)
		if err != nil {
			return err
		}
		for i := range batches {
			rows = append(rows, batchRow(&batches[i]))
			if !a.json {
				continue
			}
			if err := a.printJSON(batches[i]); err != nil {
				return err
			}
		}
		if more {
			a.note("queue %s has more than are shown", plain.Line(queue))
		}
	}
	switch {
	case a.json:
		return nil
	case len(rows) == 0:
		a.note("nobody waits for outcomes")
		return nil
	}
	return plain.Table(a.stdout, []string{"batch", "queue", "kind", "state", "function", "process", "sent", "done", "failed", "began", "seen"}, rows)
}

func batchRow(b *inspect.Batch) []string {
	kind := "session"
	if b.Durable {
		kind = "durable"
	}
	return []string{
		plain.Short(b.ID, shownPayload), plain.Line(b.Queue), kind, aliveText(b.Alive), plain.Short(orDash(b.Function), shownPayload),
		processText(b.Host, b.PID), numberText(b.Sent), numberText(b.Done), numberText(b.Failed), sinceText(b.Began), sinceText(b.Seen),
	}
}
