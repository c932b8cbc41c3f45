package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/internal/wire"
)

func (a *app) deadGroupsCommand() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "Group dead letters that failed alike, the largest group first",
		Long: `Group dead letters that failed alike: same function, same reason, and the same error but for the numbers, IDs and addresses in it.
The newest 20,000 are looked at. The ID of a group goes with --group of list, replay and purge.`,
		Example: "  worker-machine dead groups --queue web\n  worker-machine dead groups --queue web --json | jq -r '.n, .error'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.limit < 0 {
				return usagef("--limit: at least 1, or 0 for all")
			}
			return a.deadGroups(cmd.Context(), &f, f.named(cmd))
		},
	}
	f.registerQueue(a, cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 50, "at most so many; 0 for all")
	return cmd
}

func (a *app) deadGroups(ctx context.Context, f *deadFlags, named []string) error {
	if err := wire.CheckName("queue", f.queue); err != nil {
		return usagef("--queue: %w", err)
	}
	l, err := a.lookAt(ctx, named...)
	if err != nil {
		return err
	}
	defer l.Close()
	groups, seen, err := l.LetterGroups(ctx, f.queue)
	if err != nil {
		return err
	}
	if !seen.Exact {
		a.note("the newest %d dead letters of queue %s; there are more", seen.N, f.queue)
	}
	if f.limit > 0 && len(groups) > f.limit {
		a.note("the %d largest of %d groups; see --limit", f.limit, len(groups))
		groups = groups[:f.limit]
	}
	rows := make([][]string, 0, len(groups))
	for i := range groups {
		g := &groups[i]
		rows = append(rows, []string{
			plain.Line(g.ID), numberText(g.N), plain.Short(orDash(g.Function), shownPayload), plain.Short(g.Reason, shownPayload),
			sinceText(g.First), sinceText(g.Last), plain.Short(g.Error, 100),
		})
		if !a.json {
			continue
		}
		if err := a.printJSON(g); err != nil {
			return err
		}
	}
	switch {
	case a.json:
		return nil
	case len(groups) == 0:
		a.note("no dead letters in queue %s", f.queue)
		return nil
	}
	return plain.Table(a.stdout, []string{"group", "letters", "function", "reason", "first", "last", "error"}, rows)
}
