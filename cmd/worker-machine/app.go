package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/term"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// app is one execution of the program: its streams and its global flags.
type app struct {
	args, env      []string
	stdin          io.Reader
	stdout, stderr io.Writer

	redis    string // URL
	prefix   string
	logLevel string
	json     bool

	started bool         // the command line was right
	hooks   stream.Hooks // of the store
	traces  *traces      // nil for none
	log     *zap.Logger
}

const (
	defaultRedis  = "redis://127.0.0.1:6379"
	defaultPrefix = "wm"
)

const rootLong = `Worker Machine runs background work on Redis Streams: fire and forget, call and wait, map and reduce.

The Redis is named by --redis or by the variable REDIS_URL; without either it is ` + defaultRedis + `.
Put a password into REDIS_URL rather than into --redis, where other users of the machine can see it:

  redis://[user:password@]host[:6379][/db]         rediss:// is the same with TLS
  unix://[user:password@]/path/redis.sock[?db=1]
  redis+sentinel://[user:password@]host[:26379][,host2...]/primary[/db]     rediss+sentinel:// with TLS
  redis+cluster://[user:password@]host[:6379][,host2...]                    rediss+cluster:// with TLS

Options after a ?, with & between them: db, dial_timeout, read_timeout, pool_size, sentinel_user, sentinel_password;
with TLS also ca, cert, key (PEM files) and server_name.

With OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT traces go there, by OTLP over HTTP; a caller's TRACEPARENT is continued, and
programs that work runs have one.

Exit codes: 0 all went well, 1 something failed, 2 the command line is wrong, 3 supervise gave up.`

const rootExample = `  worker-machine demo                                          # needs no Redis
  worker-machine dev                                           # a Redis to try things out with
  worker-machine work --handle 'lines=xargs wc -l'             # a worker
  worker-machine call lines /etc/passwd                        # one task, and its result
  find . -name '*.go' | worker-machine map lines               # many
  worker-machine mapreduce --local --input '*.txt' --map 'tr -s " " "\\n"' --reduce 'uniq -c'
  worker-machine queues                                        # what lies where`

// root makes the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "worker-machine",
		Short:             "Background work on Redis Streams",
		Long:              rootLong,
		Example:           rootExample,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:              noArgs,
		Version:           versionText(buildVersion()),
	}
	root.SetVersionTemplate("worker-machine {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&a.redis, "redis", "", "URL of the Redis (default $REDIS_URL, or "+defaultRedis+")")
	flags.StringVar(&a.prefix, "prefix", defaultPrefix, "what all keys in Redis begin with")
	flags.StringVar(&a.logLevel, "log-level", "warn", "what to log to stderr: debug, info, warn, error")
	flags.BoolVar(&a.json, "json", false, "print facts as JSON, one object a line; log as JSON too")
	complete(root, "log-level", levels...)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		a.demoCommand(), a.demoWorkerCommand(), a.devCommand(), a.workCommand(), a.superviseCommand(),
		a.enqueueCommand(), a.callCommand(), a.mapCommand(), a.mapreduceCommand(), a.runsCommand(),
		a.queuesCommand(), a.workersCommand(), a.tasksCommand(), a.pendingCommand(), a.deadCommand(), a.batchesCommand(),
		a.pauseCommand(), a.resumeCommand(), a.purgeCommand(), a.doctorCommand(), a.benchCommand(), a.topCommand(), a.statsCommand(),
		a.serveCommand(), a.versionCommand(),
	)
	root.InitDefaultHelpCmd()
	strictHelp(root)
	a.watchStart(root)
	return root
}

// strictHelp makes the help for a command that does not exist an error.
func strictHelp(root *cobra.Command) {
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		return
	}
	help.Run, help.RunE = nil, func(_ *cobra.Command, args []string) error {
		about, rest, err := root.Find(args)
		if err != nil || about == root && len(rest) > 0 {
			return noArgs(root, args)
		}
		if about.HasSubCommands() && len(rest) > 0 {
			return noArgs(about, rest)
		}
		about.InitDefaultHelpFlag()
		return about.Help()
	}
}

// watchStart notes when a command begins its work: an error before that is one of the command line.
func (a *app) watchStart(cmd *cobra.Command) {
	if work := cmd.RunE; work != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.started = true
			return work(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		a.watchStart(sub)
	}
}

// prepare checks the global flags.
func (a *app) prepare(cmd *cobra.Command) error {
	if err := wire.CheckPrefix(a.prefix); err != nil {
		return usagef("--prefix: %w", err)
	}
	log, err := a.logger()
	if err != nil {
		return err
	}
	a.log = log
	if err = a.startTraces(cmd.Context()); err != nil {
		return usagef("%w", err)
	}
	cmd.SetContext(a.caller(cmd.Context()))
	return nil
}

// noArgs refuses arguments, and names the command that was meant when there is one like it.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("%s", message)
}

// complete names the values of a flag for the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// The error is that of a flag which does not exist; the test of the help texts would show it.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// getenv is os.Getenv of the environment given to run.
func (a *app) getenv(name string) string {
	value := ""
	for _, pair := range a.env {
		if found, ok := strings.CutPrefix(pair, name+"="); ok {
			value = found
		}
	}
	return value
}

// printf writes to stdout.
func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	return err
}

// note tells the person at the terminal something that is no result.
func (a *app) note(format string, args ...any) { _, _ = fmt.Fprintf(a.stderr, format+"\n", args...) }

// draw writes to the terminal as it is.
func (a *app) draw(format string, args ...any) { _, _ = fmt.Fprintf(a.stderr, format, args...) }

// printJSON writes one line, without anything that a terminal would obey.
func (a *app) printJSON(value any) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := io.WriteString(a.stdout, plain.JSON(line.String()))
	return err
}

// isTerminal tells whether a person reads or writes a stream.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
