package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/stream"
)

// workFlags are the flags of work.
type workFlags struct {
	queues      []string
	strict      bool
	handles     []string
	shell       bool
	env         []string
	dir         string
	maxOutput   int
	concurrency int
	maxAttempts int
	timeout     time.Duration
	drain       time.Duration
	lease       time.Duration
	backoffMin  time.Duration
	backoffMax  time.Duration

	mapreduce bool
	programs  programFlags
	roots     []string

	fleet    fleetFlags // of --processes
	maxTasks int
	metrics  string
}

const (
	defaultMaxAttempts = 5
	defaultMaxOutput   = 4 << 20
)

const workLong = `Run tasks with programs of any language: the payload comes on standard input, standard output is the result.

A program that ends with something else than 0 has failed; the end of its standard error is the error's message. A failed task is
tried again later, and after --max-attempts it is a dead letter (see worker-machine dead).

No shell is involved unless --shell is given: the words of --handle are split as a shell would, and a payload never becomes an
argument or a command. The program gets the variables PATH, LANG, LANGUAGE, LC_*, TMPDIR and TZ of the worker, those named by
--env, and WM_TASK_ID, WM_FUNCTION, WM_QUEUE, WM_ATTEMPT, WM_MAX_ATTEMPTS, and WM_HEADER_<NAME> for each header of the task. It runs
in a process group of its own, which is killed as a whole on timeout, and when the program ends.

With --mapreduce the worker takes tasks of worker-machine mapreduce, in one of two ways. Either --map, --reduce and --combine name the
programs: only runs with exactly these are taken, from a queue that is named for them. Or --secret-file names a file with a secret of
32 bytes or more, which others may not read: runs that were signed with the same one are taken, whatever their programs, from the
queue ` + signedQueue + `. Nothing else that comes from Redis decides what runs. --root limits which files are read.

ctrl-C or SIGTERM: nothing new is started, what runs gets --drain to end, and the rest goes to other workers at no cost of an
attempt. A second ctrl-C kills what runs.

With --processes there are so many worker processes with these flags, which are kept alive: they are started again when they end, one after
the other on SIGHUP, and when --max-rss, --max-age or --max-tasks say so; see worker-machine supervise, which does it for any program. The
first serves metrics at the port of --metrics-addr, the second at the one above, and so on.`

func (a *app) workCommand() *cobra.Command {
	var f workFlags
	cmd := &cobra.Command{
		Use:   "work {--handle NAME=PROGRAM | --mapreduce}",
		Short: "Run a worker whose functions are programs",
		Long:  workLong,
		Example: `  worker-machine work --handle 'lines=xargs wc -l'
  worker-machine work --queue mail:3 --queue reports --handle 'send=sendmail -t' --handle 'report=python3 report.py'
  worker-machine work --queue images --concurrency 2 --timeout 5m --handle 'resize=convert - -resize 50% png:-'
  worker-machine work --processes 4 --max-rss 512MiB --handle 'lines=xargs wc -l'
  worker-machine work --shell --handle 'top=sort | uniq -c | sort -rn | head'
  worker-machine work --mapreduce --map 'tr -s " " "\\n"' --reduce 'uniq -c'
  worker-machine work --mapreduce --secret-file /etc/worker-machine.secret --root /data`,
		Args: programArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.workOrSupervise(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.queues, "queue", "q", nil, "a queue to read, or queue:weight; may be repeated (default: "+stream.DefaultQueue+", or that of --mapreduce)")
	flags.BoolVar(&f.strict, "strict", false, "read the queues in their order: a later one only while those before are empty")
	flags.StringArrayVar(&f.handles, "handle", nil, "a function and its program, name=program args; may be repeated")
	flags.BoolVar(&f.shell, "shell", false, "let sh -c run the programs")
	flags.StringArrayVar(&f.env, "env", nil, "pass this variable of the environment on to the programs; may be repeated")
	flags.StringVar(&f.dir, "dir", "", "where the programs run (default: here)")
	flags.IntVar(&f.maxOutput, "max-output", defaultMaxOutput, "most bytes of a result; more is an error")
	flags.IntVarP(&f.concurrency, "concurrency", "c", 0, "programs at a time (default: 4 for each CPU)")
	flags.IntVar(&f.maxAttempts, "max-attempts", defaultMaxAttempts, "how often a task is tried that does not say itself")
	flags.DurationVar(&f.timeout, "timeout", 0, "how long one attempt may run, for tasks that do not say themselves (default: no limit)")
	flags.DurationVar(&f.drain, "drain", 0, "how long running programs get to end after ctrl-C or SIGTERM (default 25s)")
	flags.DurationVar(&f.lease, "lease", 0, "how long this worker keeps its tasks when it is cut off from Redis (default 10s)")
	flags.DurationVar(&f.backoffMin, "backoff-min", 0, "upper bound of the wait before the second attempt (default 1s)")
	flags.DurationVar(&f.backoffMax, "backoff-max", 0, "upper bound of the wait before later attempts (default 10m)")
	flags.BoolVar(&f.mapreduce, "mapreduce", false, "run tasks of worker-machine mapreduce; see --map and --secret-file")
	flags.StringArrayVar(&f.roots, "root", nil, "map tasks read files in this directory only; may be repeated (default: any file)")
	flags.StringVar(&f.metrics, "metrics-addr", "", "serve metrics for Prometheus at /metrics of this port, or host:port; a port alone is for this machine only (default: none)")
	f.programs.register(cmd)
	f.registerFleet(cmd)
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completeQueues)
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.MarkFlagDirname("root")
	return cmd
}

