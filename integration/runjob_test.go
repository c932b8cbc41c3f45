package integration

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// runnable is a map/reduce job of any types with its inputs: what the processes of a test have to know of it.
type runnable interface {
	Handle(w *group.Worker)
	local(ctx context.Context) ([]string, error)
	submit(ctx context.Context, client *stream.Client, id string, slow time.Duration) error
	results(ctx context.Context, client *stream.Client, id string, most int) ([]string, error)
	progress(ctx context.Context, client *stream.Client, id string) (mapreduce.RunProgress, error)
}

// runOf is a runnable of some types.
type runOf[In any, K cmp.Ordered, V, Out any] struct {
	*mapreduce.Job[In, K, V, Out]
	inputs  iter.Seq[In]
	options []mapreduce.RunOption
}

func (r *runOf[In, K, V, Out]) local(ctx context.Context) ([]string, error) {
	pairs, err := r.RunLocal(ctx, r.inputs)
	texts := make([]string, len(pairs))
	for i, pair := range pairs {
		texts[i] = pairText(pair)
	}
	return texts, err
}

// submit pauses before each input.
func (r *runOf[In, K, V, Out]) submit(ctx context.Context, client *stream.Client, id string, slow time.Duration) error {
	_, err := r.Submit(ctx, client, func(yield func(In) bool) {
		for input := range r.inputs {
			if slow > 0 && pauseFor(ctx, slow) != nil || !yield(input) {
				return
			}
		}
	}, append(r.options, mapreduce.RunID(id))...)
	return err
}

// results leaves the loop after most of them, if that is not negative.
func (r *runOf[In, K, V, Out]) results(ctx context.Context, client *stream.Client, id string, most int) ([]string, error) {
	run, err := r.Resume(ctx, client, id)
	if err != nil {
		return nil, err
	}
	texts := []string{}
	for pair, err := range run.Results(ctx) {
		if err != nil || len(texts) == most {
			return texts, err
		}
		texts = append(texts, pairText(pair))
	}
	return texts, nil
}

func (r *runOf[In, K, V, Out]) progress(ctx context.Context, client *stream.Client, id string) (mapreduce.RunProgress, error) {
	run, err := r.Resume(ctx, client, id)
	if err != nil {
		return mapreduce.RunProgress{}, err
	}
	return run.Progress(ctx)
}

func pairText[K, Out any](pair mapreduce.Pair[K, Out]) string {
	if data, ok := any(pair.Value).([]byte); ok {
		return fmt.Sprintf("%v=%d bytes of sum %x", pair.Key, len(data), sumOf(data))
	}
	return fmt.Sprintf("%v=%v", pair.Key, pair.Value)
}

func sumOf(data []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(data) // never fails
	return h.Sum64()
}

// dice are the plan of a random job: the same in all processes that know its seed.
type dice struct {
	*rand.Rand
	seed   uint64
	inputs int
	slow   bool // pause in handlers, so that there is time for faults
	slower int  // that much longer
	flaky  bool // some first attempts fail
}

// stormJob is the random job of a seed. slow makes its handlers take a while, about as long for all jobs together.
func stormJob(seed uint64, slow bool) runnable {
	d := &dice{Rand: rand.New(rand.NewPCG(seed, 2)), seed: seed, slow: slow} //nolint:gosec // a test that can be run again
	d.flaky, d.slower = d.IntN(3) == 0, 1+d.IntN(2)
	switch n := d.IntN(20); {
	case n == 0: // no inputs
	case n <= 2:
		d.inputs = 1 + d.IntN(3)
	default:
		d.inputs = 20 + d.IntN(300)
	}
	shapes := []func(*dice) runnable{countShape, orderShape, largeShape, earlyShape, partitionShape, floatShape, silentShape, countShape, orderShape, largeShape}
	return shapes[d.IntN(len(shapes))](d)
}

