package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/stream"
)

func (a *app) callCommand() *cobra.Command {
	var f taskFlags
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "call FUNCTION [PAYLOAD | -]",
		Short: "Run a task on some worker and print its result",
		Long: "Run a task on some worker, wait for it and print its result.\n\n" + payloadHelp + `

The result is printed as the worker gave it; on a terminal a newline ends it. A task that fails for good is an error, exit code 1.
When you leave early (ctrl-C, --wait), the task is cancelled unless it has started.`,
		Example: `  worker-machine call lines /etc/passwd
  worker-machine call --queue images --wait 1m resize - < big.png > small.png
  worker-machine call --json lines /etc/passwd`,
		Args: functionArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.call(cmd.Context(), &f, args, wait) },
	}
	f.register(a, cmd)
	f.registerDelay(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 0, "give up after this time (default: wait for ever)")
	return cmd
}

// called is the record of --json; Result is there when it is text, ResultBase64 when it is not.
type called struct {
	Queue    string   `json:"queue"`
	Function string   `json:"function"`
	Seconds  float64  `json:"seconds"`
	Failure  *failure `json:"error,omitempty"`
	content
}

// content is a result in JSON.
type content struct {
	Result       *string `json:"result,omitempty"`
	ResultBase64 string  `json:"result_base64,omitempty"`
}

func contentOf(result []byte) (c content) {
	c.Result, c.ResultBase64 = textOrBase64(result)
	return c
}

// textOrBase64 is data as JSON can hold it: as text, or when it is none in base64.
func textOrBase64(data []byte) (text *string, encoded string) {
	if !utf8.Valid(data) {
		return nil, base64.StdEncoding.EncodeToString(data)
	}
	s := string(data)
	return &s, ""
}

// failure is an error in JSON.
type failure struct {
	Message string `json:"message"`
	Reason  string `json:"reason,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	Task    string `json:"task,omitempty"`
}

func failureOf(err error) *failure {
	var task *stream.TaskError
	if errors.As(err, &task) {
		return &failure{Message: task.Message, Reason: task.Reason, Attempt: task.Attempt, Task: task.TaskID}
	}
	return &failure{Message: err.Error()}
}

func (a *app) call(ctx context.Context, f *taskFlags, args []string, wait time.Duration) error {
	return a.withClient(ctx, f, args, func(client *stream.Client, order order) error {
		limited := ctx
		if wait > 0 {
			var cancel context.CancelFunc
			limited, cancel = context.WithTimeoutCause(ctx, wait, fmt.Errorf("no result within --wait %v; the task is cancelled unless it has started", wait))
			defer cancel()
		}
		defer a.startHints(limited, &hints{store: client.Store(), trouble: order.trouble, queue: f.queue})()
		began := time.Now()
		result, err := order.fn.Call(limited, client, order.payload, order.options...)
		if limited.Err() != nil && err != nil {
			return withoutWorkers(ctx, client.Store(), f.queue, context.Cause(limited))
		}
		if a.json {
			return a.printCalled(called{Queue: f.queue, Function: order.fn.Name, Seconds: time.Since(began).Seconds()}, result, err)
		}
		if err != nil {
			return advise(taskText(err))
		}
		return a.printResult(result)
	})
}

// printCalled writes the record of --json, and keeps the exit code of a failure.
func (a *app) printCalled(record called, result []byte, err error) error {
	if err != nil {
		record.Failure = failureOf(err)
	} else {
		record.content = contentOf(result)
	}
	if printErr := a.printJSON(record); printErr != nil || err == nil {
		return printErr
	}
	return errReported
}

// printResult writes a result as it is, or to a terminal as text that ends with a newline.
func (a *app) printResult(result []byte) error {
	if isTerminal(a.stdout) {
		result = append(bytes.TrimRight([]byte(plain.Text(string(result))), "\n"), '\n')
	}
	_, err := a.stdout.Write(result)
	return err
}

// taskText makes an error fit to be shown: that of a task without the layers it came through, any without what a terminal would
// obey. errors.Is and As still work.
func taskText(err error) error {
	text := err.Error()
	var task *stream.TaskError
	if errors.As(err, &task) {
		text = fmt.Sprintf("%s %s: %s (attempt %d, task %s)", task.Function, task.Reason, task.Message, task.Attempt, task.TaskID)
	}
	return &shownError{text: plain.Text(text), cause: err}
}

type shownError struct {
	text  string
	cause error
}

func (e *shownError) Error() string { return e.text }
func (e *shownError) Unwrap() error { return e.cause }
