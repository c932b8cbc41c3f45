package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/athoune/worker-machine/mapreduce"
)

// callAndMap is the process of a caller of ours that waits for results: alone, from many goroutines, or as a map.
func callAndMap(ctx context.Context, j job, v *voice) error {
	q, err := openOurs(ctx, j.Address)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	o := q.(*ours)                                                                         //nolint:forcetypeassert // it was made one line above
	if _, err := echo.Call(ctx, o.client, newPayload(j.Size, 0, time.Now())); err != nil { // connects
		return err
	}
	if j.Action == "map" {
		return o.mapAll(ctx, j, v)
	}
	return o.callAll(ctx, j, v)
}

func (o *ours) mapAll(ctx context.Context, j job, v *voice) error {
	inputs := func(yield func([]byte) bool) {
		for i := range j.Tasks {
			if !yield(newPayload(j.Size, uint64(i+1), time.Now())) {
				return
			}
		}
	}
	began, cpu, seen, wrong := time.Now(), ownCPU(), make([]bool, j.Tasks), int64(0)
	batch := mapreduce.Map(ctx, o.client, echo, inputs)
	for r := range batch.Results() {
		index, _, ok := readPayload(r.Value)
		if r.Err != nil || !ok || index != uint64(r.Index)+1 || seen[r.Index] {
			wrong++
			continue
		}
		seen[r.Index] = true
	}
	if err := batch.Err(); err != nil {
		return err
	}
	count := int64(0)
	for _, got := range seen {
		if got {
			count++
		}
	}
	v.say(report{Event: "done", Count: count, Twice: wrong, Seconds: time.Since(began).Seconds(), CPU: ownCPU() - cpu})
	return nil
}

func (o *ours) callAll(ctx context.Context, j job, v *voice) error {
	times := make([][]float64, j.Callers)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range j.Callers {
		group.Go(func() error {
			for n := uint64(1); time.Since(began) < j.Time; n++ {
				sent := time.Now()
				index := n*uint64(j.Callers) + uint64(i)
				out, err := echo.Call(ctx, o.client, newPayload(j.Size, index, sent))
				if err != nil {
					return err
				}
				if got, _, _ := readPayload(out); got != index {
					return fmt.Errorf("call %d was answered with the result of %d", index, got)
				}
				times[i] = append(times[i], time.Since(sent).Seconds()*1000)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	all := []float64{}
	for _, some := range times {
		all = append(all, some...)
	}
	took := time.Since(began).Seconds()
	v.say(report{
		Event: "done", Count: int64(len(all)), Seconds: took, Times: []float64{quantile(all, 0.5), quantile(all, 0.99)},
	})
	return nil
}
