package shuffle_test

import (
	"fmt"
	"testing"

	"github.com/athoune/worker-machine/internal/shuffle"
)

func BenchmarkCollector(b *testing.B) {
	for name, memory := range map[string]int64{"in memory": 256 << 20, "spilled": 4 << 20} {
		for kind, key := range keyKinds {
			b.Run(fmt.Sprintf("%s/%s", name, kind), func(b *testing.B) {
				keys := benchKeys(key)
				value := []byte("1")
				b.ReportAllocs()
				for b.Loop() {
					c := shuffle.NewCollector(shuffle.CollectorConfig{Partitions: 16, Memory: memory, Spill: discard})
					for _, key := range keys {
						if err := c.Add(key, value); err != nil {
							b.Fatal(err)
						}
					}
					if err := c.Close(); err != nil {
						b.Fatal(err)
					}
				}
				perPair(b)
			})
		}
	}
}

func BenchmarkMerger(b *testing.B) {
	for name, memory := range map[string]int64{"in memory": 256 << 20, "spilled": 1 << 20} {
		for kind, key := range keyKinds {
			b.Run(fmt.Sprintf("%s/%s", name, kind), func(b *testing.B) {
				var segments [][]byte
				c := shuffle.NewCollector(shuffle.CollectorConfig{Memory: 1 << 20, Spill: func(spilt []shuffle.Segment) error {
					for _, s := range spilt {
						segments = append(segments, s.Data)
					}
					return nil
				}})
				for _, key := range benchKeys(key) {
					if err := c.Add(key, []byte("1")); err != nil {
						b.Fatal(err)
					}
				}
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					mergeAll(b, segments, memory)
				}
				perPair(b)
			})
		}
	}
}

func mergeAll(b *testing.B, segments [][]byte, memory int64) {
	b.Helper()
	m := shuffle.NewMerger(shuffle.MergerConfig{Memory: memory, Dir: b.TempDir()})
	defer m.Close()
	for _, segment := range segments {
		if err := m.Add(segment); err != nil {
			b.Fatal(err)
		}
	}
	pairs := 0
	for _, values := range m.Groups() {
		for range values {
			pairs++
		}
	}
	if m.Err() != nil || pairs != benchPairs {
		b.Fatalf("%d pairs, %v", pairs, m.Err())
	}
}

const benchPairs = 1_000_000

var keyKinds = map[string]func(i int) []byte{
	"numbers": func(i int) []byte { return shuffle.AppendKey(nil, int64(uint64(i)*0x9e3779b97f4a7c15)) },
	"words":   func(i int) []byte { return fmt.Appendf(nil, "word-%d", i*7919%20_000) },
}

func benchKeys(key func(i int) []byte) [][]byte {
	keys := make([][]byte, benchPairs)
	for i := range keys {
		keys[i] = key(i)
	}
	return keys
}

func perPair(b *testing.B) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchPairs, "ns/pair")
}
