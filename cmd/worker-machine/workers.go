package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
)

// workersFlags are the flags of workers.
type workersFlags struct {
	queues queueNames
	limit  int
}

// workersLimit is as many as one page has, which Redis answers with less than a hundred commands.
const workersLimit = 25

func (a *app) workersCommand() *cobra.Command {
	var f workersFlags
	cmd := &cobra.Command{
		Use:   "workers [NAME]",
		Short: "Show who works, on what, and since when",
		Long: `Show the workers of the queues: where they run, how many tasks they have and for how long the oldest of these, and how long their
leases last. A worker that reads several queues has a line for each. A dead worker is listed while it has tasks, which others take
over within about a second.

With the name of a worker: all that is known of it, and up to 40 of its tasks.`,
		Example: "  worker-machine workers --queue web\n  worker-machine workers web-1-7f3a\n" +
			"  worker-machine workers --json | jq -r 'select(.alive | not).worker'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("one worker at a time")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			queues, err := f.queues.of(nil)
			switch {
			case err != nil:
				return err
			case f.limit < 0:
				return usagef("--limit: at least 1, or 0 for all")
			case len(args) == 1:
				return a.showWorker(cmd.Context(), args[0], queues)
			}
			return a.listWorkers(cmd.Context(), queues, f.limit)
		},
	}
	f.queues.register(a, cmd)
	cmd.Flags().IntVar(&f.limit, "limit", workersLimit, "at most so many; 0 for all")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeWorkers(cmd, args, begun)
	}
	return cmd
}

func (a *app) listWorkers(ctx context.Context, queues []string, limit int) error {
	l, err := a.lookAt(ctx, queues...)
	if err != nil {
		return err
	}
	defer l.Close()
	if queues, err = l.queuesOr(ctx, queues); err != nil {
		return err
	}
	var found []inspect.Worker
	more := false
	for _, queue := range queues {
		left := 0
		if limit > 0 {
			left = limit - len(found)
		}
		if limit > 0 && left == 0 {
			more = true
			break
		}
		workers, rest, err := someWorkers(ctx, l, queue, left)
		if err != nil {
			return err
		}
		found, more = append(found, workers...), more || rest
	}
	if err := a.printWorkers(found); err != nil {
		return err
	}
	if more {
		a.note("there are more; --limit 0 shows all")
	}
	return nil
}

// someWorkers lists workers of a queue, at most limit unless that is 0.
func someWorkers(ctx context.Context, l *lookout, queue string, limit int) (found []inspect.Worker, more bool, err error) {
	for after := ""; ; {
		page, err := l.Workers(ctx, queue, after)
		if err != nil {
			return found, false, err
		}
		found = append(found, page.Workers...)
		if limit > 0 && len(found) >= limit {
			return found[:limit], len(found) > limit || page.Next != "", nil
		}
		if after = page.Next; after == "" {
			return found, false, nil
		}
	}
}

func (a *app) printWorkers(workers []inspect.Worker) error {
	if a.json {
		for i := range workers {
			if err := a.printJSON(workers[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(workers) == 0 {
		a.note("no worker; start one: worker-machine work --handle 'NAME=PROGRAM ARGS'")
		return nil
	}
	rows := make([][]string, 0, len(workers))
	for i := range workers {
		w := &workers[i]
		rows = append(rows, []string{
			plain.Line(w.Name), plain.Line(w.Queue), aliveText(w.Alive), processText(w.Host, w.PID), numberText(w.Pending), oldestText(w),
			leaseText(w), plain.Short(strings.Join(w.Functions, " "), 40),
		})
	}
	return plain.Table(a.stdout, []string{"worker", "queue", "state", "process", "tasks", "oldest", "lease", "functions"}, rows)
}

func aliveText(alive bool) string {
	if alive {
		return "alive"
	}
	return "dead"
}

// processText is where a process runs.
func processText(host string, pid int) string {
	if host == "" {
		return "?"
	}
	return plain.Short(host, 40) + ":" + strconv.Itoa(pid)
}

// oldestText is the function that has run for longest, and how long.
func oldestText(w *inspect.Worker) string {
	if len(w.Tasks) == 0 {
		return "-"
	}
	return sinceText(w.Tasks[0].Since) + " " + plain.Short(w.Tasks[0].Function, 30)
}

func leaseText(w *inspect.Worker) string {
	if !w.Alive {
		return "over"
	}
	return secondsText(w.LeaseLeft)
}

// showWorker shows one worker in each queue that it reads.
func (a *app) showWorker(ctx context.Context, name string, queues []string) error {
	if err := wire.CheckName("worker", name); err != nil {
		return usagef("%w", err)
	}
	l, err := a.lookAt(ctx, queues...)
	if err != nil {
		return err
	}
	defer l.Close()
	if queues, err = l.queuesOr(ctx, queues); err != nil {
		return err
	}
	found := 0
	for _, queue := range queues {
		w, err := l.Worker(ctx, queue, name)
		if errors.Is(err, inspect.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if found++; found > 1 && !a.json {
			_ = a.printf("\n")
		}
		if err := a.printWorker(&w); err != nil {
			return err
		}
	}
	if found == 0 {
		return fmt.Errorf("there is no worker %s: it has ended and left no task; worker-machine workers lists those there are", name)
	}
	return nil
}

func (a *app) printWorker(w *inspect.Worker) error {
	if a.json {
		return a.printJSON(w)
	}
	concurrency := ""
	if w.Concurrency > 0 {
		concurrency = fmt.Sprintf("%d at a time", w.Concurrency)
	}
	err := a.facts([][2]string{
		{"worker", plain.Line(w.Name)},
		{"queue", plain.Line(w.Queue)},
		{"state", aliveText(w.Alive)},
		{"process", processText(w.Host, w.PID)},
		{"version", plain.Line(w.Version)},
		{"started", timeText(w.Started)},
		{"handlers", concurrency},
		{"functions", plain.Line(strings.Join(w.Functions, " "))},
		{"reads", plain.Line(strings.Join(w.Queues, " "))},
		{"tasks", fmt.Sprintf("%d running or fetched", w.Pending)},
		{"asked", secondsText(w.Idle) + " ago"},
		{"lease", leaseText(w)},
	})
	if err != nil || len(w.Tasks) == 0 {
		return err
	}
	_ = a.printf("\n")
	return a.taskTable(inspect.Running, w.Tasks)
}
