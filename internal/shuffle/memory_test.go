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
	for name, c := range map[string]struct{ memory, size int }{"small pairs": {1 << 20, 8}, "large pairs": {4 << 20, 5000}} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // the same
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
	for name, c := range map[string]struct {
		memory, segment, total int64
		keys                   uint64
	}{
		"many keys":        {4 << 20, 256 << 10, 80 << 20, 1 << 40},
		"one key":          {4 << 20, 256 << 10, 80 << 20, 1},
		"hundreds of runs": {256 << 10, 64 << 10, 100 << 20, 1 << 40},
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // the same
			watch := newHeap()
			m := shuffle.NewMerger(shuffle.MergerConfig{Memory: c.memory, Dir: t.TempDir()})
			defer m.Close()
			added := fill(t, m, c.segment, c.total, c.keys, watch)
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

// fill adds segments of total bytes. Values are numbers that ascend. It returns how many.
func fill(t *testing.T, m *shuffle.Merger, segment, total int64, keys uint64, watch *heap) int {
	t.Helper()
	values := 0
	for sum := int64(0); sum < total; {
		data := make([]byte, 0, segment)
		key, value := make([]byte, 8), make([]byte, 40)
		for i := uint64(0); len(data) < int(segment)-64; i++ {
			binary.BigEndian.PutUint64(key, min(i*1e9+uint64(values)%997, keys))
			binary.BigEndian.PutUint64(value, uint64(values))
			data = shuffle.AppendPair(data, key, value)
			values++
		}
		sum += int64(len(data))
		if err := m.Add(data); err != nil {
			t.Fatal(err)
		}
		watch.lookAt(int(total / segment / 23)) // at other places than every spill
	}
	return values
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
