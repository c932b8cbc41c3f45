package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/stream"
)

const payloadHelp = `The payload is the second argument as it is, or all of stdin when it is -. Without one it is empty.`

func (a *app) enqueueCommand() *cobra.Command {
	var f taskFlags
	cmd := &cobra.Command{
		Use:   "enqueue FUNCTION [PAYLOAD | -]",
		Short: "Put a task into a queue and print its ID",
		Long: "Put a task into a queue and print its ID. Nobody waits for the result.\n\n" + payloadHelp + `

With --unique a second task with the same key is not stored as long as the first one is not done: the ID printed is that of the
first, and a note on stderr says so.`,
		Example: `  worker-machine enqueue lines /etc/passwd
  worker-machine enqueue --queue mail --after 1h --header to=bob send - < letter.txt
  worker-machine enqueue --at '2030-01-01 00:00' fireworks
  worker-machine enqueue --unique report-today --unique-ttl 24h report`,
		Args: functionArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.enqueue(cmd.Context(), &f, args) },
	}
	f.register(a, cmd)
	f.registerDelay(cmd)
	return cmd
}

// enqueued is the record of --json.
type enqueued struct {
	ID        string `json:"id"`
	Queue     string `json:"queue"`
	Function  string `json:"function"`
	Duplicate bool   `json:"duplicate"`
}

func (a *app) enqueue(ctx context.Context, f *taskFlags, args []string) error {
	return a.withClient(ctx, f, args, func(client *stream.Client, order order) error {
		id, err := order.fn.Enqueue(ctx, client, order.payload, order.options...)
		duplicate := errors.Is(err, stream.ErrDuplicate)
		if err != nil && !duplicate {
			return advise(err)
		}
		if duplicate {
			a.note("not stored: task %s has the same --unique key and is not done yet", id)
		}
		if a.json {
			return a.printJSON(enqueued{ID: id, Queue: f.queue, Function: order.fn.Name, Duplicate: duplicate})
		}
		return a.printf("%s\n", id)
	})
}

// order is one task as the command line describes it.
type order struct {
	fn      stream.Func[[]byte, []byte]
	payload []byte
	options []stream.Option
	trouble *trouble // of the connection it goes through
}

// withClient reads the command line, connects and calls use.
func (a *app) withClient(ctx context.Context, f *taskFlags, args []string, use func(*stream.Client, order) error) error {
	fn, err := f.fn(args[0])
	if err != nil {
		return err
	}
	options, err := f.options()
	if err != nil {
		return err
	}
	target, err := a.connectPatiently(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	payload, err := a.payload(args[1:], f.maxPayload)
	if err != nil {
		return advise(err)
	}
	client, err := stream.NewClient(target.store, f.config())
	if err != nil {
		return usagef("%w", err)
	}
	defer func() { _ = client.Close(context.WithoutCancel(ctx)) }()
	return use(client, order{fn: fn, payload: payload, options: options, trouble: target.trouble})
}

// advise adds what to do to errors that a person at the command line can act on.
func advise(err error) error {
	switch {
	case errors.Is(err, stream.ErrQueueFull):
		return fmt.Errorf("%w.\nNothing was stored: try again later, start more workers, or allow more with --max-queue", err)
	case errors.Is(err, stream.ErrPayloadTooLarge):
		return fmt.Errorf("%w.\nOr allow more with --max-payload", err)
	case errors.Is(err, stream.ErrUnknownOutcome):
		return fmt.Errorf("%w.\nLook with `worker-machine stats` before you try again; --unique makes trying again safe", err)
	}
	return err
}
