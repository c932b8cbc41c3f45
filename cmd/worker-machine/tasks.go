package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// listFlags are the flags of tasks list.
type listFlags struct {
	queue    string
	state    string
	function string
	worker   string
	after    string
	limit    int
	all      bool
}

const (
	pageLimit = 200 // tasks in one call
	someCalls = 10  // without --all: each looks at 5,000 tasks at most
)

func (a *app) tasksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tasks",
		Short: "List, show, cancel, retry and delete tasks",
		Long: `Look at single tasks, and change them.

A task is waiting for a worker, running, delayed (due later, a retry among them), dead (see worker-machine dead), or gone: done,
failed or cancelled, which is known while its outcome is kept.`,
		Example: "  worker-machine tasks list --queue web --state running\n  worker-machine tasks show 01M842GNH5PAD9BP9VDYDARKF0\n" +
			"  worker-machine tasks cancel --queue web 01M842GNH5PAD9BP9VDYDARKF0",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.tasksListCommand(), a.tasksShowCommand(), a.tasksCancelCommand(), a.tasksRetryCommand(), a.tasksDeleteCommand())
	return cmd
}

func (a *app) tasksListCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tasks of one state, oldest first",
		Long: `List tasks of one state: those that wait or run oldest first, delayed ones by when they are due, dead ones newest first.

--function looks through 50,000 tasks and then says where to go on; --all through all there are. Tasks that come and go meanwhile may be missed.`,
		Example: "  worker-machine tasks list --queue web\n  worker-machine tasks list --state running --worker web-1-7f3a\n" +
			"  worker-machine tasks list --state delayed --function title --all --json",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			var known []string
			if cmd.Flags().Changed("queue") {
				known = []string{f.queue}
			}
			return a.listTasks(cmd.Context(), &f, known)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.queue, "queue", "q", stream.DefaultQueue, "the queue")
	flags.StringVarP(&f.state, "state", "s", string(inspect.Waiting), "waiting, running, delayed or dead")
	flags.StringVar(&f.function, "function", "", "only those of this function")
	flags.StringVar(&f.worker, "worker", "", "only those that this worker has; the state is running then")
	flags.StringVar(&f.after, "after", "", "go on after the place that the page before named")
	flags.IntVar(&f.limit, "limit", 50, "at most so many")
	flags.BoolVar(&f.all, "all", false, "all pages")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completeQueues)
	_ = cmd.RegisterFlagCompletionFunc("function", a.completeFunctions)
	_ = cmd.RegisterFlagCompletionFunc("worker", a.completeWorkers)
	complete(cmd, "state", listStates...)
	return cmd
}

// listStates are the states that can be listed.
var listStates = []string{string(inspect.Waiting), string(inspect.Running), string(inspect.Delayed), string(inspect.Dead)}

func (f *listFlags) check() error {
	if err := wire.CheckName("queue", f.queue); err != nil {
		return usagef("--queue: %w", err)
	}
	if f.worker != "" {
		if err := wire.CheckName("worker", f.worker); err != nil {
			return usagef("--worker: %w", err)
		}
		if f.state != string(inspect.Running) && f.state != string(inspect.Waiting) {
			return usagef("--worker: a worker has running tasks only; leave --state out")
		}
		f.state = string(inspect.Running)
	}
	switch inspect.State(f.state) {
	case inspect.Waiting, inspect.Running, inspect.Delayed, inspect.Dead:
	default:
		return usagef("--state: waiting, running, delayed or dead, and not %q", plain.Short(f.state, 40))
	}
	if f.limit < 1 {
		return usagef("--limit: at least 1; --all for all")
	}
	return nil
}

func (a *app) listTasks(ctx context.Context, f *listFlags, known []string) error {
	l, err := a.lookAt(ctx, known...)
	if err != nil {
		return err
	}
	defer l.Close()
	filter := inspect.Filter{State: inspect.State(f.state), Function: f.function, Worker: f.worker, After: f.after, Limit: min(f.limit, pageLimit)}
	if f.all {
		filter.Limit = pageLimit
	}
	shown := 0
	for calls := 0; ; calls++ {
		page, err := l.Tasks(ctx, f.queue, filter)
		if err != nil {
			return err
		}
		if err := a.printTasks(filter.State, page.Tasks, shown == 0); err != nil {
			return err
		}
		shown += len(page.Tasks)
		if left := f.limit - shown; page.Next == "" || !f.all && (left <= 0 || calls+1 == someCalls) {
			a.noteTasks(f, shown, page)
			return nil
		} else if !f.all {
			filter.Limit = min(left, pageLimit)
		}
		filter.After = page.Next
	}
}

// noteTasks says how much of the queue was shown, and how to see the rest.
func (a *app) noteTasks(f *listFlags, shown int, page inspect.TaskPage) {
	of := ""
	if f.function != "" || f.worker != "" {
		of = " that were chosen"
	}
	switch {
	case page.Next != "":
		a.note("%d%s, of %s %s tasks of queue %s; go on with --after %s, or --all", shown, of, countText(page.Total), f.state, f.queue, plain.Line(page.Next))
	case shown == 0 && of != "":
		a.note("no such task among the %s %s tasks of queue %s", countText(page.Total), f.state, f.queue)
	case shown == 0:
		a.note("no %s tasks in queue %s", f.state, f.queue)
	}
}

// printTasks writes a page; only the first one has a header.
func (a *app) printTasks(state inspect.State, tasks []inspect.Task, first bool) error {
	if a.json {
		for i := range tasks {
			if err := a.printJSON(tasks[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(tasks) == 0 {
		return nil
	}
	if !first {
		_ = a.printf("\n")
	}
	return a.taskTable(state, tasks)
}

// taskTable writes tasks with what matters in their state.
func (a *app) taskTable(state inspect.State, tasks []inspect.Task) error {
	header := []string{"task", "function", "attempt"}
	switch state {
	case inspect.Running:
		header = append(header, "for", "delivered", "worker", "size")
	case inspect.Delayed:
		header = append(header, "due in", "stored", "size", "last error")
	case inspect.Dead:
		header = append(header, "dead for", "reason", "size", "error")
	default:
		header = append(header, "waits for", "size")
	}
	rows := make([][]string, 0, len(tasks))
	for i := range tasks {
		rows = append(rows, taskRow(state, &tasks[i]))
	}
	return plain.Table(a.stdout, header, rows)
}

func taskRow(state inspect.State, t *inspect.Task) []string {
	function := plain.Short(t.Function, shownPayload)
	if t.Items > 0 {
		function += " ×" + strconv.Itoa(t.Items)
	}
	row, size := []string{plain.Line(orDash(t.ID)), orDash(function), strconv.Itoa(t.Attempt)}, plain.Bytes(int64(t.Size))
	switch state {
	case inspect.Running:
		return append(row, sinceText(t.Since), numberText(t.Deliveries), plain.Line(orDash(t.Worker)), size)
	case inspect.Delayed:
		return append(row, dueText(t.Due), sinceText(t.Enqueued), size, plain.Short(t.LastError, 80))
	case inspect.Dead:
		return append(row, sinceText(t.Since), plain.Short(t.Reason, shownPayload), size, plain.Short(t.LastError, 80))
	default:
		return append(row, sinceText(t.Since), size)
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// dueText is how long it is until a time.
func dueText(due time.Time) string {
	if left := time.Until(due); left > 0 {
		return ageText(left)
	}
	return "now"
}
