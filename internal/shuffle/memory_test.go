package shuffle_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/athoune/worker-machine/internal/shuffle"
)

// heap watches how much the program holds.
type heap struct {
	base, most uint64
	calls      int
}

func newHeap() *heap {
	h := &heap{}
	h.look()
	h.base, h.most = h.most, 0
	return h
}

// look collects garbage and notes what is left. It is slow.
func (h *heap) look() {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	h.most = max(h.most, stats.HeapAlloc)
}

// lookAt looks at every nth call.
func (h *heap) lookAt(n int) {
	if h.calls++; h.calls%n == 0 {
		h.look()
	}
}

// grown is by how much the program held more than at first, at most.
func (h *heap) grown() int64 { return int64(h.most) - int64(h.base) }

// TestCollectorStaysInItsMemory collects 20 times what fits.
func TestCollectorStaysInItsMemory(t *testing.T) { //nolint:paralleltest // it measures the heap of the program
	for name, c := range map[string]struct{ memory, size int }{"small pairs": {1 << 20, 8}, "large pairs": {4 << 20, 5000}} { //nolint:paralleltest // the same
		t.Run(name, func(t *testing.T) {
			memory := c.memory
			watch, spilled := newHeap(), 0
			collector := shuffle.NewCollector(shuffle.CollectorConfig{Partitions: 16, Memory: int64(memory), Spill: func(segments []shuffle.Segment) error {
				for _, s := range segments {
					spilled += len(s.Data)
				}
				watch.lookAt(10)
				return nil
			}})
			key, value := make([]byte, 8), make([]byte, c.size)
			for i, sum := 0, 0; sum < 20*memory; i++ {
				binary.BigEndian.PutUint64(key, uint64(i)*0x9e3779b97f4a7c15)
				if err := collector.Add(key, value); err != nil {
					t.Fatal(err)
				}
				sum += len(key) + len(value)
			}
			if err := collector.Close(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d bytes spilled, the heap grew by %d", spilled, watch.grown())
			if watch.grown() > int64(memory*11/10) || watch.grown() < int64(memory/4) {
				t.Errorf("the heap grew by %d, want some of %d", watch.grown(), memory)
			}
		})
	}
}

// TestMergerStaysInItsMemory merges 20 times what fits: of many keys, of one key, and of so many segments that there are hundreds of
// runs.
func TestMergerStaysInItsMemory(t *testing.T) { //nolint:paralleltest // it measures the heap of the program
	for name, c := range map[string]struct { //nolint:paralleltest // the same
		memory, segment, total int64
		keys                   uint64
		value                  int // bytes
	}{
		"many keys":                   {4 << 20, 256 << 10, 335 * 256 << 10, 1 << 40, 300},
		"a million values of one key": {2 << 20, 256 << 10, 48 << 20, 1, 36},
		"hundreds of runs":            {256 << 10, 64 << 10, 100 << 20, 1 << 40, 300},
	} {
		t.Run(name, func(t *testing.T) {
			watch := newHeap()
			m := shuffle.NewMerger(shuffle.MergerConfig{Memory: c.memory, Dir: t.TempDir()})
			defer m.Close()
			added := 0
			for range c.total / c.segment {
				segment, n := numbers(added, int(c.segment), c.keys, c.value)
				added += n
				if err := m.Add(segment); err != nil {
					t.Fatal(err)
				}
				watch.lookAt(13) // at other places than every spill
			}
			values := 0
			for key, seq := range m.Groups() {
				order := uint64(0)
				for value := range seq {
					number := binary.BigEndian.Uint64(value)
					if number < order {
						t.Fatalf("key %x: value %d comes after %d", key, number, order)
					}
					order = number
					if values++; values%(added/20) == 0 {
						watch.look()
					}
				}
			}
			if err := m.Err(); err != nil || values != added {
				t.Fatalf("%d values of %d, %v", values, added, err)
			}
			t.Logf("%d values, %d bytes to the file, the heap grew by %d", values, m.Spilled(), watch.grown())
			least, most := c.memory/2, c.memory*11/10+c.segment
			if watch.grown() < least || watch.grown() > most || m.Spilled() < c.total/2 {
				t.Errorf("the heap grew by %d with a memory of %d and segments of %d; %d bytes went to the file", watch.grown(), c.memory, c.segment, m.Spilled())
			}
		})
	}
}

// numbers makes a segment of that many bytes. Its values are numbers from first on; it says how many.
func numbers(first, bytes int, keys uint64, valueBytes int) (segment []byte, pairs int) {
	segment = make([]byte, 0, bytes)
	key, value := make([]byte, 8), make([]byte, valueBytes)
	for ; len(segment)+len(key)+len(value)+20 < bytes; pairs++ {
		binary.BigEndian.PutUint64(key, min(uint64(pairs)*1e9+uint64(first)%997, keys))
		binary.BigEndian.PutUint64(value, uint64(first+pairs))
		segment = shuffle.AppendPair(segment, key, value)
	}
	return segment, pairs
}

func TestAddAllocatesNothingForAPair(t *testing.T) { //nolint:paralleltest // it counts what the program allocates
	c := shuffle.NewCollector(shuffle.CollectorConfig{Partitions: 16, Spill: discard})
	i := 0
	buf := make([]byte, 0, 64)
	if allocs := testing.AllocsPerRun(100, func() {
		for range 1000 {
			i++
			buf = shuffle.AppendKey(buf[:0], i)
			if err := c.Add(buf, buf); err != nil {
				t.Fatal(err)
			}
		}
	}); allocs > 3 {
		t.Errorf("1000 pairs take %v allocations", allocs)
	}
}
