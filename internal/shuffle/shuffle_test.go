package shuffle_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/shuffle"
)

// TestShuffle takes random pairs through collectors, one after the other as map tasks are, and a merger for each partition, with
// little and with much memory, and holds the result against sorting.
func TestShuffle(t *testing.T) {
	t.Parallel()
	for round := range 60 {
		r, why := random(t)
		pairs := randomPairs(r, r.IntN(3000), 300)
		partitions := 1 + r.IntN(5)
		collectorMemory, mergerMemory := int64(1)<<(4+r.IntN(16)), int64(1)<<(4+r.IntN(16))
		why = fmt.Sprintf("round %d, %s, %d pairs, %d partitions, memory %d and %d", round, why, len(pairs), partitions, collectorMemory, mergerMemory)
		var mergers []*shuffle.Merger
		for range partitions {
			m := shuffle.NewMerger(shuffle.MergerConfig{Memory: mergerMemory, Dir: t.TempDir()})
			defer m.Close()
			mergers = append(mergers, m)
		}
		want := make([][]pair, partitions)
		for task := range slices.Chunk(pairs, 1+r.IntN(1000)) {
			c := shuffle.NewCollector(shuffle.CollectorConfig{
				Partitions: partitions, Memory: collectorMemory, SegmentBytes: 1 + r.IntN(2000),
				Spill: func(segments []shuffle.Segment) error {
					for _, s := range segments {
						if got := len(read(t, s.Data)); got != s.Pairs {
							t.Fatalf("%s: a segment says it has %d pairs and has %d", why, s.Pairs, got)
						}
						if err := mergers[s.Partition].Add(s.Data); err != nil {
							return err
						}
					}
					return nil
				},
			})
			for _, p := range task {
				key, value := []byte(p.key), []byte(p.value)
				if err := c.Add(key, value); err != nil {
					t.Fatalf("%s: %v", why, err)
				}
				clear(key) // it was copied
				clear(value)
				at := shuffle.Partition([]byte(p.key), partitions)
				want[at] = append(want[at], p)
			}
			if err := c.Close(); err != nil {
				t.Fatalf("%s: %v", why, err)
			}
		}
		for i, m := range mergers {
			same(t, flatten(t, m, why), oracle(want[i]), fmt.Sprintf("%s, partition %d", why, i))
		}
	}
}

func TestCombineMakesOneValueOfEachKeyInASpill(t *testing.T) {
	t.Parallel()
	r, why := random(t)
	pairs := randomPairs(r, 5000, 10)
	for _, memory := range []int64{4 << 10, 64 << 20} {
		m := shuffle.NewMerger(shuffle.MergerConfig{})
		defer m.Close()
		spills, sent := 0, 0
		c := shuffle.NewCollector(shuffle.CollectorConfig{
			Memory: memory,
			Combine: func(_ []byte, values iter.Seq[[]byte]) ([]byte, error) {
				return bytes.Join(slices.Collect(values), []byte(",")), nil
			},
			Spill: func(segments []shuffle.Segment) error {
				spills++
				for _, s := range segments {
					sent += s.Pairs
					if err := m.Add(s.Data); err != nil {
						return err
					}
				}
				return nil
			},
		})
		want := map[string][]string{}
		for _, p := range pairs {
			if err := c.Add([]byte(p.key), []byte(p.value)); err != nil {
				t.Fatal(err)
			}
			want[p.key] = append(want[p.key], p.value)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if memory == 64<<20 && (spills != 1 || sent != len(want)) {
			t.Errorf("%s: %d calls of Spill with %d pairs, want 1 with one for each of %d keys", why, spills, sent, len(want))
		}
		for key, values := range m.Groups() {
			var got []string
			for value := range values {
				got = append(got, string(value))
			}
			if want := strings.Join(want[string(key)], ","); strings.Join(got, ",") != want {
				t.Fatalf("%s, memory %d: key %q has %q, want %q", why, memory, key, got, want)
			}
		}
	}
}

func TestErrorsOfCombineAndSpillAreFinal(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, cfg := range map[string]shuffle.CollectorConfig{
		"combine": {
			Combine: func([]byte, iter.Seq[[]byte]) ([]byte, error) { return nil, boom },
			Spill:   discard,
		},
		"spill": {Spill: func([]shuffle.Segment) error { return boom }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.Memory = 1000
			c := shuffle.NewCollector(cfg)
			var err error
			for i := 0; err == nil; i++ {
				if err = c.Add([]byte("key"), []byte("value")); i > 1000 {
					t.Fatal("no error after 1000 pairs in 1000 bytes")
				}
			}
			for _, err := range []error{err, c.Add(nil, nil), c.Close(), c.Close()} {
				if !errors.Is(err, boom) || !strings.Contains(err.Error(), "shuffle: "+name) {
					t.Errorf("got %v, want shuffle: %s: %v", err, name, boom)
				}
			}
		})
	}
}

func TestCollectorRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]shuffle.CollectorConfig{
		"Partitions is -1":    {Partitions: -1, Spill: discard},
		"Partitions is 65537": {Partitions: 65537, Spill: discard},
		"Spill is nil":        {},
	} {
		c := shuffle.NewCollector(cfg)
		for _, err := range []error{c.Add(nil, nil), c.Close()} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	}
	c := shuffle.NewCollector(shuffle.CollectorConfig{Spill: discard})
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Errorf("close an empty collector, twice: %v", err)
	}
	if err := c.Add(nil, nil); err == nil {
		t.Error("a closed collector took a pair")
	}
}

func discard([]shuffle.Segment) error { return nil }

// TestSegmentsStayWhatTheyAre keeps all that Spill was given, and looks at it at the end.
func TestSegmentsStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	const memory = 64 << 10
	var calls [][]shuffle.Segment
	c := shuffle.NewCollector(shuffle.CollectorConfig{Partitions: 3, Memory: memory, Spill: func(segments []shuffle.Segment) error {
		calls = append(calls, segments)
		return nil
	}})
	var want, got [3][]pair
	for i := range 5000 {
		p := pair{"key", fmt.Sprint(i, strings.Repeat(" ", i%300))}
		p.key += p.value[len(p.value)-i%2:]
		if err := c.Add([]byte(p.key), []byte(p.value)); err != nil {
			t.Fatal(err)
		}
		at := shuffle.Partition([]byte(p.key), 3)
		want[at] = append(want[at], p)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, segments := range calls {
		bytes := 0
		for _, s := range segments {
			bytes += len(s.Data)
			got[s.Partition] = append(got[s.Partition], read(t, s.Data)...)
		}
		if bytes > memory/8 {
			t.Errorf("a call of Spill with %d bytes, want at most an eighth of %d", bytes, memory)
		}
	}
	for i := range want {
		same(t, oracle(got[i]), oracle(want[i]), fmt.Sprint("partition ", i))
	}
}

// TestEmptyPairAfterAFullBlock has a value that fills a block exactly, and a pair that needs no room in it.
func TestEmptyPairAfterAFullBlock(t *testing.T) {
	t.Parallel()
	var got []pair
	c := shuffle.NewCollector(shuffle.CollectorConfig{Spill: func(segments []shuffle.Segment) error {
		got = read(t, segments[0].Data)
		return nil
	}})
	want := []pair{{"", strings.Repeat("x", 64<<10)}, {"", ""}, {"", "y"}, {"", ""}}
	for _, p := range want {
		if err := c.Add([]byte(p.key), []byte(p.value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	same(t, got, want, "order of Add")
}

// TestMemoryGoesWhereItIsNeeded collects large values first, so that all memory is in blocks, then pairs that need index most.
func TestMemoryGoesWhereItIsNeeded(t *testing.T) {
	t.Parallel()
	const memory = 1 << 20
	calls := 0
	c := shuffle.NewCollector(shuffle.CollectorConfig{Memory: memory, Spill: func([]shuffle.Segment) error {
		calls++
		return nil
	}})
	add := func(n, size int) {
		t.Helper()
		for range n {
			if err := c.Add(nil, make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(200, 10_000)
	calls = 0
	add(100_000, 4)
	if calls > 40 {
		t.Errorf("400,000 bytes of small pairs took %d calls of Spill with a memory of %d", calls, memory)
	}
}