// How long the tasks of a phase take together, in the slots of all workers, and the longest pause.
const (
	slowMaps    = 5 * time.Second
	slowReduces = 3 * time.Second
	slowest     = 300 * time.Millisecond
)

// mapping is at the beginning of each mapper: it takes its time, and some first attempts fail.
func (d *dice) mapping(ctx context.Context, input int) error {
	if d.slow {
		if err := pauseFor(ctx, min(slowMaps*time.Duration(d.slower)/time.Duration(d.inputs), slowest)); err != nil {
			return err
		}
	}
	if first := group.Meta(ctx).Attempt == 1; d.flaky && first && input%29 == 7 {
		if input%2 == 0 {
			panic("the first attempt panics")
		}
		return errors.New("the first attempt fails")
	}
	return nil
}

// reducing is likewise; keys is about how many there are.
func (d *dice) reducing(ctx context.Context, keys int) error {
	if !d.slow {
		return nil
	}
	return pauseFor(ctx, min(slowReduces*time.Duration(d.slower)/time.Duration(keys), slowest))
}

// of is the random numbers of an input.
func (d *dice) of(input int) *rand.Rand {
	return rand.New(rand.NewPCG(d.seed, uint64(input)+3)) //nolint:gosec // a test that can be run again
}

// finish draws what all jobs have, and adds the inputs.
func finish[K cmp.Ordered, V, Out any](d *dice, job *mapreduce.Job[int, K, V, Out]) runnable {
	job.Name, job.Queue = "storm", queue
	job.Partitions = 1 + d.IntN(32)
	job.Split = []int{1, 3, 10, 0}[d.IntN(4)]
	job.SplitBytes = []int{0, 1, 20}[d.IntN(3)]
	job.Memory = []int64{0, 1 << 10, 16 << 10}[d.IntN(3)]
	job.Timeout = time.Minute
	options := []mapreduce.RunOption{mapreduce.Expire(5 * time.Minute)}
	if d.IntN(2) == 0 {
		options = append(options, mapreduce.NoSpeculation())
	}
	return &runOf[int, K, V, Out]{Job: job, inputs: numbers(d.inputs), options: options}
}

// countShape counts words, of which few are frequent.
func countShape(d *dice) runnable {
	const words = 200
	job := mapreduce.New("", func(ctx context.Context, n int, emit func(string, int)) error {
		zipf := rand.NewZipf(d.of(n), 1.3, 1, words-1)
		for range n % 30 {
			emit(fmt.Sprintf("w%d", zipf.Uint64()), 1)
		}
		return d.mapping(ctx, n)
	}, func(ctx context.Context, _ string, values iter.Seq[int]) (int, error) {
		return total(values), d.reducing(ctx, words)
	})
	if d.IntN(2) == 0 {
		job.Combine = func(_ context.Context, _ string, values iter.Seq[int]) (int, error) { return total(values), nil }
	}
	return finish(d, job)
}

func total(values iter.Seq[int]) int {
	sum := 0
	for n := range values {
		sum += n
	}
	return sum
}

// orderShape has integers as keys, and a reducer that depends on the order of the values.
func orderShape(d *dice) runnable {
	const keys = 60
	return finish(d, mapreduce.New("", func(ctx context.Context, n int, emit func(int64, [2]int)) error {
		r := d.of(n)
		for i := range r.IntN(20) {
			emit((r.Int64N(keys)-keys/2)*r.Int64N(3)*math.MaxInt64/keys, [2]int{n, i})
		}
		return d.mapping(ctx, n)
	}, func(ctx context.Context, _ int64, values iter.Seq[[2]int]) (string, error) {
		h, n := fnv.New64a(), 0
		for v := range values {
			fmt.Fprint(h, v)
			n++
		}
		return fmt.Sprintf("%d values of order %x", n, h.Sum64()), d.reducing(ctx, keys)
	}))
}

