package main

import (
	"context"
	"errors"
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
	joblog    string
	resume    bool
	retries   int
	halt      string

	end *halt // of halt
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

As with GNU parallel, --joblog writes a line for each input that ended: Seq, Host (unknown, -), Starttime (when the input was taken),
JobRuntime (until its result was here), Send and Receive (bytes), Exitval and Signal (of the program; 1 when a failure does not tell),
Command (the function and the input, with \n, \t, \r, \0 and \\ for what would break the line). With --resume, inputs that the file has
as done are left out and those that failed run again, also after kill -9; results printed just then may be printed twice.

--halt never goes on whatever fails (the default); soon takes no further input and prints what is out, at most --window results; now
gives up what is out. ,fail=N waits for N failures, ,fail=X% for X percent of those that ended, 3 at least; without it the first
counts. --fail-fast is --halt now, --fail-after N is --halt now,fail=N.

With --json each result is one object a line: {"index":0,"input":"...","result":"..."}, with "error" in place of "result" for
those that failed, and input_base64 and result_base64 for what is not text.`,
		Example: `  find . -name '*.go' | worker-machine map lines
  worker-machine map --queue web --ordered --with-input title < urls.txt
  find . -type f -print0 | worker-machine map --null checksum
  tail -f access.log | worker-machine map --window 100 geolocate
  worker-machine map --joblog jobs.log --retries 3 --halt soon,fail=10% title < urls.txt
  worker-machine map --joblog jobs.log --resume title < urls.txt >> titles.txt`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give the name of one function; the inputs are read from stdin, one a line")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd.Flags().Changed("retries")); err != nil {
				return err
			}
			return a.mapLines(cmd.Context(), &f, args)
		},
	}
	f.register(a, cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.ordered, "ordered", false, "print the results in the order of the inputs")
	flags.IntVar(&f.window, "window", 1000, "how many inputs may be out at a time")
	flags.BoolVar(&f.withInput, "with-input", false, "print the input and a tab before each result")
	flags.BoolVarP(&f.null, "null", "0", false, "inputs and results end with a NUL byte instead of a newline; results are left as they are")
	flags.BoolVar(&f.failFast, "fail-fast", false, "stop at the first task that fails")
	flags.IntVar(&f.failAfter, "fail-after", 0, "stop when so many tasks have failed")
	flags.StringVar(&f.progress, "progress", "auto", "draw a progress bar on stderr: auto (on a terminal), always, never")
	complete(cmd, "progress", "auto", "always", "never")
	flags.StringVar(&f.joblog, "joblog", "", "write a line to this file for each input that ended, as GNU parallel does")
	flags.BoolVar(&f.resume, "resume", false, "leave out the inputs that --joblog has as done; those that failed run again")
	flags.IntVar(&f.retries, "retries", 0, "how often an input is tried; the same as --max-attempts")
	flags.StringVar(&f.halt, "halt", "never", "when to stop: never, soon, now, and the latter two with ,fail=N or ,fail=X%")
	complete(cmd, "halt", "never", "soon", "now", "soon,fail=1", "now,fail=1", "soon,fail=10%", "now,fail=10%")
	_ = cmd.MarkFlagFilename("joblog")
	cmd.MarkFlagsMutuallyExclusive("fail-fast", "fail-after", "halt")
	cmd.MarkFlagsMutuallyExclusive("retries", "max-attempts")
	return cmd
}

// check reads the flags that are more than values.
func (f *mapFlags) check(retriesGiven bool) (err error) {
	switch {
	case f.window < 1:
		return usagef("--window: at least 1")
	case f.failAfter < 0:
		return usagef("--fail-after: at least 1")
	case checkProgress(f.progress) != nil:
		return checkProgress(f.progress)
	case f.resume && f.joblog == "":
		return usagef("--resume: name the file that knows what is done with --joblog FILE")
	case retriesGiven && f.retries < 1:
		return usagef("--retries: at least 1, which is a single attempt")
	}
	if f.failFast {
		f.failAfter = 1
	}
	if retriesGiven {
		f.maxAttempts = f.retries
	}
	f.end, err = parseHalt(f.halt)
	return err
}

// batchOptions are the flags as options.
func (f *mapFlags) batchOptions(task []stream.Option) []mapreduce.Option {
	options := []mapreduce.Option{mapreduce.Window(f.window), mapreduce.TaskOptions(task...)}
	if f.ordered {
		options = append(options, mapreduce.InOrder())
	}
	if f.failAfter > 0 {
		options = append(options, mapreduce.FailAfter(f.failAfter))
	}
	return options
}

func (a *app) mapLines(ctx context.Context, f *mapFlags, args []string) error {
	return a.withClient(ctx, &f.taskFlags, args, func(client *stream.Client, order order) (err error) {
		course, err := a.newCourse(f, order.fn.Name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, course.close()) }()
		defer a.startHints(ctx, &hints{store: client.Store(), trouble: order.trouble, queue: f.queue, batch: true, maxQueue: f.maxQueue})()
		inputs := newInputs(a.stdin, f.null, f.maxPayload)
		bar := a.newBar(f, inputs)
		defer bar.finish()
		// A reader of our results that went away ends the batch like ctrl-C does.
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		batch := mapreduce.Map(ctx, client, order.fn, course.inputs(ctx, inputs.all(ctx)), f.batchOptions(order.options)...)
		out := printer{app: a, flags: f, bar: bar, course: course}
		for result := range batch.Results() {
			if err := out.print(result); err != nil {
				return fmt.Errorf("write results: %w", err)
			}
			if err := course.end(result); err != nil {
				return err
			}
			bar.show(batch.Progress(), course.left())
			if course.haltedNow() {
				cancel(course.halted)
			}
		}
		bar.finish()
		return a.mapped(ctx, batch, course, inputs)
	})
}

// mapped tells how a batch ended, and makes the exit code of it.
func (a *app) mapped(ctx context.Context, batch *mapreduce.Batch[[]byte, []byte], course *course, inputs *inputs) error {
	p, rate, skipped := batch.Progress(), 0.0, ""
	if p.Elapsed > 0 {
		rate = float64(p.Done+p.Failed) / p.Elapsed.Seconds()
	}
	if n := course.left(); n > 0 {
		skipped = fmt.Sprintf(", %d done before", n)
	}
	a.note("%d done, %d failed, %d cancelled%s in %v, %.1f a second",
		p.Done, p.Failed, p.Submitted-p.Done-p.Failed, skipped, p.Elapsed.Round(time.Millisecond), rate)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case batch.Err() != nil:
		return advise(taskText(batch.Err()))
	case inputs.err() != nil:
		return fmt.Errorf("read inputs: %w", inputs.err())
	}
	if err := course.outcome(); err != nil {
		return err
	}
	if p.Failed > 0 {
		return errReported
	}
	return nil
}
