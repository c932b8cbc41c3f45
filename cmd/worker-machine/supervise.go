package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/fleet"
)

// fleetFlags say how processes are kept alive; supervise has all of them, work the most needed.
type fleetFlags struct {
	config     fleet.Config
	maxRSS     byteSize
	statusAddr string
}

const superviseLong = `Keep a number of processes of a program alive: workers in any language, or worker-machine work itself.

A process that ends is started again. One that ends before it is ready, or within --min-uptime, has crashed: the next start waits a
random time below --min-delay, doubled with each crash in a row and never above --max-delay. After --crash-limit crashes in a row its
slot is given up; when all slots are, or after --crash-limit-all crashes in a row with no process getting well between, supervise says what the
program said last and ends with exit code 3.

Signals:
  SIGTERM, SIGINT   stop: passed on to all processes, which get --drain to end; then their process groups are killed. Once more: at once
  SIGHUP            replace all processes, one at a time: a new one is started, and when it is ready the old one gets SIGTERM and --drain
  SIGUSR1, SIGUSR2  passed on to all processes

A process is also replaced, one at a time, when it is older than --max-age, has more memory than --max-rss or has done --max-tasks.
When new processes do not get ready, the old ones stay.

A process is ready when it writes a line that is "ready" or begins with "ready:", or writes "ready" to the file descriptor
$WM_SUPERVISOR_FD, or after --ready-after. For --max-tasks it writes lines like "tasks 17" to that descriptor, with the number of tasks
it has done; a program that does not may count itself to $WM_MAX_TASKS, end what runs and exit with 0. On SIGTERM a program should
end what runs and exit. worker-machine work does all this. $WM_SLOT is the number of the process's slot. Programs in a shell script are
started with exec, so that signals reach them.

Lines that the processes write go to stdout and stderr with their name and number before them. What happens to them is told on stderr. With
--status-addr their state can be seen with curl, as text at / and as JSON at /status, and in worker-machine top --supervisor.

On Linux the processes die with a supervisor that is killed, and what they leave behind is taken over, reaped and killed at the end; so it
can be the first process of a container.

Exit codes: 0 stopped and all processes ended by themselves, 1 some had to be killed, or failed under --restart never, 2 the command line
is wrong, 3 given up, since processes crash again and again.`

func (a *app) superviseCommand() *cobra.Command {
	var f fleetFlags
	cmd := &cobra.Command{
		Use:   "supervise [flags] -- PROGRAM [ARGUMENT...]",
		Short: "Keep a number of worker processes alive",
		Long:  superviseLong,
		Example: `  worker-machine supervise -n 25 -- php worker.php
  worker-machine supervise -n 8 --max-rss 512MiB --max-age 1h --status-addr 127.0.0.1:9110 -- python3 worker.py --queue mail
  worker-machine supervise -n 4 -- worker-machine work --handle 'lines=xargs wc -l'
  worker-machine work --processes 4 --handle 'lines=xargs wc -l'      # the same
  kill -HUP $(pidof -s worker-machine)                                # after a new version was installed
  curl 127.0.0.1:9110                                                 # what is --status-addr`,
		Args: superviseArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("prefix") {
				return usagef("--prefix: supervise uses no Redis; give it to the program, after --")
			}
			f.config.Argv, f.config.Env = args, a.env
			if a.redis != "" {
				f.config.Env = append(append([]string{}, a.env...), "REDIS_URL="+a.redis)
			}
			return a.supervise(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows the program is its own
	c := &f.config
	flags.IntVarP(&c.Processes, "processes", "n", 1, "how many processes")
	f.register(cmd)
	flags.DurationVar(&c.Restart.MinDelay, "min-delay", 0, "upper bound of the wait after the first crash (default 200ms)")
	flags.DurationVar(&c.Restart.MaxDelay, "max-delay", 0, "upper bound of the wait after further ones (default 30s)")
	flags.DurationVar(&c.Restart.MinUptime, "min-uptime", 0, "a process that ends sooner has crashed (default 2s)")
	flags.IntVar(&c.Restart.CrashLimit, "crash-limit", 0, "crashes in a row after which a slot is given up (default 10)")
	flags.IntVar(&c.Restart.CrashLimits, "crash-limit-all", 0, "crashes in a row of all after which the fleet is given up (default --crash-limit for each)")
	flags.DurationVar(&c.Drain, "drain", 0, "how long a process gets to end before it is killed (default 30s)")
	flags.DurationVar(&c.Ready, "ready-after", 0, "a process that says nothing is ready so long after its start (default 10s)")
	flags.StringVar(&c.Name, "name", "", "what lines of the processes begin with (default: the name of the program)")
	flags.IntVar(&c.Limits.Tasks, "max-tasks", 0, "replace processes that have done so many tasks (default: no limit)")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return cmd
}

// register adds the flags that work has, too.
func (f *fleetFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar((*string)(&f.config.Restart.Policy), "restart", string(fleet.Backoff), "when a process ends: backoff, always (no limit of crashes) or never")
	flags.StringVar((*string)(&f.config.Roll), "roll", string(fleet.StartFirst), "how one is replaced: start-first (one more for a while) or stop-first (one less)")
	flags.Var(&f.maxRSS, "max-rss", "replace processes that have more memory than this (default: no limit)")
	flags.DurationVar(&f.config.Limits.Age, "max-age", 0, "replace processes that are older than this, less up to a quarter by chance (default: no limit)")
	flags.StringVar(&f.statusAddr, "status-addr", "", "tell the state at this address of the loopback interface, as 127.0.0.1:9110; port 0 takes a free one")
	complete(cmd, "restart", string(fleet.Backoff), string(fleet.Always), string(fleet.Never))
	complete(cmd, "roll", string(fleet.StartFirst), string(fleet.StopFirst))
}

func superviseArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("the program is missing: worker-machine supervise -n 25 -- PROGRAM ARGUMENTS")
	}
	return nil
}

