package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// callAndMap is the process of one who waits for results: alone, from many goroutines, or of a map.
func callAndMap(ctx context.Context, j job, v *voice) error {
	return withQueue(ctx, j, func(q queue) error {
		switch j.Action {
		case "map":
			return mapAll(ctx, q, j, v)
		case "mapreduce":
			return mapReduce(ctx, q, j, v)
		default:
			return callAll(ctx, q, j, v)
		}
	})
}

// marks tells numbers apart that come once from those that come again; numbers start at 0.
type marks struct {
	seen  []bool
	count int64
	wrong int64
}

func (m *marks) mark(payload []byte) {
	index, _, ok := readPayload(payload)
	switch {
	case !ok || index > 1<<32:
		m.wrong++
		return
	case index >= uint64(len(m.seen)):
		m.seen = append(m.seen, make([]bool, index+1+uint64(len(m.seen)))...)
	}
	if m.seen[index] {
		m.wrong++
		return
	}
	m.seen[index] = true
	m.count++
}

// mapAll maps inputs for some time. It reports when the last input was taken, and the first and the last result came.
func mapAll(ctx context.Context, q queue, j job, v *voice) error {
	m, ok := q.(mapper)
	if !ok {
		return errors.New("has no map")
	}
	var seen marks
	one := slices.Values([][]byte{newPayload(j.Size, 0, time.Now())})
	if err := m.Map(ctx, one, seen.mark); err != nil { // connects
		return err
	}
	watch, sent := startWatch(), atomic.Int64{}
	var taken atomic.Int64 // ns
	inputs := func(yield func([]byte) bool) {
		for i := uint64(1); time.Since(watch.began) < j.Time; i++ {
			if !yield(newPayload(j.Size, i, time.Time{})) {
				return
			}
			sent.Add(1)
		}
		taken.Store(int64(time.Since(watch.began)))
	}
	first := time.Duration(0)
	err := m.Map(ctx, inputs, func(payload []byte) {
		if first == 0 {
			first = time.Since(watch.began)
		}
		seen.mark(payload)
	})
	took := time.Since(watch.began)
	v.say(report{
		Event: "done", Count: seen.count - 1, Left: sent.Load() - seen.count + 1, Twice: seen.wrong, Seconds: took.Seconds(), CPU: ownCPU() - watch.cpu,
		Times: []float64{time.Duration(taken.Load()).Seconds(), (took - first).Seconds()},
	})
	return err
}

func callAll(ctx context.Context, q queue, j job, v *voice) error {
	c, ok := q.(caller)
	if !ok {
		return errors.New("has no calls")
	}
	times := make([][]float64, j.Callers)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range j.Callers {
		group.Go(func() error {
			for n := uint64(0); n < 2 || time.Since(began) < j.Time; n++ {
				sent := time.Now()
				index := n*uint64(j.Callers) + uint64(i)
				out, err := c.Call(ctx, i, newPayload(j.Size, index, sent))
				if err != nil {
					return err
				}
				if got, _, _ := readPayload(out); got != index {
					return fmt.Errorf("call %d was answered with the result of %d", index, got)
				}
				if n > 0 { // the first one connects
					times[i] = append(times[i], time.Since(sent).Seconds()*1000)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	all := slices.Concat(times...)
	v.say(report{
		Event: "done", Count: int64(len(all)), Seconds: time.Since(began).Seconds(), Times: []float64{quantile(all, 0.5), quantile(all, 0.99)},
	})
	return nil
}

// words counts the words of a text. It is the function of the row mapreduce.
var words = stream.Func[string, map[string]int]{Name: "words", Queue: queueName}

func countWords(_ context.Context, text string) (map[string]int, error) {
	counts := map[string]int{}
	for word := range strings.FieldsSeq(text) {
		counts[word]++
	}
	return counts, nil
}

func addWords(sum, counts map[string]int) map[string]int {
	for word, n := range counts {
		sum[word] += n
	}
	return sum
}

// mapReduce counts the words of texts with Map and Reduce, and then with the same function and the same fold in this process alone. Both have
// to find the same.
func mapReduce(ctx context.Context, q queue, j job, v *voice) error {
	o, ok := q.(*ours)
	if !ok {
		return errors.New("has no reduce")
	}
	watch := startWatch()
	batch := mapreduce.Map(ctx, o.client, words, texts(j.Tasks, j.Size))
	far, err := mapreduce.Reduce(ctx, batch, map[string]int{}, func(sum map[string]int, r mapreduce.Result[string, map[string]int]) (map[string]int, error) {
		return addWords(sum, r.Value), r.Err
	})
	if err != nil {
		return err
	}
	took := time.Since(watch.began).Seconds()
	watch = startWatch()
	near := map[string]int{}
	for text := range texts(j.Tasks, j.Size) {
		counts, err := countWords(ctx, text)
		if err != nil {
			return err
		}
		near = addWords(near, counts)
	}
	if !maps.Equal(far, near) {
		return errors.New("map and reduce have found other words than a loop")
	}
	v.say(report{Event: "done", Count: int64(j.Tasks), Seconds: took, Times: []float64{time.Since(watch.began).Seconds()}})
	return nil
}

// texts are n texts of a size, each another one, of 500 different words.
func texts(n, size int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range n {
			var text strings.Builder
			for j := 0; text.Len() < size; j++ {
				fmt.Fprintf(&text, "word%d ", (i*31+j*j*7)%500)
			}
			if !yield(text.String()) {
				return
			}
		}
	}
}
