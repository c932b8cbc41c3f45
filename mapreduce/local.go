package mapreduce

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/athoune/worker-machine/internal/shuffle"
)

// RunLocal runs the job in this process, one task after the other, without Redis: the answer that a run on workers has to equal, for
// tests and for jobs that are small. It holds all that lies between mappers and reducers in memory, and all results. It stops at the
// first error, without another attempt, and when ctx is done.
func (j *Job[In, K, V, Out]) RunLocal(ctx context.Context, inputs iter.Seq[In]) ([]Pair[K, Out], error) {
	full, err := j.filled()
	if err != nil {
		return nil, err
	}
	l := &local[In, K, V, Out]{job: full, segments: make([][][]byte, full.Partitions)}
	if err = l.mapAll(ctx, inputs); err == nil {
		err = l.reduceAll(ctx)
	}
	var results []Pair[K, Out]
	if err == nil {
		results, err = l.results()
	}
	if err != nil {
		return nil, fmt.Errorf("mapreduce: run %s locally: %w", j.Name, err)
	}
	return results, nil
}

// local is one run of RunLocal.
type local[In any, K cmp.Ordered, V, Out any] struct {
	job      *Job[In, K, V, Out]
	segments [][][]byte               // by partition, in the order of the splits
	sources  []func() ([]byte, error) // sorted sequences of output
}

func (l *local[In, K, V, Out]) mapAll(ctx context.Context, inputs iter.Seq[In]) error {
	cutter, in := newSplitter(l.job.Split, l.job.SplitBytes, 0, 0), l.job.in()
	for input := range inputs {
		data, err := in.EncodeIn(input)
		if err != nil {
			return err
		}
		if done, ok := cutter.add(data); ok {
			if err = l.mapOne(ctx, done); err != nil {
				return err
			}
		}
	}
	if done, ok := cutter.flush(); ok {
		return l.mapOne(ctx, done)
	}
	return ctx.Err()
}

func (l *local[In, K, V, Out]) mapOne(ctx context.Context, s split) error {
	return l.job.mapSplit(ctx, s.packed, s.first, func(segments []shuffle.Segment) error {
		for _, segment := range segments {
			l.segments[segment.Partition] = append(l.segments[segment.Partition], segment.Data)
		}
		return nil
	})
}

func (l *local[In, K, V, Out]) reduceAll(ctx context.Context) error {
	for p := range l.segments {
		if err := l.reduceOne(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (l *local[In, K, V, Out]) reduceOne(ctx context.Context, partition int) (err error) {
	merger := shuffle.NewMerger(shuffle.MergerConfig{Memory: l.job.Memory})
	defer func() { err = errors.Join(err, merger.Close()) }()
	for _, segment := range l.segments[partition] {
		if err = merger.Add(segment); err != nil {
			return err
		}
	}
	l.segments[partition] = nil // the merger's now
	var sequence []*[][]byte
	err = l.job.reduceAll(ctx, merger, func(fresh bool, pieces [][]byte, _ int) error {
		if fresh {
			sequence = append(sequence, new([][]byte))
		}
		last := sequence[len(sequence)-1]
		*last = append(*last, pieces...)
		return nil
	})
	for _, pieces := range sequence {
		l.sources = append(l.sources, func() ([]byte, error) {
			if len(*pieces) == 0 {
				return nil, nil
			}
			piece := (*pieces)[0]
			*pieces = (*pieces)[1:]
			return piece, nil
		})
	}
	return err
}

func (l *local[In, K, V, Out]) results() ([]Pair[K, Out], error) {
	results := []Pair[K, Out]{}
	for pair, err := range l.job.merged(l.sources) {
		if err != nil {
			return nil, err
		}
		results = append(results, pair)
	}
	return results, nil
}

// merged is the results of sorted sequences of output, ordered by key.
func (j *Job[In, K, V, Out]) merged(sources []func() ([]byte, error)) iter.Seq2[Pair[K, Out], error] {
	return mergeResults[K](sources, j.out().DecodeOut)
}

// mergeResults merges sorted sequences of output. An error comes last.
func mergeResults[K cmp.Ordered, Out any](sources []func() ([]byte, error), decode func([]byte) (Out, error)) iter.Seq2[Pair[K, Out], error] {
	return func(yield func(Pair[K, Out], error) bool) {
		for pair, err := range shuffle.MergeSorted(sources) {
			var result Pair[K, Out]
			if err == nil {
				result.Key, err = shuffle.DecodeKey[K](pair.Key)
			}
			if err == nil {
				result.Value, err = decode(bytes.Clone(pair.Value)) // bytes under the raw codec are kept
			}
			if !yield(result, err) || err != nil {
				return
			}
		}
	}
}
