package mapreduce_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/mapreduce"
)

// wordCount is the job of most tests of runs.
func wordCount(change ...func(*mapreduce.Job[string, string, int, int])) *mapreduce.Job[string, string, int, int] {
	job := mapreduce.New("words",
		func(_ context.Context, line string, emit func(string, int)) error {
			for word := range strings.FieldsSeq(line) {
				emit(word, 1)
			}
			return nil
		},
		func(_ context.Context, _ string, counts iter.Seq[int]) (int, error) { return total(counts), nil })
	job.Queue, job.Partitions, job.Split = "numbers", 4, 3
	for _, f := range change {
		f(job)
	}
	return job
}

func total(values iter.Seq[int]) (n int) {
	for v := range values {
		n += v
	}
	return n
}

type wordPair = mapreduce.Pair[string, int]

func TestRunLocalCountsWords(t *testing.T) {
	t.Parallel()
	got, err := wordCount().RunLocal(t.Context(), slices.Values([]string{"b a", "a c a", "", "b", "d a"}))
	want := []wordPair{{"a", 4}, {"b", 2}, {"c", 1}, {"d", 1}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestAJobReportsAllThatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	bad := &mapreduce.Job[string, string, int, int]{Name: "no name", Queue: "{}", Partitions: 2000, Split: -1, SplitBytes: -1, Memory: 1, MaxAttempts: -1, Timeout: 1}
	_, err := bad.RunLocal(t.Context(), slices.Values([]string{}))
	for _, want := range []string{"Map", "Reduce", "Partitions", "Split ", "SplitBytes", "Memory", "MaxAttempts", "Timeout", "job name", "queue name"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
}
