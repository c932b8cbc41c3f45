package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

// deadFlags choose dead letters.
type deadFlags struct {
	queue    string
	function string
	reason   string
	limit    int
	all      bool
	yes      bool
}

const (
	shownPayload = 40  // characters in a table; errors are shown whole, as their end says what to do
	lettersInOne = 200 // replayed or purged in one go
)

func (a *app) deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List, replay and purge dead letters",
		Long: `A task that failed for good is a dead letter: it is kept with its reason until it is replayed or purged.

Reasons: failed (its attempts are used up), dropped (the worker said so), unknown function, malformed, crash loop (three workers
died of it), cancelled, result too large, newer version.`,
		Example: "  worker-machine dead list --queue web\n  worker-machine dead replay --queue web 1735689600000-0\n" +
			"  worker-machine dead purge --queue web --all --reason malformed",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.deadListCommand(), a.deadReplayCommand(), a.deadPurgeCommand())
	return cmd
}

func (f *deadFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.queue, "queue", "q", stream.DefaultQueue, "the queue")
	cmd.Flags().StringVar(&f.function, "function", "", "only those of this function")
	cmd.Flags().StringVar(&f.reason, "reason", "", "only those with this reason, like failed or malformed")
	_ = cmd.RegisterFlagCompletionFunc("queue", cobra.NoFileCompletions)
	complete(cmd, "reason", wire.ReasonFailed, wire.ReasonDropped, wire.ReasonUnknown, wire.ReasonMalformed, wire.ReasonCrash,
		wire.ReasonCancelled, wire.ReasonTooLarge, wire.ReasonNewer)
}

// matches tells whether the flags choose a letter.
func (f *deadFlags) matches(letter reclaim.DeadLetter) bool {
	return (f.function == "" || letter.Function == f.function) && (f.reason == "" || letter.Reason == f.reason)
}

func (a *app) deadListCommand() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, newest first",
		Long:    "List dead letters, newest first. Payloads are shortened, and all is made safe to print; --json has the whole payloads.",
		Example: "  worker-machine dead list --queue web --limit 100\n  worker-machine dead list --queue web --limit 0 --json",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.deadList(cmd.Context(), &f) },
	}
	f.register(cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 20, "at most so many; 0 for all")
	return cmd
}

func (a *app) deadReplayCommand() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Put dead letters back into their queue",
		Long: `Put dead letters back into their queue, as new tasks with the same IDs and all their attempts.

Name them by the IDs that list shows, or take --all, with --function and --reason for some of them; that asks first.`,
		Example: "  worker-machine dead replay --queue web 1735689600000-0\n  worker-machine dead replay --queue web --all --function title --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.settle(cmd.Context(), &f, args, deed{"replay", "replayed", reclaim.Replay})
		},
	}
	f.registerChoice(cmd)
	return cmd
}

func (a *app) deadPurgeCommand() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:   "purge [ID...]",
		Short: "Remove dead letters for good",
		Long: `Remove dead letters for good.

Name them by the IDs that list shows, or take --all, with --function and --reason for some of them; that asks first.`,
		Example: "  worker-machine dead purge --queue web 1735689600000-0\n  worker-machine dead purge --queue web --all --reason malformed --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.settle(cmd.Context(), &f, args, deed{"purge", "purged", reclaim.Purge})
		},
	}
	f.registerChoice(cmd)
	return cmd
}

func (f *deadFlags) registerChoice(cmd *cobra.Command) {
	f.register(cmd)
	cmd.Flags().BoolVar(&f.all, "all", false, "all of the queue, or all that --function and --reason choose")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
}

// letterRecord is the record of --json.
type letterRecord struct {
	ID       string            `json:"id"`
	Queue    string            `json:"queue"`
	Task     string            `json:"task,omitempty"`
	Function string            `json:"function,omitempty"`
	Attempt  int               `json:"attempt,omitempty"`
	Reason   string            `json:"reason"`
	Error    string            `json:"error"`
	Worker   string            `json:"worker,omitempty"`
	Time     time.Time         `json:"time"`
	Headers  map[string]string `json:"headers,omitempty"`
	Payload  *string           `json:"payload,omitempty"`
	Base64   string            `json:"payload_base64,omitempty"`
	Raw      string            `json:"raw,omitempty"`
}

