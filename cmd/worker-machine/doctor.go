package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/inspect"
)

func (a *app) doctorCommand() *cobra.Command {
	var names queueNames
	var strict bool
	cmd := &cobra.Command{
		Use:   "doctor [QUEUE...]",
		Short: "Check Redis and the queues, and say what to do",
		Long: `Check the server and the queues, all of them without arguments: versions, memory policy, persistence, rights, workers without a
lease, lost entries, what has been waiting for too long, and more.

Each check is passed, a warning, failed (the guarantees do not hold there), or unknown (this user of Redis may not look); what is not
passed says what to do. The exit code is 1 when a check failed, with --strict also for warnings.`,
		Example: "  worker-machine doctor\n  worker-machine doctor --strict web\n  worker-machine doctor --json | jq -r 'select(.grade == \"failed\").remedy'",
		RunE: func(cmd *cobra.Command, args []string) error {
			queues, err := names.of(args)
			if err != nil {
				return err
			}
			return a.doctor(cmd.Context(), queues, strict)
		},
	}
	names.register(a, cmd)
	cmd.Flags().BoolVar(&strict, "strict", false, "exit code 1 for warnings too")
	return cmd
}

func (a *app) doctor(ctx context.Context, queues []string, strict bool) error {
	l, err := a.lookAt(ctx, queues...)
	if err != nil {
		return err
	}
	defer l.Close()
	checks, err := l.Doctor(ctx, queues...)
	if err != nil {
		return err
	}
	number := map[inspect.Grade]int{}
	for _, c := range checks {
		number[c.Grade]++
	}
	if err := a.printChecks(checks, number); err != nil {
		return err
	}
	if number[inspect.Refused] > 0 || strict && number[inspect.Warning] > 0 {
		return errReported
	}
	return nil
}

func (a *app) printChecks(checks []inspect.Check, number map[inspect.Grade]int) error {
	if a.json {
		for _, c := range checks {
			if err := a.printJSON(c); err != nil {
				return err
			}
		}
		return nil
	}
	width, queue := 0, ""
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	for _, c := range checks {
		if c.Queue != queue {
			queue = c.Queue
			_ = a.printf("\nqueue %s\n", plain.Line(queue))
		}
		if err := a.printf("%s  %-*s  %s\n", a.gradeText(c.Grade), width, plain.Line(c.Name), plain.Line(c.Found)); err != nil {
			return err
		}
		if c.Remedy != "" && c.Grade != inspect.Passed {
			if err := a.printf("%7s  %*s  → %s\n", "", width, "", plain.Line(c.Remedy)); err != nil {
				return err
			}
		}
	}
	return a.printf("\n%d passed, %d warnings, %d failed, %d unknown\n",
		number[inspect.Passed], number[inspect.Warning], number[inspect.Refused], number[inspect.Unknown])
}

// gradeText is a grade, coloured on a terminal unless NO_COLOR is set.
func (a *app) gradeText(g inspect.Grade) string {
	text := fmt.Sprintf("%-7s", g)
	if !isTerminal(a.stdout) || a.getenv("NO_COLOR") != "" {
		return text
	}
	colour := map[inspect.Grade]string{inspect.Passed: "32", inspect.Warning: "33", inspect.Refused: "1;31", inspect.Unknown: "36"}[g]
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
