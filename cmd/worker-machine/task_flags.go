package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// taskFlags are the flags of the commands that make tasks.
type taskFlags struct {
	queue       string
	headers     []string
	maxAttempts int
	timeout     time.Duration
	maxPayload  int
	maxQueue    int64

	after     time.Duration
	at        string
	unique    string
	uniqueTTL time.Duration
}

const defaultMaxPayload = 1 << 20

// register adds the flags that all tasks have.
func (f *taskFlags) register(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.queue, "queue", "q", stream.DefaultQueue, "the queue")
	flags.StringArrayVar(&f.headers, "header", nil, "a header name=value for the task, may be repeated")
	flags.IntVar(&f.maxAttempts, "max-attempts", 0, "how often a task is tried (default: what its worker says)")
	flags.DurationVar(&f.timeout, "timeout", 0, "how long one attempt may run (default: what its worker says)")
	flags.IntVar(&f.maxPayload, "max-payload", defaultMaxPayload, "most bytes of a payload")
	flags.Int64Var(&f.maxQueue, "max-queue", 0, "refuse when the queue holds so many tasks (default: no limit)")
	_ = cmd.RegisterFlagCompletionFunc("queue", a.completeQueues)
}

// registerDelay adds the flags that say when and whether a task is stored.
func (f *taskFlags) registerDelay(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&f.after, "after", 0, "run the task that much later, like 90s or 2h")
	flags.StringVar(&f.at, "at", "", "run the task at that time, like 2006-01-02T15:04:05Z, or 2006-01-02 15:04 in local time")
	flags.StringVar(&f.unique, "unique", "", "store the task only if none with this key is stored and not done")
	flags.DurationVar(&f.uniqueTTL, "unique-ttl", 24*time.Hour, "how long --unique holds at most")
	cmd.MarkFlagsMutuallyExclusive("after", "at")
}

// fn is the function a command line names.
func (f *taskFlags) fn(name string) (stream.Func[[]byte, []byte], error) {
	fn := stream.Func[[]byte, []byte]{Name: name, Queue: f.queue, Codec: stream.Raw}
	if err := wire.CheckName("queue", f.queue); err != nil {
		return fn, usagef("--queue: %w", err)
	}
	if err := wire.CheckName("function", name); err != nil {
		return fn, usagef("%w", err)
	}
	return fn, nil
}

// config is that of a client which honours the flags.
func (f *taskFlags) config() stream.ClientConfig {
	return stream.ClientConfig{MaxPayload: f.maxPayload, MaxQueue: f.maxQueue}
}

// options are those of a task.
func (f *taskFlags) options() ([]stream.Option, error) {
	var options []stream.Option
	for _, header := range f.headers {
		name, value, ok := strings.Cut(header, "=")
		if !ok {
			return nil, usagef("--header: there is no = in it; write name=value")
		}
		if err := wire.CheckName("header", name); err != nil {
			return nil, usagef("--header: %w", err)
		}
		options = append(options, stream.Header(name, value))
	}
	if f.maxAttempts < 0 || f.timeout < 0 || f.after < 0 || f.maxPayload < 1 || f.maxQueue < 0 {
		return nil, usagef("--max-attempts, --timeout, --after, --max-payload and --max-queue cannot be less than nothing")
	}
	if f.maxAttempts > 0 {
		options = append(options, stream.MaxAttempts(f.maxAttempts))
	}
	if f.timeout > 0 {
		options = append(options, stream.Timeout(max(f.timeout, time.Millisecond)))
	}
	return f.delayOptions(options)
}

func (f *taskFlags) delayOptions(options []stream.Option) ([]stream.Option, error) {
	if f.after > 0 {
		options = append(options, stream.After(f.after))
	}
	if f.at != "" {
		at, err := parseTime(f.at)
		if err != nil {
			return nil, err
		}
		options = append(options, stream.At(at))
	}
	if f.unique != "" {
		if f.uniqueTTL < time.Millisecond {
			return nil, usagef("--unique-ttl: at least 1ms")
		}
		options = append(options, stream.Unique(f.unique, f.uniqueTTL))
	}
	return options, nil
}

// parseTime reads the times people write, and seconds since 1970.
func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0), nil
	}
	return time.Time{}, usagef("--at: not a time; write it like 2006-01-02T15:04:05Z, or 2006-01-02 15:04 in local time")
}

// payload is what the arguments after the function say: nothing, a text, or - for all of stdin. Of a stdin that is too long no more
// is read than it takes to know.
func (a *app) payload(args []string, limit int) ([]byte, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if args[0] != "-" {
		return []byte(args[0]), nil
	}
	data, err := io.ReadAll(io.LimitReader(a.stdin, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read the payload from stdin: %w", err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("%w: stdin holds more than %d bytes", stream.ErrPayloadTooLarge, limit)
	}
	return data, nil
}

// functionArgs wants the name of a function and at most one payload.
func functionArgs(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("the name of the function is missing")
	case len(args) > 2:
		return usagef("there are %d arguments; write the payload in quotes, or - and send it to stdin", len(args))
	}
	return nil
}
