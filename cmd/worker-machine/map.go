package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// mapFlags are the flags of map.
type mapFlags struct {
	taskFlags
	ordered   bool
	window    int
	withInput bool
	null      bool
	failFast  bool
	failAfter int
	progress  string
}

func (a *app) mapCommand() *cobra.Command {
	var f mapFlags
	cmd := &cobra.Command{
		Use:   "map FUNCTION",
		Short: "Run a task for each line of stdin and print the results",
		Long: `Run a task for each line of stdin, on as many workers as there are, and print the results as they come in.

The input may be endless: at most --window tasks are out at a time. A result ends with one newline, whether it had none or several.
A task that fails for good is told on stderr with its input; the others go on, and the exit code is 1. When you leave early
(ctrl-C), what has not started is cancelled. A batch survives the loss of workers and of everything in Redis.

With --json each result is one object a line: {"index":0,"input":"...","result":"..."}, with "error" in place of "result" for
those that failed, and input_base64 and result_base64 for what is not text.`,
		Example: `  find . -name '*.go' | worker-machine map lines
  worker-machine map --queue web --ordered --with-input title < urls.txt
  find . -type f -print0 | worker-machine map --null checksum
  tail -f access.log | worker-machine map --window 100 geolocate`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give the name of one function; the inputs are read from stdin, one a line")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.mapLines(cmd.Context(), &f, args) },
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.ordered, "ordered", false, "print the results in the order of the inputs")
	flags.IntVar(&f.window, "window", 1000, "how many inputs may be out at a time")
	flags.BoolVar(&f.withInput, "with-input", false, "print the input and a tab before each result")
	flags.BoolVarP(&f.null, "null", "0", false, "inputs and results end with a NUL byte instead of a newline; results are left as they are")
	flags.BoolVar(&f.failFast, "fail-fast", false, "stop at the first task that fails")
	flags.IntVar(&f.failAfter, "fail-after", 0, "stop when so many tasks have failed")
	flags.StringVar(&f.progress, "progress", "auto", "draw a progress bar on stderr: auto (on a terminal), always, never")
	complete(cmd, "progress", "auto", "always", "never")
	cmd.MarkFlagsMutuallyExclusive("fail-fast", "fail-after")
	return cmd
}

// batchOptions are the flags as options.
func (f *mapFlags) batchOptions(task []stream.Option) ([]mapreduce.Option, error) {
	switch {
	case f.window < 1:
		return nil, usagef("--window: at least 1")
	case f.failAfter < 0:
		return nil, usagef("--fail-after: at least 1")
	case f.progress != "auto" && f.progress != "always" && f.progress != "never":
		return nil, usagef("--progress: auto, always or never")
	}
	options := []mapreduce.Option{mapreduce.Window(f.window), mapreduce.TaskOptions(task...)}
	if f.ordered {
		options = append(options, mapreduce.InOrder())
	}
	if f.failFast {
		f.failAfter = 1
	}
	if f.failAfter > 0 {
		options = append(options, mapreduce.FailAfter(f.failAfter))
	}
	return options, nil
}

func (a *app) mapLines(ctx context.Context, f *mapFlags, args []string) error {
	if _, err := f.batchOptions(nil); err != nil {
		return err
	}
	return a.withClient(ctx, &f.taskFlags, args, func(client *stream.Client, order order) error {
		options, err := f.batchOptions(order.options)
		if err != nil {
			return err
		}
		defer a.startHints(ctx, &hints{store: client.Store(), trouble: order.trouble, queue: f.queue, batch: true, maxQueue: f.maxQueue})()
		inputs := newInputs(a.stdin, f.null, f.maxPayload)
		bar := a.newBar(f, inputs)
		defer bar.finish()
		// A reader of our results that went away ends the batch like ctrl-C does.
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		batch := mapreduce.Map(ctx, client, order.fn, inputs.all(ctx), options...)
		out := printer{app: a, flags: f, bar: bar}
		for result := range batch.Results() {
			if err := out.print(result); err != nil {
				return fmt.Errorf("write results: %w", err)
			}
			bar.show(batch.Progress())
		}
		bar.finish()
		return a.mapped(ctx, batch.Progress(), batch.Err(), inputs.err())
	})
}

// mapped tells how a batch ended, and makes the exit code of it.
func (a *app) mapped(ctx context.Context, p mapreduce.Progress, batchErr, inputErr error) error {
	rate := 0.0
	if p.Elapsed > 0 {
		rate = float64(p.Done+p.Failed) / p.Elapsed.Seconds()
	}
	a.note("%d done, %d failed, %d cancelled in %v, %.1f a second",
		p.Done, p.Failed, p.Submitted-p.Done-p.Failed, p.Elapsed.Round(time.Millisecond), rate)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case batchErr != nil:
		return advise(taskText(batchErr))
	case inputErr != nil:
		return fmt.Errorf("read inputs: %w", inputErr)
	case p.Failed > 0:
		return errReported
	}
	return nil
}