// supervise runs a fleet until a signal or ctx ends it.
func (a *app) supervise(ctx context.Context, f *fleetFlags) error {
	signals, own := a.takeSignals(ctx)
	f.config.Limits.RSS = int64(f.maxRSS)
	f.config.Adopt = own
	if f.statusAddr != "" {
		if err := fleet.CheckAddr(f.statusAddr); err != nil {
			return usagef("--status-addr: %w", err)
		}
	}
	f.config.Printer = fleet.NewPrinter(a.stdout, a.stderr, a.json, a.paints)
	defer f.config.Printer.Close()
	fl, err := fleet.New(f.config)
	if err != nil {
		return usagef("%w", err)
	}
	over, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if f.statusAddr != "" {
		addr, err := fl.Serve(over, f.statusAddr)
		if err != nil {
			return fmt.Errorf("--status-addr: %w", err)
		}
		f.config.Printer.Tell(fleet.Event{Time: time.Now(), Kind: "status", Text: "the state is at http://" + addr})
	}
	go obey(over, quitOf(ctx), fl, signals)
	return a.fleetError(fl.Run(ctx))
}

// paints tells whether a stream gets colours.
func (a *app) paints(w io.Writer) bool {
	return isTerminal(w) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

// obey has signals do what the help says, until over is done.
func obey(over, quit context.Context, fl *fleet.Fleet, signals <-chan os.Signal) {
	stopped := false
	for {
		select {
		case <-over.Done():
			return
		case <-quit.Done():
			fl.Kill()
			return
		case sig := <-signals:
			switch kindOf(sig) {
			case passSignal:
				fl.Signal(sig)
			case rollSignal:
				fl.Roll()
			case stopSignal:
				if stopped {
					fl.Kill()
				} else {
					fl.Stop(sig)
				}
				stopped = true
			}
		}
	}
}

// errCrashLoop marks the error of a fleet that was given up.
var errCrashLoop = errors.New("crash loop")

// crashLoop is such an error; its text is that of the fleet.
type crashLoop struct{ error }

func (crashLoop) Is(target error) bool { return target == errCrashLoop }

func (a *app) fleetError(err error) error {
	var loop *fleet.CrashLoopError
	if errors.As(err, &loop) {
		return crashLoop{err}
	}
	return err
}
