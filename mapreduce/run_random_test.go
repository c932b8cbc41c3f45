package mapreduce_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// randomJob makes a job of a seed: its answer tells the order of the values, where it has no combiner.
func randomJob(seed uint64) (*mapreduce.Job[int, string, string, []string], []int) {
	r := rand.New(rand.NewPCG(seed, 1))
	keys := 1 + r.IntN(200)
	job := mapreduce.New(fmt.Sprintf("random%d", seed),
		func(_ context.Context, in int, emit func(string, string)) error {
			own := rand.New(rand.NewPCG(uint64(in), seed))
			for i := range own.IntN(20) {
				emit(fmt.Sprint("key", own.IntN(keys)), fmt.Sprintf("%d.%d%s", in, i, strings.Repeat("x", own.IntN(50))))
			}
			return nil
		},
		func(_ context.Context, _ string, values iter.Seq[string]) ([]string, error) {
			var all []string
			for v := range values {
				if all = append(all, v); len(all) == 30 {
					break
				}
			}
			return all, nil
		})
	job.Queue, job.Partitions, job.Split, job.SplitBytes = "numbers", 1+r.IntN(12), 1+r.IntN(20), 1+r.IntN(300)
	job.Memory = int64(1<<10 + r.IntN(1<<14))
	if r.IntN(3) == 0 {
		job.Combine = func(_ context.Context, _ string, values iter.Seq[string]) (string, error) {
			return strings.Join(slices.Collect(values), "+"), nil
		}
	}
	if r.IntN(3) == 0 {
		job.ReducePartition = func(_ context.Context, groups iter.Seq2[string, iter.Seq[string]], emit func(string, []string)) error {
			for key, values := range groups {
				first := slices.Collect(values)
				emit(key, first)
				emit("by size "+fmt.Sprint(len(first)), []string{key}) // in no order
			}
			return nil
		}
	}
	inputs := make([]int, r.IntN(300))
	for i := range inputs {
		inputs[i] = r.IntN(1000)
	}
	return job, inputs
}

// TestRandomRunsAreTheLocalAnswer compares runs of random jobs, all at the same time on two workers of which one is replaced meanwhile, with
// RunLocal.
func TestRandomRunsAreTheLocalAnswer(t *testing.T) {
	t.Parallel()
	const jobs = 16
	server := redistest.Start(t)
	client := newClient(t, server, stream.ClientConfig{})
	base := uint64(time.Now().UnixNano()) & 0xffffff
	var all []handled
	for i := range uint64(jobs) {
		job, _ := randomJob(base + i)
		all = append(all, job)
	}
	stop := runWorker(t, server.Client(t), all...)
	runWorker(t, server.Client(t), all...)
	t.Run("jobs", func(t *testing.T) {
		for i := range uint64(jobs) {
			t.Run(fmt.Sprint("seed ", base+i), func(t *testing.T) {
				t.Parallel()
				job, inputs := randomJob(base + i)
				want, err := job.RunLocal(t.Context(), slices.Values(inputs))
				must(t, err)
				run, err := job.Submit(t.Context(), client, slices.Values(inputs))
				must(t, err)
				if i == jobs/2 {
					stop()
				}
				got := collect(t, run)
				if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
					t.Errorf("seed %d: got %v, want %v", base+i, got, want)
				}
			})
		}
	})
	wantNothingLeft(t, server.Client(t))
}
