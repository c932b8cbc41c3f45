package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

// deadFlags choose dead letters.
type deadFlags struct {
	queue    string
	function string
	reason   string
	group    string
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
		Short: "List, group, replay and purge dead letters",
		Long: `A task that failed for good is a dead letter: it is kept with its reason until it is replayed or purged.

Reasons: failed (its attempts are used up), dropped (the worker said so), unknown function, malformed, crash loop (three workers
died of it), cancelled, result too large, newer version.`,
		Example: "  worker-machine dead groups --queue web\n  worker-machine dead list --queue web --group 6f1c\n" +
			"  worker-machine dead replay --queue web 1735689600000-0\n  worker-machine dead purge --queue web --all --reason malformed",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.deadGroupsCommand(), a.deadListCommand(), a.deadReplayCommand(), a.deadPurgeCommand())
	return cmd
}

// register adds the flags that choose letters.
func (f *deadFlags) register(a *app, cmd *cobra.Command) {
	f.registerQueue(a, cmd)
	cmd.Flags().StringVar(&f.function, "function", "", "only those of this function")
	cmd.Flags().StringVar(&f.reason, "reason", "", "only those with this reason, like failed or malformed")
	cmd.Flags().StringVar(&f.group, "group", "", "only those of this group, as worker-machine dead groups names it")
	_ = cmd.RegisterFlagCompletionFunc("function", a.completeFunctions)
	complete(cmd, "reason", wire.ReasonFailed, wire.ReasonDropped, wire.ReasonUnknown, wire.ReasonMalformed, wire.ReasonCrash,
		wire.ReasonCancelled, wire.ReasonTooLarge, wire.ReasonNewer)
}

func (f *deadFlags) registerQueue(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.queue, "queue", "q", stream.DefaultQueue, "the queue")
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completeQueues)
}

// filter is what the flags choose.
func (f *deadFlags) filter() inspect.LetterFilter {
	return inspect.LetterFilter{Reason: f.reason, Function: f.function, Group: f.group}
}

// named is the queue when the command line names it: only then it has to exist.
func (f *deadFlags) named(cmd *cobra.Command) []string {
	if cmd.Flags().Changed("queue") {
		return []string{f.queue}
	}
	return nil
}

func (a *app) deadListCommand() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, newest first",
		Long:    "List dead letters, newest first. Payloads are shortened, and all is made safe to print; --json has the whole payloads.",
		Example: "  worker-machine dead list --queue web --limit 100\n  worker-machine dead list --queue web --limit 0 --json",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.deadList(cmd.Context(), &f, f.named(cmd)) },
	}
	f.register(a, cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 20, "at most so many; 0 for all")
	return cmd
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

func (a *app) deadList(ctx context.Context, f *deadFlags, named []string) error {
	if err := wire.CheckName("queue", f.queue); err != nil {
		return usagef("--queue: %w", err)
	}
	if f.limit < 0 {
		return usagef("--limit: at least 1, or 0 for all")
	}
	l, err := a.lookAt(ctx, named...)
	if err != nil {
		return err
	}
	defer l.Close()
	n, more, err := a.eachLetterPage(ctx, l, f)
	switch {
	case err != nil:
		return err
	case more:
		a.note("%d letters; there are more, see --limit", n)
	case n == 0 && !a.json:
		a.note("no dead letters in queue %s", f.queue)
	}
	return nil
}

// eachLetterPage prints page after page, until there are as many letters as are wanted.
func (a *app) eachLetterPage(ctx context.Context, l *lookout, f *deadFlags) (n int, more bool, err error) {
	filter := f.filter()
	for calls := 1; ; calls++ {
		filter.Limit = pageLimit
		if f.limit > 0 {
			filter.Limit = min(pageLimit, f.limit-n)
		}
		page, err := l.Letters(ctx, f.queue, filter)
		if err == nil && a.json {
			err = l.complete(ctx, page.Letters)
		}
		if err == nil {
			err = a.printLetters(page.Letters, n == 0)
		}
		if err != nil {
			return n, false, err
		}
		n, filter.After = n+len(page.Letters), page.Next
		if page.Next == "" || f.limit > 0 && (n >= f.limit || calls == someCalls) {
			return n, page.Next != "", nil
		}
	}
}

// complete reads the payloads whole that a listing cut.
func (l *lookout) complete(ctx context.Context, letters []reclaim.DeadLetter) error {
	for i := range letters {
		if len(letters[i].Payload) >= letters[i].Size {
			continue
		}
		whole, err := l.Letter(ctx, letters[i].Queue, letters[i].ID)
		switch {
		case errors.Is(err, inspect.ErrNotFound): // it was replayed or purged meanwhile: what we have of it will do
		case err != nil:
			return err
		default:
			letters[i] = whole
		}
	}
	return nil
}

// printLetters writes a page.
func (a *app) printLetters(letters []reclaim.DeadLetter, first bool) error {
	rows := make([][]string, 0, len(letters))
	for _, letter := range letters {
		if !a.json {
			rows = append(rows, letterRow(letter))
		} else if err := a.printJSON(recordOf(letter)); err != nil {
			return err
		}
	}
	if a.json || len(rows) == 0 {
		return nil
	}
	if !first {
		_ = a.printf("\n")
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
