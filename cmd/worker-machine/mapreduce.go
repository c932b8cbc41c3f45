package main

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/programs"
	"github.com/athoune/worker-machine/internal/wire"
)

// reduceFlags are the flags of mapreduce.
type reduceFlags struct {
	programs programFlags
	inputs   []string
	split    byteSize
	perFile  bool
	ship     bool

	local       bool
	concurrency int
	env         []string
	dir         string

	queue       string
	detach      bool
	partitions  int
	maxAttempts int
	timeout     time.Duration
	within      time.Duration
	tolerate    int
	limit       byteSize

	output   string
	progress string
}

const mapreduceLong = `Run a map program on parts of files, and a reduce program on what it printed, sorted: word counts, indexes, sums by key.

The map program reads lines and prints lines of a key, a tab and a value. All lines of a key come to the same reduce program, on its
standard input, sorted by key; what it prints is the result, printed here by key, or with --output written to files. A line without
a tab is all key. Lines end with a newline; CR, NUL and whatever else is in them stays as it is. A combine program, often
the reduce program itself (--combine), is run on what one map task printed, so that less has to be sent. Programs are not
started for parts and partitions without lines. $WM_INPUT is the file of a map task that reads only one, as all do with --per-file.

Files are cut at line ends into parts of about --split bytes, small files share one. --input takes patterns with *, ?, [a-z] and **
for directories at any depth. With --local all runs in this process, on all CPUs, without Redis. Otherwise workers do it: those
with the same programs, worker-machine work --mapreduce --map ... --reduce ..., or with the same --secret-file. They read the files by
their absolute paths, or with --ship, and of --input - always, get the lines through Redis.

The run is stored when its ID is told, and goes on whatever becomes of this command: after ctrl-C, or with --detach at once,
worker-machine runs resume ID comes back to it, and worker-machine runs cancel ID ends it. A run whose input comes from stdin is
cancelled when that is interrupted. Finished results wait a day for whoever reads them; reading removes them.`

func (a *app) mapreduceCommand() *cobra.Command {
	var f reduceFlags
	cmd := &cobra.Command{
		Use:   "mapreduce --input FILES --map PROGRAM --reduce PROGRAM",
		Short: "Run map and reduce programs on files",
		Long:  mapreduceLong,
		Example: `  worker-machine mapreduce --local --input '*.txt' --shell --map "tr -cs A-Za-z '\n'" --reduce 'uniq -c'
  worker-machine mapreduce --input '/data/logs/**/*.log' --map 'awk -f hosts.awk' --reduce 'awk -f sum.awk' --combine
  zcat big.gz | worker-machine mapreduce --input - --map 'python3 map.py' --reduce 'python3 reduce.py' --output result
  worker-machine mapreduce --input '/data/*.csv' --map ./map --reduce ./reduce --secret-file ~/.wm-secret --detach`,
		Args: programArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.mapreduce(cmd.Context(), &f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.inputs, "input", "i", nil, "files, or a pattern for them, or - for stdin; may be repeated")
	flags.Var(&f.split, "split", "how much a map task reads (default 8MiB, of what is sent along 512KiB)")
	flags.BoolVar(&f.perFile, "per-file", false, "a map task reads one file only")
	flags.BoolVar(&f.ship, "ship", false, "send the lines through Redis, for workers that do not see the files")
	f.programs.register(cmd)
	flags.BoolVar(&f.programs.spec.Shell, "shell", false, "let sh -c run the programs")
	flags.IntVar(&f.partitions, "partitions", 16, "how many reduce tasks there are, 1 to 1024")
	f.registerPlace(cmd)
	flags.StringVarP(&f.output, "output", "o", "", "write the result to files part-00000 and so on in this new directory, by hash of the key")
	flags.StringVar(&f.progress, "progress", "auto", "draw a progress bar on stderr: auto (on a terminal), always, never")
	complete(cmd, "progress", "auto", "always", "never")
	_ = cmd.MarkFlagFilename("input")
	_ = cmd.MarkFlagDirname("output")
	return cmd
}

// registerPlace adds the flags that say where it runs, and how.
func (f *reduceFlags) registerPlace(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.local, "local", false, "run all in this process, without Redis")
	flags.IntVarP(&f.concurrency, "concurrency", "c", 0, "with --local: programs at a time (default: one for each CPU)")
	flags.StringArrayVar(&f.env, "env", nil, "with --local: pass this variable of the environment on to the programs; may be repeated")
	flags.StringVar(&f.dir, "dir", "", "with --local: where the programs run (default: here)")
	flags.StringVarP(&f.queue, "queue", "q", "", "the queue (default: one named for the programs; of signed runs "+signedQueue+")")
	flags.BoolVar(&f.detach, "detach", false, "print the ID of the run and leave")
	flags.IntVar(&f.maxAttempts, "max-attempts", 4, "how often a task is tried")
	flags.DurationVar(&f.timeout, "timeout", 0, "how long one attempt may run (default: what its worker says)")
	flags.DurationVar(&f.within, "within", 0, "when the run fails if it is not done (default: never)")
	flags.IntVar(&f.tolerate, "tolerate", 0, "go on without the output of so many tasks that failed for good")
	flags.Var(&f.limit, "limit", "most bytes between mappers and reducers, in Redis (default 1GiB)")
	for _, name := range []string{"queue", "detach", "max-attempts", "timeout", "within", "tolerate", "limit", "secret-file", "ship"} {
		cmd.MarkFlagsMutuallyExclusive("local", name)
	}
	_ = cmd.RegisterFlagCompletionFunc("queue", cobra.NoFileCompletions)
	_ = cmd.MarkFlagDirname("dir")
}