// largeShape has few values, some of them large, raw, and as large results.
func largeShape(d *dice) runnable {
	const keys, large = 12, 200 << 10
	d.inputs = min(d.inputs, 40)
	job := mapreduce.New("", func(ctx context.Context, n int, emit func(string, []byte)) error {
		r := d.of(n)
		for range r.IntN(4) {
			value := binary.AppendUvarint(nil, r.Uint64())
			emit(fmt.Sprint("key ", r.IntN(keys)), append(value, make([]byte, r.IntN(large))...))
		}
		return d.mapping(ctx, n)
	}, func(ctx context.Context, _ string, values iter.Seq[[]byte]) ([]byte, error) {
		var all []byte
		for v := range values {
			all = append(all, v...)
		}
		return all, d.reducing(ctx, keys)
	})
	job.ValueCodec, job.OutCodec = stream.Raw, stream.Raw
	return finish(d, job)
}

// earlyShape reads two values of each key only.
func earlyShape(d *dice) runnable {
	const keys = 100
	return finish(d, mapreduce.New("", func(ctx context.Context, n int, emit func(uint8, string)) error {
		r := d.of(n)
		for range 10 {
			emit(uint8(r.IntN(keys)), fmt.Sprint(n, "/", r.IntN(1000))) //nolint:gosec // below 100
		}
		return d.mapping(ctx, n)
	}, func(ctx context.Context, _ uint8, values iter.Seq[string]) ([]string, error) {
		var two []string
		for v := range values {
			if two = append(two, v); len(two) == 2 {
				break
			}
		}
		return two, d.reducing(ctx, keys)
	}))
}

// named is a key of a named type.
type named string

// partitionShape sees whole partitions, and emits keys of its own in another order.
func partitionShape(d *dice) runnable {
	const keys = 80
	job := mapreduce.New[int, named, int, string]("", func(ctx context.Context, n int, emit func(named, int)) error {
		r := d.of(n)
		for range r.IntN(12) {
			emit(named(fmt.Sprintf("k%02d", r.IntN(keys))), r.IntN(1000))
		}
		return d.mapping(ctx, n)
	}, nil)
	job.ReducePartition = func(ctx context.Context, groups iter.Seq2[named, iter.Seq[int]], emit func(named, string)) error {
		for key, values := range groups {
			backward := []byte(key)
			slices.Reverse(backward)
			sum := total(values)
			emit(named(backward), fmt.Sprint("of ", key, " ", sum))
			if sum%3 == 0 {
				emit("all", fmt.Sprint(key))
			}
			if err := d.reducing(ctx, keys); err != nil {
				return err
			}
		}
		return nil
	}
	return finish(d, job)
}

// mean is a result with fields.
type mean struct {
	N   int
	Sum float64 // depends on the order
}

// floatShape has floats as keys and values.
func floatShape(d *dice) runnable {
	const keys = 50
	return finish(d, mapreduce.New("", func(ctx context.Context, n int, emit func(float64, float64)) error {
		r := d.of(n)
		for range r.IntN(20) {
			emit(float64(r.IntN(keys)-keys/2)/7, r.NormFloat64()*1e6)
		}
		return d.mapping(ctx, n)
	}, func(ctx context.Context, _ float64, values iter.Seq[float64]) (mean, error) {
		var m mean
		for v := range values {
			m.N++
			m.Sum += v
		}
		return m, d.reducing(ctx, keys)
	}))
}

// silentShape emits nothing, or next to nothing.
func silentShape(d *dice) runnable {
	return finish(d, mapreduce.New("", func(ctx context.Context, n int, emit func(string, bool)) error {
		if d.seed%2 == 0 && n == 11 {
			emit("", true)
		}
		return d.mapping(ctx, n)
	}, func(ctx context.Context, _ string, values iter.Seq[bool]) (int, error) {
		return len(slices.Collect(values)), d.reducing(ctx, 1)
	}))
}
