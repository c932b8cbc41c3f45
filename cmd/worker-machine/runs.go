package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/programs"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
)

func (a *app) runsCommand() *cobra.Command {
	var queue string
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List, show, cancel and resume map/reduce runs",
		Long: `List map/reduce runs: those of worker-machine mapreduce, and those of Go programs.

A run is open while its inputs are stored, mapping, reducing, then done or failed. It is listed until its results were read, or a day
after nobody worked on it any more.`,
		Example: `  worker-machine runs
  worker-machine runs show 01M842GNH5PAD9BP9VDYDARKF0
  worker-machine runs --json | jq -r 'select(.state == "failed").run'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listRuns(cmd.Context(), queue) },
	}
	cmd.Flags().StringVarP(&queue, "queue", "q", "", "those of this queue only")
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completeQueues)
	cmd.AddCommand(a.runsShowCommand(), a.runsCancelCommand(), a.runsResumeCommand())
	return cmd
}

// runID wants the ID of a run.
func runID(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("give the ID of one run; worker-machine runs lists them")
	}
	probe := wire.Task{ID: args[0], Function: "f"}
	if probe.Check() != nil {
		return usagef("%q is no ID of a run: they have 26 characters, as worker-machine runs lists them", plain.Short(args[0], 40))
	}
	return nil
}

func (a *app) runsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one run, and which tasks of it failed",
		Example: "  worker-machine runs show 01M842GNH5PAD9BP9VDYDARKF0\n  worker-machine runs show --json 01M842GNH5PAD9BP9VDYDARKF0",
		Args:    runID,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.showRun(cmd.Context(), args[0]) },
	}
}

func (a *app) runsCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID", Short: "End a run everywhere, and remove what it left in Redis",
		Example: "  worker-machine runs cancel 01M842GNH5PAD9BP9VDYDARKF0",
		Args:    runID,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer target.Close()
			if err := mapreduce.CancelRun(cmd.Context(), target.store, args[0]); err != nil {
				return noSuchRun(err, args[0])
			}
			if a.json {
				return a.printJSON(map[string]string{"cancelled": args[0]})
			}
			a.note("run %s is cancelled", args[0])
			return nil
		},
	}
}

func (a *app) runsResumeCommand() *cobra.Command {
	var output, progress string
	var f programFlags
	cmd := &cobra.Command{
		Use: "resume ID", Short: "Come back to a run of worker-machine mapreduce, and print its result",
		Long: `Come back to a run of worker-machine mapreduce: wait for it, and print its result.

When the command that made it was interrupted before all inputs were stored, they are read again and the rest is stored; files that have
changed since are an error. A signed run wants its secret for that. Reading the result removes it.`,
		Example: `  worker-machine runs resume 01M842GNH5PAD9BP9VDYDARKF0
  worker-machine runs resume --output result 01M842GNH5PAD9BP9VDYDARKF0`,
		Args: runID,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkProgress(progress); err != nil {
				return err
			}
			return a.resumeRun(cmd.Context(), args[0], &f, progress, output)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&output, "output", "o", "", "write the result to files part-00000 and so on in this new directory, by hash of the key")
	flags.StringVar(&f.secretFile, "secret-file", "", "the secret of a signed run whose inputs are not all stored (default $WM_SECRET_FILE)")
	flags.StringVar(&progress, "progress", "auto", "draw a progress bar on stderr: auto (on a terminal), always, never")
	complete(cmd, "progress", "auto", "always", "never")
	_ = cmd.MarkFlagDirname("output")
	_ = cmd.MarkFlagFilename("secret-file")
	return cmd
}

// runRecord is a run with --json.
type runRecord struct {
	ID       string                  `json:"run"`
	Job      string                  `json:"job"`
	Queue    string                  `json:"queue"`
	State    mapreduce.RunState      `json:"state"`
	Reason   string                  `json:"reason,omitempty"`
	MapsDone int                     `json:"maps_done"`
	Maps     int                     `json:"maps"`
	Done     int                     `json:"reduces_done"`
	Reduces  int                     `json:"reduces"`
	Failed   int                     `json:"failed"`
	Bytes    int64                   `json:"bytes"`
	Pairs    int64                   `json:"pairs"`
	Started  time.Time               `json:"started"`
	Elapsed  float64                 `json:"elapsed_seconds"`
	ETA      float64                 `json:"eta_seconds"`
	Note     string                  `json:"note"`
	Failures []mapreduce.TaskFailure `json:"failures,omitempty"`
}

func runRecordOf(r mapreduce.RunInfo) runRecord {
	return runRecord{
		ID: r.ID, Job: r.Job, Queue: r.Queue, State: r.State, Reason: r.Reason, MapsDone: r.MapsDone, Maps: r.Maps, Done: r.ReducesDone, Reduces: r.Reduces,
		Failed: r.Failed, Bytes: r.Bytes, Pairs: r.Pairs, Started: r.Started, Elapsed: r.Elapsed.Seconds(), ETA: r.ETA.Seconds(), Note: r.Note,
	}
}

func (a *app) listRuns(ctx context.Context, queue string) error {
	if err := checkQueue(queue); err != nil {
		return err
	}
	target, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	runs, err := allRuns(ctx, target, queue)
	if err != nil {
		return err
	}
	if len(runs) == 0 && !a.json {
		a.note("no runs")
		return nil
	}
	rows := make([][]string, 0, len(runs))
	for _, r := range runs {
		if a.json {
			if err := a.printJSON(runRecordOf(r)); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{
			r.ID, plain.Short(r.Job, 30), stateText(r), fmt.Sprintf("%d/%d", r.MapsDone, r.Maps), fmt.Sprintf("%d/%d", r.ReducesDone, r.Reduces),
			ageText(r.Elapsed), plain.Short(noteText(r.Note), 60),
		})
	}
	if a.json {
		return nil
	}
	return plain.Table(a.stdout, []string{"id", "job", "state", "map", "reduce", "age", "note"}, rows)
}

// allRuns are those of a queue, or of all queues, the latest first.
func allRuns(ctx context.Context, target *connection, queue string) (runs []mapreduce.RunInfo, err error) {
	queues := []string{queue}
	if queue == "" {
		if queues, err = target.store.Queues(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range queues {
		found, err := mapreduce.Runs(ctx, target.store, name)
		if err != nil {
			return nil, err
		}
		runs = append(runs, found...)
	}
	slices.SortStableFunc(runs, func(a, b mapreduce.RunInfo) int { return b.Started.Compare(a.Started) })
	return runs, nil
}

func stateText(r mapreduce.RunInfo) string {
	if r.Reason != "" && r.State == mapreduce.RunFailed {
		return "failed: " + plain.Short(r.Reason, 30)
	}
	return plain.Short(string(r.State), 20)
}

// noteText is a note for people: of runs of programs, the programs.
func noteText(note string) string {
	d, ok := programs.ParseDescription(note)
	if !ok {
		return note
	}
	from := "stdin"
	if len(d.Inputs) > 0 {
		from = strings.Join(d.Inputs, " ")
	}
	return fmt.Sprintf("%s | %s < %s", d.Map, d.Reduce, from)
}

func noSuchRun(err error, id string) error {
	if errors.Is(err, mapreduce.ErrNoRun) {
		return fmt.Errorf("there is no run %s: it was cancelled, its result was read, or it has expired; worker-machine runs lists those there are", id)
	}
	return err
}

func (a *app) showRun(ctx context.Context, id string) error {
	target, client, hangUp, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	info, err := mapreduce.FindRun(ctx, target.store, id)
	if err != nil {
		return noSuchRun(err, id)
	}
	job := programs.NewJob(info.Job, info.Queue, nil, ctx)
	run, err := job.Resume(ctx, client, id)
	if err != nil {
		return noSuchRun(err, id)
	}
	record := runRecordOf(info)
	if record.Failures, err = run.Failures(ctx); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(record)
	}
	rows := [][]string{
		{"run", info.ID},
		{"job", plain.Line(info.Job)},
		{"queue", plain.Line(info.Queue)},
		{"state", stateText(info)},
		{"map", fmt.Sprintf("%d of %d tasks", info.MapsDone, info.Maps)},
		{"reduce", fmt.Sprintf("%d of %d tasks", info.ReducesDone, info.Reduces)},
		{"failed", fmt.Sprintf("%d tasks", info.Failed)},
		{"between", fmt.Sprintf("%s, %d pairs", plain.Bytes(info.Bytes), info.Pairs)},
		{"started", info.Started.Local().Format(time.DateTime)},
		{"took", ageText(info.Elapsed)},
	}
	if info.ETA > 0 {
		rows = append(rows, []string{"left", ageText(info.ETA)})
	}
	rows = append(rows, noteRows(info.Note)...)
	for i := range record.Failures {
		rows = append(rows, []string{"failure", plain.Line(record.Failures[i].String())})
	}
	for _, row := range rows {
		if err := a.printf("%-8s  %s\n", row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}

func noteRows(note string) [][]string {
	d, ok := programs.ParseDescription(note)
	if !ok {
		return [][]string{{"note", plain.Line(note)}}
	}
	rows := [][]string{{"programs", plain.Line(d.Map)}, {"", plain.Line(d.Reduce)}}
	if d.Combine != "" {
		rows = append(rows, []string{"combine", plain.Line(d.Combine)})
	}
	for _, input := range d.Inputs {
		rows = append(rows, []string{"input", plain.Line(input)})
	}
	return rows
}

// resumeRun comes back to a run, and stores the inputs that are missing.
func (a *app) resumeRun(ctx context.Context, id string, f *programFlags, progress, output string) error {
	out, err := a.newSink(output)
	if err != nil {
		return err
	}
	defer out.abandon()
	target, client, hangUp, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	info, err := mapreduce.FindRun(ctx, target.store, id)
	if err != nil {
		return noSuchRun(err, id)
	}
	note, ok := programs.ParseDescription(info.Note)
	if !ok {
		return fmt.Errorf("run %s is one of job %s of a Go program, which alone can read its result: with Resume of its job", id, plain.Line(info.Job))
	}
	l := &launch{app: a, target: target, client: client, id: id, note: note, queue: info.Queue}
	if info.Job == programs.SignedName {
		if l.secret, err = a.secret(f); err != nil {
			return err
		}
	}
	l.newJob(ctx, info.Job, info.Partitions)
	if err := out.split(info.Partitions); err != nil {
		return err
	}
	var run *mapreduce.Run[string, []byte]
	if info.State == mapreduce.RunOpen {
		run, err = l.complete(ctx)
	} else {
		run, err = l.job.Resume(ctx, client, id)
	}
	if err != nil {
		return err
	}
	return l.await(ctx, run, progress, out)
}

// complete stores the inputs that are missing.
func (l *launch) complete(ctx context.Context) (*mapreduce.Run[string, []byte], error) {
	switch {
	case len(l.note.Inputs) == 0:
		return nil, fmt.Errorf("the inputs of run %s came from stdin and are not all stored: nobody can go on with it; remove it with: worker-machine runs cancel %[1]s", l.id)
	case l.job.Name == programs.SignedName && l.secret == nil:
		return nil, usagef("run %s is signed, and not all of its inputs are stored: give its secret with --secret-file", l.id)
	}
	paths, err := expand(l.note.Inputs)
	if err != nil {
		return nil, err
	}
	f := reduceFlags{inputs: l.note.Inputs, split: byteSize(l.note.Split), perFile: l.note.PerFile, ship: l.note.Ship}
	splits, _, err := f.splits(nil, paths)
	if err != nil {
		return nil, err
	}
	return l.submit(ctx, splits)
}
