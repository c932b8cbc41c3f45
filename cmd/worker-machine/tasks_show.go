package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
)

func (a *app) tasksShowCommand() *cobra.Command {
	var queue string
	var payload bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one task and what happened to it",
		Long: `Show one task, wherever it is, and what happened to it as far as Redis still knows.

Without --queue all queues are searched. Payload and result are shown with --payload only; what a terminal would obey is taken out
of them, and what is no text is shown as bytes. With --json they are payload and result, or payload_base64 and result_base64.`,
		Example: "  worker-machine tasks show 01M842GNH5PAD9BP9VDYDARKF0\n  worker-machine tasks show --payload --json 01M842GNH5PAD9BP9VDYDARKF0",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give the ID of one task; worker-machine tasks list shows them")
			}
			return checkTaskIDs(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkQueue(queue); err != nil {
				return err
			}
			return a.showTask(cmd.Context(), queue, args[0], payload)
		},
	}
	cmd.Flags().StringVarP(&queue, "queue", "q", "", "the queue (default: all are searched)")
	cmd.Flags().BoolVar(&payload, "payload", false, "show the payload and the result")
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completeQueues)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

// checkTaskIDs wants IDs of tasks.
func checkTaskIDs(ids []string) error {
	for _, id := range ids {
		probe := wire.Task{ID: id, Function: "f"}
		if probe.Check() != nil {
			return usagef("%q is no ID of a task: they have 26 characters, as worker-machine tasks list shows them", plain.Short(id, 40))
		}
	}
	return nil
}

// taskRecord is the record of --json.
type taskRecord struct {
	inspect.History
	Payload       *string `json:"payload,omitempty"`
	PayloadBase64 string  `json:"payload_base64,omitempty"`
	*content
}

func (a *app) showTask(ctx context.Context, queue, id string, payload bool) error {
	var named []string
	if queue != "" {
		named = []string{queue}
	}
	l, err := a.lookAt(ctx, named...)
	if err != nil {
		return err
	}
	defer l.Close()
	history, err := l.Task(ctx, queue, id)
	if errors.Is(err, inspect.ErrNotFound) {
		return notThere(id, queue, history.Looked)
	}
	if err != nil {
		return err
	}
	if a.json {
		record := taskRecord{History: history}
		if payload {
			record.Payload, record.PayloadBase64 = textOrBase64(history.Payload)
			if history.Result != nil {
				c := contentOf(history.Result)
				record.content = &c
			}
		}
		return a.printJSON(record)
	}
	return a.printTask(&history, payload)
}

// notThere says what may have become of a task.
func notThere(id, queue string, looked inspect.Count) error {
	where := "any queue"
	if queue != "" {
		where = "queue " + queue
	}
	if !looked.Exact {
		return fmt.Errorf("task %s was not found among %d entries of %s, and there are more than are searched: it may be one of those, or done", id, looked.N, where)
	}
	return fmt.Errorf("task %s is not in %s: it is done and its result was not kept, or there has never been one", id, where)
}

func (a *app) printTask(h *inspect.History, payload bool) error {
	t := &h.Task
	items, limit := "", ""
	if t.Items > 0 {
		items = fmt.Sprintf("%d, a chunk", t.Items)
	}
	if t.Timeout > 0 {
		limit = t.Timeout.String()
	}
	rows := [][2]string{
		{"task", plain.Line(t.ID)},
		{"queue", plain.Line(t.Queue)},
		{"function", plain.Line(t.Function)},
		{"state", stateLine(t)},
		{"items", items},
		{"attempt", attemptText(t)},
		{"timeout", limit},
		{"stored", timeText(h.Enqueued)},
		{"due", timeText(t.Due)},
		{"worker", plain.Line(t.Worker)},
		{"delivered", timesText(t.Deliveries)},
		{"crashes", timesText(t.Crashes)},
		{"error", plain.Line(t.LastError)},
		{"reason", plain.Line(t.Reason)},
		{"waited for", plain.Line(t.Reply)},
		{"unique", plain.Line(t.Unique)},
		{"entry", plain.Line(t.Entry)},
		{"dead letter", plain.Line(t.Letter)},
		{"size", plain.Bytes(int64(t.Size))},
	}
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		rows = append(rows, [2]string{"header", plain.Line(name + "=" + t.Headers[name])})
	}
	if err := a.facts(rows); err != nil {
		return err
	}
	if err := a.printEvents(h); err != nil {
		return err
	}
	if payload {
		return errors.Join(a.printContent("payload", t.Payload), a.printContent("result", t.Result))
	}
	return nil
}

func stateLine(t *inspect.Task) string {
	if t.Since.IsZero() {
		return string(t.State)
	}
	return fmt.Sprintf("%s for %s", t.State, sinceText(t.Since))
}

func attemptText(t *inspect.Task) string {
	if t.MaxAttempts > 0 {
		return fmt.Sprintf("%d of %d", t.Attempt, t.MaxAttempts)
	}
	return numberText(int64(t.Attempt))
}

func timesText(n int64) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// printEvents writes the history, as a table of its own.
func (a *app) printEvents(h *inspect.History) error {
	if len(h.Events) == 0 {
		return nil
	}
	rows := make([][]string, 0, len(h.Events))
	for _, e := range h.Events {
		rows = append(rows, []string{orDash(timeText(e.At)), plain.Line(e.What), plain.Line(e.Worker), plain.Line(e.Detail)})
	}
	_ = a.printf("\n")
	return plain.Table(a.stdout, []string{"time", "what", "worker", "detail"}, rows)
}

// printContent writes bytes of strangers: text without what a terminal would obey, other bytes as Go writes them.
func (a *app) printContent(name string, data []byte) error {
	if data == nil {
		return nil
	}
	text := plain.Line(string(data))
	if utf8.Valid(data) {
		text = strings.TrimRight(plain.Text(string(data)), "\n")
	}
	return a.printf("\n%s:\n%s\n", name, text)
}