// check reports what is wrong with the flags, all of it at once.
func (f *reduceFlags) check() error {
	errs := []error{f.programs.check(), f.checkPlace(), checkProgress(f.progress)}
	report := func(wrong bool, text string) {
		if wrong {
			errs = append(errs, usagef("%s", text))
		}
	}
	report(len(f.inputs) == 0, "--input is missing: name files, a pattern in quotes, or - for stdin")
	report(f.partitions < 1 || f.partitions > 1024, "--partitions: 1 to 1024")
	report(f.maxAttempts < 1, "--max-attempts: at least 1")
	report(min(f.timeout, f.within) < 0 || min(f.tolerate, f.concurrency) < 0, "--timeout, --within, --tolerate and --concurrency cannot be less than nothing")
	report(f.detach && f.output != "", "--detach: --output is for whoever reads the result; give it to worker-machine runs resume")
	return errors.Join(errs...)
}

// checkPlace reports what does not go where it runs.
func (f *reduceFlags) checkPlace() error {
	if !f.local && (len(f.env) > 0 || f.dir != "" || f.concurrency > 0) {
		return usagef("--env, --dir and --concurrency are for --local; give them to worker-machine work")
	}
	if (f.ship || f.stdin()) && int64(f.split) > programs.MostShipped {
		return usagef("--split: what is sent along goes in parts of 4MiB at most")
	}
	return checkQueue(f.queue)
}

// checkQueue reports a name that no queue has; empty is the default.
func checkQueue(queue string) error {
	if queue == "" {
		return nil
	}
	if err := wire.CheckName("queue", queue); err != nil {
		return usagef("--queue: %w", err)
	}
	return nil
}

func checkProgress(wanted string) error {
	if wanted != "auto" && wanted != "always" && wanted != "never" {
		return usagef("--progress: auto, always or never")
	}
	return nil
}

// stdin tells whether the lines come from there.
func (f *reduceFlags) stdin() bool { return len(f.inputs) == 1 && f.inputs[0] == "-" }

// splits are the parts of the inputs. Those of files are cut at once, so that a file that is missing is told before anything runs.
func (f *reduceFlags) splits(stdin io.Reader, paths []string) (iter.Seq2[programs.Split, error], int, error) {
	cfg := programs.CutConfig{Split: int64(f.split), PerFile: f.perFile}
	if f.stdin() {
		return programs.Ship(nil, stdin, cfg), -1, nil
	}
	if f.ship {
		return programs.Ship(paths, nil, cfg), -1, nil
	}
	var list []programs.Split
	for split, err := range programs.Cut(paths, cfg) {
		if err != nil {
			return nil, 0, err
		}
		list = append(list, split)
	}
	return func(yield func(programs.Split, error) bool) {
		for _, split := range list {
			if !yield(split, nil) {
				return
			}
		}
	}, len(list), nil
}

func (a *app) mapreduce(ctx context.Context, f *reduceFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	var paths []string
	if !f.stdin() {
		patterns, err := absolutePatterns(f.inputs)
		if err != nil {
			return err
		}
		if paths, err = expand(patterns); err != nil {
			return err
		}
		f.inputs = patterns
	}
	out, err := a.newSink(f.output)
	if err != nil {
		return err
	}
	defer out.abandon()
	if f.local {
		return a.reduceLocally(ctx, f, paths, out)
	}
	return a.reduceOnWorkers(ctx, f, paths, out)
}

// reduceLocally runs all in this process.
func (a *app) reduceLocally(ctx context.Context, f *reduceFlags, paths []string, out *sink) error {
	set, err := findPrograms(f.programs.spec, execute.Config{Environ: a.env, Pass: f.env, Dir: f.dir})
	if err != nil {
		return err
	}
	splits, total, err := f.splits(a.stdin, paths)
	if err != nil {
		return err
	}
	if err := out.split(f.partitions); err != nil {
		return err
	}
	bars := a.newPhases(f.progress)
	defer bars.finish()
	maps, began := 0, time.Now()
	err = set.RunLocal(ctx, splits, programs.LocalConfig{
		Partitions: f.partitions, Concurrency: f.concurrency,
		Mapped: func(done int) {
			maps = done
			bars.show("map", done, total)
		},
		Reduced: func(done int) { bars.show("reduce", done, f.partitions) },
	}, func(key, rest []byte) error {
		bars.finish()
		return out.line(key, rest)
	})
	bars.finish()
	if err == nil {
		err = out.finish()
	}
	if err != nil {
		return taskText(err)
	}
	a.note("%d map tasks, %d reduce tasks, %d lines in %v", maps, f.partitions, out.lines, time.Since(began).Round(time.Millisecond))
	return nil
}
