package mapreduce

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	defaultPartitions  = 16
	defaultSplit       = 100
	defaultSplitBytes  = 256 << 10
	defaultMemory      = 64 << 20
	defaultMaxAttempts = 4

	mostPartitions = 1024
	mostSplitBytes = 16 << 20
	leastMemory    = 1 << 10
	mostPairBytes  = 64 << 20 // a key with its value
)

// Job is a map/reduce job: the mapper is called for each input and emits pairs of key and value, the reducer for each key with all of
// its values. [Job.RunLocal] runs it in this process, [Job.Submit] on the workers that were given [Job.Handle]; both give the same answer
// as long as mapper, combiner and reducer depend on their arguments alone.
//
// Submitter and workers share the description. It must not be changed after its first use, and is then safe for concurrent use; the
// functions are called by many goroutines at a time.
type Job[In any, K cmp.Ordered, V, Out any] struct {
	Name  string // the functions on the wire are <name>.map, <name>.reduce and <name>.tend
	Queue string // default "default"

	// Map is called once for each input (again, when its task is repeated: only one of the executions counts). emit copies what it is given;
	// it may be called from several goroutines, but not after Map has returned. What it emits is of no account when Map fails.
	Map func(ctx context.Context, in In, emit func(K, V)) error
	// Reduce is called once for each key, keys in order, with its values: by the number of the input they come from, then as they were
	// emitted. values may be ranged over once, and need not be ranged over to the end. A key with its values need not fit into memory.
	Reduce func(ctx context.Context, key K, values iter.Seq[V]) (Out, error)
	// ReducePartition, if not nil, is called in the place of Reduce, once for all keys of a partition, in order. It may emit any keys in any
	// order. groups and the values of a group may be ranged over once; the values of a group end when the next one is asked for.
	ReducePartition func(ctx context.Context, groups iter.Seq2[K, iter.Seq[V]], emit func(K, Out)) error
	// Combine, if not nil, makes one value of some values of a key, before they leave the map task. It must not matter how often it is
	// called, and for which of the values.
	Combine func(ctx context.Context, key K, values iter.Seq[V]) (V, error)

	Partitions int   // shares of the keys, each reduced by one task; default 16, 1 to 1024
	Split      int   // most inputs of a map task; default 100
	SplitBytes int   // most bytes of their encoded inputs, but for one that is larger; default 256 KiB, at most 16 MiB
	Memory     int64 // bytes a task holds: map output before it is sent, reduce input before it goes to a temporary file; default 64 MiB, at least 1 KiB

	MaxAttempts int           // of a task, after which it has failed for good; default 4. Dead workers and an absent Redis cost none
	Timeout     time.Duration // of one attempt; default: the worker's

	InCodec    stream.Codec // of inputs; default [stream.JSON]
	ValueCodec stream.Codec // of values between mapper and reducer; default [stream.JSON]
	OutCodec   stream.Codec // of what the reducer returns; default [stream.JSON]

	headers map[string]string // of the tasks of the run that is submitted: what hooks want
}

// Pair is one result of a job: a key and what the reducer made of its values.
type Pair[K, Out any] struct {
	Key   K
	Value Out
}

// New makes a job with defaults; set the other fields before the first use. reducer may be nil when ReducePartition is set afterwards.
// What is wrong with a job is reported by its first use.
func New[In any, K cmp.Ordered, V, Out any](
	name string,
	mapper func(ctx context.Context, in In, emit func(K, V)) error,
	reducer func(ctx context.Context, key K, values iter.Seq[V]) (Out, error),
) *Job[In, K, V, Out] {
	return &Job[In, K, V, Out]{Name: name, Map: mapper, Reduce: reducer}
}

// The functions of a job are named for it.
const (
	suffixMap    = ".map"
	suffixReduce = ".reduce"
	suffixTend   = ".tend"
)

// filled is a copy of the job with its defaults filled in. All that is wrong with it is reported at once.
func (j *Job[In, K, V, Out]) filled() (*Job[In, K, V, Out], error) {
	full := *j
	full.Queue = cmp.Or(j.Queue, stream.DefaultQueue)
	full.Partitions = cmp.Or(j.Partitions, defaultPartitions)
	full.Split = cmp.Or(j.Split, defaultSplit)
	full.SplitBytes = cmp.Or(j.SplitBytes, defaultSplitBytes)
	full.Memory = cmp.Or(j.Memory, defaultMemory)
	full.MaxAttempts = cmp.Or(j.MaxAttempts, defaultMaxAttempts)
	var bad []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf(format, args...))
		}
	}
	report(j.Map != nil, "Map is nil: give New a mapper")
	report(j.Reduce != nil || j.ReducePartition != nil, "Reduce and ReducePartition are nil: give New a reducer, or set one of them")
	report(full.Partitions >= 1 && full.Partitions <= mostPartitions, "Partitions is %d, want 1 to %d (0 for %d)", j.Partitions, mostPartitions, defaultPartitions)
	report(full.Split >= 1, "Split is %d inputs, want 1 or more (0 for %d)", j.Split, defaultSplit)
	report(full.SplitBytes >= 1 && full.SplitBytes <= mostSplitBytes, "SplitBytes is %d, want 1 to %d (0 for %d)", j.SplitBytes, mostSplitBytes, defaultSplitBytes)
	report(full.Memory >= leastMemory, "Memory is %d bytes, want %d or more (0 for %d)", j.Memory, leastMemory, defaultMemory)
	report(full.MaxAttempts >= 1, "MaxAttempts is %d, want 1 or more (0 for %d)", j.MaxAttempts, defaultMaxAttempts)
	report(j.Timeout == 0 || j.Timeout >= time.Millisecond, "Timeout is %v, want 1ms or more (0 for the worker's)", j.Timeout)
	bad = append(bad, wire.CheckName("job", j.Name), wire.CheckName("function", j.Name+suffixReduce), wire.CheckName("queue", full.Queue))
	if err := errors.Join(bad...); err != nil {
		return nil, fmt.Errorf("mapreduce: job %s: %w", j.Name, err)
	}
	return &full, nil
}

// The codecs of a job, as functions that name what does not encode.
func (j *Job[In, K, V, Out]) in() stream.Func[In, struct{}] {
	return stream.Func[In, struct{}]{Name: j.Name + suffixMap, Codec: j.InCodec}
}

func (j *Job[In, K, V, Out]) value() stream.Func[V, V] { return stream.Func[V, V]{Codec: j.ValueCodec} }

// decodeValue decodes a value that lies in memory which is used again: bytes that a codec passes as they are have to be copied.
func (j *Job[In, K, V, Out]) decodeValue(data []byte) (V, error) {
	if _, ok := any(*new(V)).([]byte); ok && j.ValueCodec == stream.Raw {
		data = bytes.Clone(data)
	}
	return j.value().DecodeIn(data)
}

func (j *Job[In, K, V, Out]) out() stream.Func[Out, Out] {
	return stream.Func[Out, Out]{Codec: j.OutCodec}
}
