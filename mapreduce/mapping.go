package mapreduce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/athoune/worker-machine/internal/shuffle"
)

// errTooLarge is of a pair that is emitted and is above what a segment may hold.
var errTooLarge = errors.New("the pair is too large: keep big data elsewhere and pass where it is")

// mapSplit calls the mapper for the inputs of a split, and spills what it emits as sorted segments. It ends with the error of the
// first input that fails.
func (j *Job[In, K, V, Out]) mapSplit(ctx context.Context, packed []byte, first int, spill func([]shuffle.Segment) error) error {
	cfg := shuffle.CollectorConfig{Partitions: j.Partitions, Memory: j.Memory, Spill: spill}
	if j.Combine != nil {
		cfg.Combine = j.combiner(ctx)
	}
	collector := shuffle.NewCollector(cfg)
	e := &emitter[K, V]{encode: j.value().EncodeIn, asKey: shuffle.AppendKey[K], add: collector.Add}
	defer e.end()
	in := j.in()
	err := unpack(packed, func(i int, data []byte) error {
		input, err := in.DecodeIn(data)
		if err == nil {
			err = j.Map(ctx, input, e.emit)
		}
		if err == nil {
			err = e.failure()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("input %d: %w", first+i, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	e.end()
	return collector.Close()
}

// emitter is what a mapper or reducer emits with. After an error, and after its end, it takes nothing more.
type emitter[K cmp.Ordered, V any] struct {
	encode func(V) ([]byte, error)
	asKey  func(b []byte, key K) []byte
	add    func(key, value []byte) error

	mu    sync.Mutex
	ended bool
	err   error
	key   []byte // reused
}

func (e *emitter[K, V]) emit(key K, value V) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended || e.err != nil {
		return
	}
	data, err := e.encode(value)
	if err != nil {
		e.err = fmt.Errorf("emit %v: %w", key, err)
		return
	}
	e.key = e.asKey(e.key[:0], key)
	if size := len(e.key) + len(data); size > mostPairBytes {
		e.err = fmt.Errorf("emit a key of %d bytes with a value of %d: %w (at most %d)", len(e.key), len(data), errTooLarge, mostPairBytes)
		return
	}
	e.err = e.add(e.key, data)
}

func (e *emitter[K, V]) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// end makes calls of emit do nothing, should a mapper have left a goroutine behind.
func (e *emitter[K, V]) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
}

// combiner is the combiner of the job for encoded pairs.
func (j *Job[In, K, V, Out]) combiner(ctx context.Context) func([]byte, iter.Seq[[]byte]) ([]byte, error) {
	codec := j.value()
	return func(key []byte, values iter.Seq[[]byte]) ([]byte, error) {
		k, err := shuffle.DecodeKey[K](key)
		if err != nil {
			return nil, err
		}
		var bad error
		v, err := j.Combine(ctx, k, decoded(values, j.decodeValue, &bad))
		if err = errors.Join(bad, err); err != nil {
			return nil, fmt.Errorf("combine the values of %v: %w", k, err)
		}
		return codec.EncodeIn(v)
	}
}

// decoded yields values as they are decoded, until one does not decode: then bad says why.
func decoded[V any](values iter.Seq[[]byte], decode func([]byte) (V, error), bad *error) iter.Seq[V] {
	return func(yield func(V) bool) {
		for data := range values {
			v, err := decode(data)
			if err != nil {
				*bad = err
				return
			}
			if !yield(v) {
				return
			}
		}
	}
}
