// Command worker-machine runs, feeds and inspects workers, and shows what Worker Machine is with its demo.
//
//	worker-machine demo
//	worker-machine work --handle 'lines=xargs wc -l'
//	find . -name '*.go' | worker-machine map lines
//
// The exit code is 0 when all went well, 1 when something failed, 2 when the command line is wrong, 3 when supervise gave up.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

func main() {
	os.Exit(withSignals())
}

// withSignals runs the command line of the process. The first ctrl-C, SIGTERM or SIGHUP ends its context, the second one its patience.
func withSignals() int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup wants it
		signal.Notify(signals, syscall.SIGHUP)
	}
	// A reader that went away (| head) is an error of a write and not the end of the process: tasks that wait are cancelled.
	// Notify and not Ignore: programs that we start would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	ctx, stop := context.WithCancelCause(context.Background()) // the root of all contexts
	quit, quitNow := context.WithCancel(context.Background())
	go func() {
		<-signals
		stop(errInterrupted)
		<-signals
		quitNow()
	}()
	quietRedis()
	release := func() { signal.Stop(signals) }
	err := run(withRelease(withQuit(ctx, quit), release), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	return exitCode(err)
}

// errInterrupted is the cause of a context that ended with a signal.
var errInterrupted = errors.New("interrupted")

// usageError is a command line that is wrong; its exit code is 2.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// errReported is the error of a command that has told what is wrong already.
var errReported = errors.New("reported")

const (
	exitFailed    = 1
	exitUsage     = 2
	exitCrashLoop = 3 // of supervise
)

func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errCrashLoop):
		return exitCrashLoop
	}
	return exitFailed
}

// run is the whole program: it executes the command line args with the given environment and streams, prints its error to
// stderr and returns it.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) error { //nolint:revive // six arguments: they are what a process has
	a := &app{args: args, env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root() //nolint:contextcheck // cobra hands ctx to the commands
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	a.traces.end(ctx)
	if err == nil {
		return nil
	}
	var usage *usageError
	if !a.started && !errors.As(err, &usage) {
		err = &usageError{err} // of cobra: an unknown command or flag, a wrong number of arguments
	}
	switch {
	case errors.Is(err, errReported):
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(stderr, "worker-machine: %s\nSee '%s --help'.\n", plain.Text(err.Error()), command.CommandPath())
	default:
		_, _ = fmt.Fprintf(stderr, "worker-machine: %s\n", plain.Text(err.Error()))
	}
	return err
}

// quitKey finds the context that ends when waiting for a clean end is no longer wanted.
type quitKey struct{}

func withQuit(ctx, quit context.Context) context.Context {
	return context.WithValue(ctx, quitKey{}, quit)
}

// quitOf is done at the second ctrl-C.
func quitOf(ctx context.Context) context.Context {
	if quit, ok := ctx.Value(quitKey{}).(context.Context); ok {
		return quit
	}
	return context.WithoutCancel(ctx)
}
