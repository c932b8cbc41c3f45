package mapreduce

import (
	"errors"
	"fmt"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	defaultWindow      = 10_000
	defaultChunk       = 1000
	defaultWindowBytes = 64 << 20
)

// Option tunes one call of [Map].
type Option func(*options)

// options is what the options of one call say.
type options struct {
	limits
	task    []stream.Option
	durable *durability // nil without Durable
}

// limits bound one batch.
type limits struct {
	window      int
	windowBytes int64
	ordered     bool
	failures    int // stop after so many; 0 never
	chunk       int // most inputs of one entry
}

// Window sets how many inputs may be taken whose results have not been handed out yet; the default is 10,000. It bounds the memory
// of the client, the tasks of the batch in Redis and, with [InOrder], the results that wait for an earlier one.
func Window(n int) Option { return func(o *options) { o.window = n } }

// WindowBytes bounds what those inputs and their waiting results may weigh, encoded; the default is 64 MiB. One input that weighs
// more than all of it goes alone. Results are counted as they come in, so the bound may be exceeded by those on their way.
func WindowBytes(n int64) Option { return func(o *options) { o.windowBytes = n } }

// Chunk sets how many inputs share an entry of the queue at most, up to 65,535; the default is 1000, and 1 gives each an entry of its own.
// Inputs that gather while the last send is on its way are packed, as many as handlers take some two milliseconds for and no more
// than 64 KiB or a sixteenth of the window; one that comes alone goes alone. Each keeps its own outcome, attempts and errors. With
// [stream.Raw], the inputs of a chunk share memory in its handlers, and so do its results here: copy what you keep for long.
func Chunk(n int) Option { return func(o *options) { o.chunk = n } }

// InOrder hands out the results in the order of the inputs instead of as they come in. A slow task then holds back the results of
// those after it, and, once the window is full of them, new inputs.
func InOrder() Option { return func(o *options) { o.ordered = true } }

// FailFast stops the batch at the first input that fails. It is [FailAfter] of 1.
func FailFast() Option { return FailAfter(1) }

// FailAfter stops the batch when n inputs have failed for good: no further input is taken, tasks that have not started are
// cancelled, the results that are in by then are still handed out (with [InOrder] in that order, but with gaps), and [Batch.Err]
// is a [*FailuresError]. Without it a batch goes on whatever fails.
func FailAfter(n int) Option {
	return func(o *options) {
		o.failures = n
		if n < 1 {
			o.failures = -1
		}
	}
}

// TaskOptions sets options of each task of the batch: [stream.MaxAttempts], [stream.Timeout], [stream.Header]. Those that say when
// or whether a task is stored do not fit a batch, which waits for all of its tasks: with [stream.After], [stream.At],
// [stream.Unique] or [stream.Replicas] it does not begin, and [Batch.Err] says so.
func TaskOptions(opts ...stream.Option) Option {
	return func(o *options) { o.task = append(o.task, opts...) }
}

func newOptions(opts []Option) (options, error) {
	o := options{limits: limits{window: defaultWindow, windowBytes: defaultWindowBytes, chunk: defaultChunk}}
	for _, opt := range opts {
		opt(&o)
	}
	var errs []error
	if o.window < 1 {
		errs = append(errs, fmt.Errorf("mapreduce: window of %d: at least 1 is needed", o.window))
	}
	if o.windowBytes < 1 {
		errs = append(errs, fmt.Errorf("mapreduce: window of %d bytes: at least 1 is needed", o.windowBytes))
	}
	if o.chunk < 1 || o.chunk > wire.MaxItems {
		errs = append(errs, fmt.Errorf("mapreduce: chunks of %d: 1 to %d are possible", o.chunk, wire.MaxItems))
	}
	if o.failures < 0 {
		errs = append(errs, errors.New("mapreduce: stop after less than one failure: at least 1 is needed"))
	}
	if o.durable != nil {
		errs = append(errs, o.durable.check())
	}
	return o, errors.Join(errs...)
}
