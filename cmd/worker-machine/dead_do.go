package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

func (a *app) deadReplayCommand() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Put dead letters back into their queue",
		Long: `Put dead letters back into their queue, as new tasks with the same IDs and all their attempts.

Name them by the IDs that list shows, or take --group or --all, with --function and --reason for some of them; that asks first.
Letters that come in meanwhile stay.`,
		Example: "  worker-machine dead replay --queue web 1735689600000-0\n  worker-machine dead replay --queue web --group 6f1c --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.settle(cmd, &f, args, deed{"replay", "replayed", reclaim.Replay, (*inspect.Inspector).Replay})
		},
	}
	f.registerChoice(a, cmd)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

func (a *app) deadPurgeCommand() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:   "purge [ID...]",
		Short: "Remove dead letters for good",
		Long: `Remove dead letters for good.

Name them by the IDs that list shows, or take --group or --all, with --function and --reason for some of them; that asks first.
Letters that come in meanwhile stay.`,
		Example: "  worker-machine dead purge --queue web 1735689600000-0\n  worker-machine dead purge --queue web --all --reason malformed --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.settle(cmd, &f, args, deed{"purge", "purged", reclaim.Purge, (*inspect.Inspector).PurgeLetters})
		},
	}
	f.registerChoice(a, cmd)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

// registerChoice adds the flags of commands that change letters.
func (f *deadFlags) registerChoice(a *app, cmd *cobra.Command) {
	f.register(a, cmd)
	cmd.Flags().BoolVar(&f.all, "all", false, "all of the queue, or all that --function and --reason choose")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
}

// deed is what is done to letters.
type deed struct {
	verb, done string // as in "purge 3" and "purged 3"
	do         func(ctx context.Context, store *stream.Store, queue string, ids ...string) (int, error)
	chosen     func(look *inspect.Inspector, ctx context.Context, queue string, filter inspect.LetterFilter, progress func(int)) (int, error)
}

// check finds the mistakes of a choice.
func (f *deadFlags) check(ids []string) error {
	if err := wire.CheckName("queue", f.queue); err != nil {
		return usagef("--queue: %w", err)
	}
	if (f.all || f.group != "") == (len(ids) > 0) {
		return usagef("name the IDs that `worker-machine dead list` shows, or use --all or --group")
	}
	if len(ids) > 0 && (f.function != "" || f.reason != "") {
		return usagef("--function and --reason go with --all or --group")
	}
	return nil
}

// settle replays or purges the letters of the command line.
func (a *app) settle(cmd *cobra.Command, f *deadFlags, ids []string, d deed) error {
	if err := f.check(ids); err != nil {
		return err
	}
	ctx := cmd.Context()
	l, err := a.lookAt(ctx, f.named(cmd)...)
	if err != nil {
		return err
	}
	defer l.Close()
	var total int
	if len(ids) > 0 {
		total, err = d.all(ctx, l.at.store, f.queue, ids)
	} else {
		var count inspect.Count
		if count, err = l.countLetters(ctx, f); err != nil {
			return err
		}
		if err := a.confirm(f.yes, fmt.Sprintf("%s %s dead letters of queue %s", d.verb, countText(count), f.queue)); err != nil {
			return err
		}
		bar := a.newCounter(d.done, count.N)
		total, err = d.chosen(l.Inspector, ctx, f.queue, f.filter(), bar.show)
		bar.finish()
	}
	if !a.json {
		a.note("%s %d", d.done, total)
	} else if printErr := a.printJSON(map[string]any{"queue": f.queue, d.done: total}); err == nil {
		err = printErr
	}
	return err
}

// countLetters is how many letters the flags choose; among the newest only, where there are very many.
func (l *lookout) countLetters(ctx context.Context, f *deadFlags) (inspect.Count, error) {
	if f.function == "" && f.reason == "" && f.group == "" {
		page, err := l.Letters(ctx, f.queue, inspect.LetterFilter{Limit: 1})
		return page.Total, err
	}
	groups, seen, err := l.LetterGroups(ctx, f.queue)
	count := inspect.Count{Exact: seen.Exact}
	for _, g := range groups {
		if (f.function == "" || g.Function == f.function) && (f.reason == "" || g.Reason == f.reason) && (f.group == "" || g.ID == f.group) {
			count.N += g.N
		}
	}
	return count, err
}

// all does it to all letters with these IDs, and says how many there were.
func (d deed) all(ctx context.Context, store *stream.Store, queue string, ids []string) (total int, err error) {
	for start := 0; start < len(ids) && err == nil; start += lettersInOne {
		var n int
		n, err = d.do(ctx, store, queue, ids[start:min(start+lettersInOne, len(ids))]...)
		total += n
	}
	if err == nil && total < len(ids) {
		err = fmt.Errorf("%d of %d are not there any more", len(ids)-total, len(ids))
	}
	return total, err
}

// confirm asks the person at the terminal; where nobody sits --yes has to say it.
func (a *app) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) {
		return usagef("to %s without being asked, add --yes", what)
	}
	a.note("%s? [y/N]", what)
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return fmt.Errorf("nothing was done")
	}
	return nil
}
