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

// reduceAll calls the reducer for all groups of a partition, and hands what it makes of them to write: pieces of sorted sequences, of which
// fresh begins another one.
func (j *Job[In, K, V, Out]) reduceAll(ctx context.Context, merger *shuffle.Merger, write func(fresh bool, pieces [][]byte, pairs int) error) error {
	sorted := &sequences{write: write}
	out := shuffle.NewCollector(shuffle.CollectorConfig{Partitions: 1, Memory: j.Memory, Spill: sorted.spill})
	e := &emitter[K, Out]{encode: j.out().EncodeIn, asKey: shuffle.AppendKey[K], add: out.Add}
	defer e.end()
	g := &groups[K, V]{ctx: ctx, merger: merger, decode: j.decodeValue, asKey: shuffle.DecodeKey[K]}
	var err error
	if j.ReducePartition != nil {
		err = j.ReducePartition(ctx, g.all, e.emit)
	} else {
		err = j.reduceEach(ctx, g, e)
	}
	for _, bad := range []error{g.err, merger.Err(), e.failure()} { // what went wrong first, and what the reducer made of it
		if bad != nil {
			return bad
		}
	}
	if err != nil {
		return err
	}
	e.end()
	return out.Close()
}

func (j *Job[In, K, V, Out]) reduceEach(ctx context.Context, g *groups[K, V], e *emitter[K, Out]) error {
	for key, values := range g.all {
		out, err := j.Reduce(ctx, key, values)
		if err != nil {
			return fmt.Errorf("reduce %v: %w", key, err)
		}
		if g.err == nil {
			e.emit(key, out)
		}
		if err := e.failure(); err != nil {
			return err
		}
	}
	return nil
}

// groups is the keys of a partition with their values.
type groups[K cmp.Ordered, V any] struct {
	ctx    context.Context // of the reducer: it ends the groups
	merger *shuffle.Merger
	decode func([]byte) (V, error)
	asKey  func([]byte) (K, error)
	err    error
}

func (g *groups[K, V]) all(yield func(K, iter.Seq[V]) bool) {
	for data, values := range g.merger.Groups() {
		if g.err = g.ctx.Err(); g.err != nil {
			return
		}
		key, err := g.asKey(data)
		if err != nil {
			g.err = err
			return
		}
		var bad error
		more := yield(key, decoded(values, g.decode, &bad))
		if bad != nil {
			g.err = fmt.Errorf("values of %v: %w", key, bad)
			return
		}
		if !more {
			return
		}
	}
}

// sequences puts the spills of a collector one after the other: as long as keys do not descend they are one sorted sequence.
type sequences struct {
	write func(fresh bool, pieces [][]byte, pairs int) error
	last  []byte // the highest key of the sequence
	begun bool
}

func (s *sequences) spill(segments []shuffle.Segment) error {
	var pieces [][]byte
	fresh, pairs := !s.begun, 0
	for i, segment := range segments {
		first, last, err := bounds(segment.Data)
		if err != nil {
			return err
		}
		if i == 0 && s.begun && bytes.Compare(first, s.last) < 0 {
			fresh = true
		}
		pieces, s.last, s.begun = append(pieces, segment.Data), last, true
		pairs += segment.Pairs
	}
	if len(pieces) == 0 {
		return nil
	}
	return s.write(fresh, pieces, pairs)
}

// bounds is the first and the last key of a piece.
func bounds(piece []byte) (first, last []byte, err error) {
	pairs, err := shuffle.Pairs(piece)
	if err != nil {
		return nil, nil, err
	}
	begun := false
	for key := range pairs {
		if !begun {
			first, begun = key, true
		}
		last = key
	}
	if !begun {
		return nil, nil, errors.New("mapreduce: a piece without a pair")
	}
	return first, last, nil
}