func (a *app) deadList(ctx context.Context, f *deadFlags) error {
	if err := wire.CheckName("queue", f.queue); err != nil {
		return usagef("--queue: %w", err)
	}
	target, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	var rows [][]string
	n := 0
	for letter, err := range reclaim.List(ctx, target.store, f.queue, reclaim.NewestFirst()) {
		if err != nil {
			return err
		}
		if !f.matches(letter) {
			continue
		}
		if n++; f.limit > 0 && n > f.limit {
			a.note("there are more; see --limit")
			break
		}
		if a.json {
			if err := a.printJSON(recordOf(letter)); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, letterRow(letter))
	}
	switch {
	case a.json:
		return nil
	case len(rows) == 0:
		a.note("no dead letters in queue %s", f.queue)
		return nil
	}
	return plain.Table(a.stdout, []string{"id", "time", "function", "attempt", "reason", "payload", "error"}, rows)
}

func recordOf(letter reclaim.DeadLetter) letterRecord {
	payload, encoded := textOrBase64(letter.Payload)
	return letterRecord{
		ID: letter.ID, Queue: letter.Queue, Task: letter.TaskID, Function: letter.Function, Attempt: letter.Attempt,
		Reason: letter.Reason, Error: letter.Error, Worker: letter.Worker, Time: letter.Time.UTC(), Headers: letter.Headers,
		Payload: payload, Base64: encoded, Raw: letter.Raw,
	}
}

func letterRow(letter reclaim.DeadLetter) []string {
	payload := string(letter.Payload)
	if letter.TaskID == "" {
		payload = letter.Raw
	}
	return []string{
		letter.ID, letter.Time.Local().Format(time.DateTime), plain.Short(letter.Function, shownPayload), strconv.Itoa(letter.Attempt),
		plain.Short(letter.Reason, shownPayload), plain.Short(payload, shownPayload), plain.Line(letter.Error),
	}
}

// deed is what is done to letters.
type deed struct {
	verb, done string // as in "purge 3" and "purged 3"
	do         func(ctx context.Context, store *stream.Store, queue string, ids ...string) (int, error)
}

// check finds the mistakes of a choice.
func (f *deadFlags) check(ids []string) error {
	if err := wire.CheckName("queue", f.queue); err != nil {
		return usagef("--queue: %w", err)
	}
	if f.all == (len(ids) > 0) {
		return usagef("name the IDs that `worker-machine dead list` shows, or use --all")
	}
	if !f.all && (f.function != "" || f.reason != "") {
		return usagef("--function and --reason go with --all")
	}
	return nil
}

// settle replays or purges the letters of the command line.
func (a *app) settle(ctx context.Context, f *deadFlags, ids []string, d deed) error {
	if err := f.check(ids); err != nil {
		return err
	}
	target, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	if f.all {
		if ids, err = chosen(ctx, target, f); err != nil {
			return err
		}
		if err := a.confirm(f, fmt.Sprintf("%s %d dead letters of queue %s", d.verb, len(ids), f.queue)); err != nil {
			return err
		}
	}
	total, err := d.all(ctx, target.store, f.queue, ids)
	if !a.json {
		a.note("%s %d", d.done, total)
	} else if printErr := a.printJSON(map[string]any{"queue": f.queue, d.done: total}); err == nil {
		err = printErr
	}
	return err
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

// chosen lists the IDs of the letters that the flags choose.
func chosen(ctx context.Context, target *connection, f *deadFlags) ([]string, error) {
	var ids []string
	for letter, err := range reclaim.List(ctx, target.store, f.queue) {
		if err != nil {
			return nil, err
		}
		if f.matches(letter) {
			ids = append(ids, letter.ID)
		}
	}
	return ids, nil
}

// confirm asks the person at the terminal; where nobody sits --yes has to say it.
func (a *app) confirm(f *deadFlags, what string) error {
	if f.yes {
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
