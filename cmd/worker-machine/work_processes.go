package main

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/fleet"
	"github.com/athoune/worker-machine/group"
)

// registerFleet adds the flags of --processes.
func (f *workFlags) registerFleet(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&f.fleet.config.Processes, "processes", 0, "keep so many worker processes alive (default: work in this one)")
	f.fleet.register(cmd)
	flags.IntVar(&f.maxTasks, "max-tasks", 0, "stop, or with --processes be replaced, after so many tasks (default $"+fleet.TasksVariable+", or no limit)")
}

// workOrSupervise runs a worker, or with --processes the supervisor of many.
func (a *app) workOrSupervise(cmd *cobra.Command, f *workFlags) error {
	flags := cmd.Flags()
	if f.fleet.config.Processes < 0 || f.maxTasks < 0 {
		return usagef("--processes, --max-tasks: they cannot be less than 0")
	}
	if f.fleet.config.Processes > 0 {
		return a.workProcesses(cmd.Context(), f)
	}
	for _, name := range []string{"restart", "roll", "max-rss", "max-age", "status-addr"} {
		if flags.Changed(name) && !flags.Changed("processes") {
			return usagef("--%s: it goes with --processes", name)
		}
	}
	return a.work(cmd.Context(), f)
}

// beyondDrain is what a worker gets besides its time to drain: to record outcomes and to hand tasks over.
const (
	beyondDrain      = 15 * time.Second
	defaultWorkDrain = 25 * time.Second // of group
)

// workProcesses runs this command line in other processes of this program.
func (a *app) workProcesses(ctx context.Context, f *workFlags) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := a.checkWork(f); err != nil {
		return err
	}
	config := &f.fleet.config
	// The last one of a flag counts, and work has no other arguments: in the child this is --processes 0.
	config.Argv = append(append([]string{self}, a.args...), "--processes=0")
	config.Env, config.Name, config.Limits.Tasks = a.env, "work", f.maxTasks
	config.Drain = f.drain + beyondDrain
	if f.drain == 0 {
		config.Drain = defaultWorkDrain + beyondDrain
	}
	return a.supervise(ctx, &f.fleet)
}

// checkWork finds mistakes of the command line before there are processes that could tell them, each for itself.
func (a *app) checkWork(f *workFlags) error {
	_, err := parseQueues(f.queues)
	_, handleErr := a.parseHandles(f)
	_, crowdErr := a.newCrowd(f)
	_, targetErr := a.target()
	var metricsErr error
	if f.metrics != "" {
		_, metricsErr = metricsAddr(f.metrics, "")
	}
	return errors.Join(err, handleErr, crowdErr, targetErr, metricsErr)
}

// tally counts the tasks of a worker, for its limit and for its supervisor.
type tally struct {
	limit  int64
	upward *fleet.Upward
	awaits bool // the limit is the supervisor's, which starts another worker before it stops this one
	done   atomic.Int64
	enough chan struct{} // closed when the limit is reached
}

// errEnough is the cause of the end of a worker that has done --max-tasks.
var errEnough = errors.New("the worker has done as many tasks as --max-tasks says")

const tallyEvery = 250 * time.Millisecond

func (a *app) newTally(limit int) *tally {
	given := fleet.MaxTasks(a.getenv)
	if limit == 0 {
		limit = given
	}
	t := &tally{limit: int64(limit), upward: fleet.OpenUpward(a.getenv), enough: make(chan struct{})}
	t.awaits = t.upward != nil && limit == given
	return t
}

// hooks counts in the hooks of a worker. A task that failed was work, too.
func (t *tally) hooks(h group.Hooks) group.Hooks {
	if t.limit == 0 && t.upward == nil {
		return h
	}
	count := func() {
		if t.done.Add(1) == t.limit {
			close(t.enough)
		}
	}
	done, retry, dead := h.Done, h.Retry, h.Dead
	h.Done = func(m group.Metadata, took time.Duration) {
		count()
		done(m, took)
	}
	h.Retry = func(m group.Metadata, wait time.Duration, err error) {
		count()
		retry(m, wait, err)
	}
	h.Dead = func(m group.Metadata, reason string, err error) {
		count()
		dead(m, reason, err)
	}
	return h
}

// begin lets the limit end ctx, and reports to the supervisor.
func (t *tally) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	if t.upward != nil {
		go t.report(ctx)
	}
	if !t.awaits {
		go func() {
			select {
			case <-ctx.Done():
			case <-t.enough:
				stop(errEnough)
			}
		}()
	}
	return ctx, func() { stop(nil) }
}

// report tells the supervisor the number of tasks when it has changed.
func (t *tally) report(ctx context.Context) {
	tick := time.NewTicker(tallyEvery)
	defer tick.Stop()
	for told := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n := t.done.Load(); n != told {
			told = n
			t.upward.Tasks(n)
		}
	}
}