func (a *app) work(ctx context.Context, f *workFlags) error {
	queues, err := parseQueues(f.queues)
	programs, handleErr := a.parseHandles(f)
	crowd, crowdErr := a.newCrowd(f)
	if err := errors.Join(err, handleErr, crowdErr); err != nil {
		return err
	}
	queues = crowd.queues(f, queues)
	if f.maxOutput < 1 {
		return usagef("--max-output: at least 1")
	}
	measured, stopMetrics, err := a.workMetrics(ctx, f)
	if err != nil {
		return err
	}
	defer stopMetrics()
	target, err := a.connectPatiently(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	tally := a.newTally(f.maxTasks)
	cfg, err := measured.worker(group.Config{
		Queues: queues, Strict: f.strict, Concurrency: f.concurrency, MaxAttempts: f.maxAttempts, Timeout: f.timeout,
		Drain: f.drain, Lease: f.lease, Backoff: group.Backoff{Min: f.backoffMin, Max: f.backoffMax}, Hooks: tally.hooks(a.workHooks()),
	})
	if err != nil {
		return err
	}
	worker, err := group.NewWorker(target.store, a.traces.worker().Config(cfg))
	if err != nil {
		return usagef("%w", err)
	}
	names := make([]string, len(programs))
	for i, p := range programs {
		group.HandleRaw(worker, p.function, p.handler(quitOf(ctx)))
		names[i] = p.function
	}
	names = append(names, crowd.handle(worker, target.store, quitOf(ctx))...)
	ctx, stop := tally.begin(ctx)
	defer stop()
	return a.runWorker(ctx, worker, func(ctx context.Context) {
		if awaitLease(ctx, target.store, queues, worker.Name()) == nil {
			tally.upward.Ready()
			a.note("ready: worker %s on %s runs %s", worker.Name(), queueList(queues), strings.Join(names, ", "))
		}
	})
}

// workMetrics serves the metrics that were asked for.
func (a *app) workMetrics(ctx context.Context, f *workFlags) (m *measures, stop func(), err error) {
	if f.metrics == "" {
		return nil, func() {}, nil
	}
	if m, err = a.measure(); err == nil {
		stop, err = a.serveMetrics(ctx, m, f.metrics)
	}
	return m, stop, err
}

func queueList(queues []group.Queue) string {
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = q.Name
	}
	if len(names) == 1 {
		return "queue " + names[0]
	}
	return "queues " + strings.Join(names, ", ")
}

// runWorker runs the worker until ctx is done and it has drained, and says so. Meanwhile ready waits for its start.
func (a *app) runWorker(ctx context.Context, worker *group.Worker, ready func(context.Context)) error {
	watched, stopWatching := context.WithCancel(ctx)
	readied := make(chan struct{})
	go func() {
		defer close(readied)
		ready(watched)
	}()
	// Once: a worker with nothing to do may have ended before the other goroutine says that it ends.
	stopping := sync.OnceFunc(func() {
		a.note("stopping: running tasks may end, nothing new is started (once more to stop at once)")
	})
	defer context.AfterFunc(ctx, stopping)()
	over := make(chan error, 1)
	go func() { over <- worker.Run(ctx) }()
	err := awaitEnd(ctx, over)
	stopWatching()
	<-readied
	if ctx.Err() == nil {
		return err
	}
	stopping()
	if err == nil {
		a.note("stopped")
	}
	return err
}

// quitPatience is what a worker gets to hand over its tasks after the second ctrl-C, when its programs are killed already.
const quitPatience = time.Second

// awaitEnd waits for the worker's end, after the second ctrl-C not for long: a Redis that is away would hold it up.
func awaitEnd(ctx context.Context, over <-chan error) error {
	select {
	case err := <-over:
		return err
	case <-quitOf(ctx).Done():
	}
	late := time.NewTimer(quitPatience)
	defer late.Stop()
	select {
	case err := <-over:
		return err
	case <-late.C:
		return errors.New("stopped without handing over all tasks; other workers take them when they notice")
	}
}

// workHooks log what the library does not: it keeps the words of strangers' programs out of its log, and the logger here makes
// them safe to print. That of dead letters stands for the library's line, which trouble.Check leaves out.
func (a *app) workHooks() group.Hooks {
	fields := func(m group.Metadata, more ...zap.Field) []zap.Field {
		return append([]zap.Field{
			zap.String("task", m.ID), zap.String("function", m.Function), zap.String("queue", m.Queue), zap.Int("attempt", m.Attempt),
		}, more...)
	}
	return group.Hooks{
		Done: func(m group.Metadata, took time.Duration) {
			a.log.Debug("task done", fields(m, zap.Duration("took", took))...)
		},
		Retry: func(m group.Metadata, wait time.Duration, err error) {
			a.log.Info("task put off", fields(m, zap.Duration("wait", wait), zap.Error(err))...)
		},
		Dead: func(m group.Metadata, reason string, err error) {
			if m.ID == "" {
				return // an entry that is no task: the library tells the cause itself
			}
			a.log.Warn("task failed for good", fields(m, zap.String("entry", m.Entry), zap.String("reason", reason), zap.Error(err))...)
		},
	}
}
