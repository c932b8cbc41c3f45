package mapreduce

import (
	"encoding/binary"
	"errors"

	"github.com/athoune/worker-machine/internal/wire"
)

// split is the inputs of one map task. Its bounds depend on the job and its inputs alone, so that a run gives the same answer however
// it goes.
type split struct {
	number int
	first  int // number of its first input
	inputs int
	packed []byte
}

// splitter cuts encoded inputs into splits.
type splitter struct {
	most, mostBytes int
	current         split
}

// newSplitter continues behind the splits and inputs that were cut before.
func newSplitter(most, mostBytes, splits, inputs int) *splitter {
	return &splitter{most: most, mostBytes: mostBytes, current: split{number: splits, first: inputs}}
}

// add takes the next input, and returns the split that it ends, if any.
func (s *splitter) add(input []byte) (done split, ok bool) {
	if c := &s.current; c.inputs > 0 && (c.inputs >= s.most || len(c.packed)+len(input) > s.mostBytes) {
		done, ok = s.flush()
	}
	s.current.packed = wire.AppendItem(s.current.packed, input)
	s.current.inputs++
	return done, ok
}

// flush returns what is left.
func (s *splitter) flush() (done split, ok bool) {
	done = s.current
	s.current = split{number: done.number + 1, first: done.first + done.inputs}
	return done, done.inputs > 0
}

// errPacked is of a map task whose payload is no inputs.
var errPacked = errors.New("mapreduce: the payload of a map task is not packed as its inputs are")

// unpack calls do with each input of a map task. The input is a part of packed.
func unpack(packed []byte, do func(i int, input []byte) error) error {
	for i := 0; len(packed) > 0; i++ {
		n, size := binary.Uvarint(packed)
		if size <= 0 || n > uint64(len(packed)-size) {
			return errPacked
		}
		end := size + int(n) //nolint:gosec // not above the length
		if err := do(i, packed[size:end:end]); err != nil {
			return err
		}
		packed = packed[end:]
	}
	return nil
}
