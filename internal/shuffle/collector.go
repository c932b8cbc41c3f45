package shuffle

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
)

const (
	defaultSegmentBytes = 256 << 10
	maxPartitions       = 1 << 16 // entry.partition has 16 bits
)

// Segment is a sorted, self-contained piece of what a map task sends to one partition.
type Segment struct {
	Partition int
	Data      []byte // for [Merger.Add] of the partition; owned by the receiver
	Pairs     int
}

// CollectorConfig tunes a [Collector]. All but Spill have defaults.
type CollectorConfig struct {
	Partitions int // 1 to 65536; default 1
	// Memory bounds, in bytes, all the collector holds, the segments of one call of Spill among it; default 64 MiB. A pair that is
	// larger is held alone.
	Memory int64
	// SegmentBytes is the size at which a segment is cut, after the pair that reaches it; default 256 KiB, and at most a
	// sixteenth of Memory.
	SegmentBytes int
	// Combine, when it is set, makes one value of those that a key has in one spill, so a key may have more than one in all. Key
	// and values are valid until it returns; what it returns may be part of them, and is copied.
	Combine func(key []byte, values iter.Seq[[]byte]) ([]byte, error)
	// Spill takes segments, by partition and key within one spill, and one spill after the other: of one partition they come in the order
	// that [Merger.Add] wants. It is called by Add and Close, several times for one spill.
	Spill func(segments []Segment) error
}

// Collector sorts pairs into segments, equal keys in the order of Add. It is not safe for concurrent use.
type Collector struct {
	cfg     CollectorConfig
	arena   arena
	limit   int64 // of the arena
	segment segmentWriter
	err     error
}

// NewCollector makes a collector. What is wrong with the configuration is an error of Add and Close.
func NewCollector(cfg CollectorConfig) *Collector {
	cfg.Partitions = cmp.Or(cfg.Partitions, 1)
	if cfg.Memory <= 0 {
		cfg.Memory = defaultMemory
	}
	if cfg.SegmentBytes <= 0 {
		cfg.SegmentBytes = defaultSegmentBytes
	}
	share := max(cfg.Memory/8, 1)
	c := &Collector{cfg: cfg, limit: cfg.Memory - 2*share}
	c.arena.block = int(min(max(cfg.Memory/64, 256), maxBlock))
	c.segment = segmentWriter{cut: int(min(int64(cfg.SegmentBytes), max(share/2, 1))), most: int(share), spill: cfg.Spill}
	if cfg.Partitions < 1 || cfg.Partitions > maxPartitions {
		c.err = fmt.Errorf("shuffle: Partitions is %d; it must be 1 to %d", cfg.Partitions, maxPartitions)
	} else if cfg.Spill == nil {
		c.err = errors.New("shuffle: Spill is nil; a collector needs somewhere to put its segments")
	}
	return c
}

// Add takes a copy of a pair. It returns the errors of Combine and Spill, wrapped; after an error all further calls return it.
func (c *Collector) Add(key, value []byte) error {
	if c.err != nil {
		return c.err
	}
	if uint64(len(key)) > math.MaxUint32 || uint64(len(value)) > math.MaxUint32 {
		c.err = fmt.Errorf("shuffle: a pair with a key of %d and a value of %d bytes; each can have up to 4 GiB", len(key), len(value))
		return c.err
	}
	partition := uint16(Partition(key, c.cfg.Partitions)) //nolint:gosec // at most maxPartitions
	if c.arena.add(partition, key, value, c.limit) {
		return nil
	}
	if c.err = c.spill(); c.err != nil {
		return c.err
	}
	if !c.arena.add(partition, key, value, c.limit) { // it is larger than all there is
		c.arena.drop()
		c.arena.add(partition, key, value, math.MaxInt64)
	}
	return nil
}

// Close spills what is left. A second call does nothing and returns the error that the first one met, if any.
func (c *Collector) Close() error {
	if errors.Is(c.err, errClosed) {
		return nil
	}
	if c.err == nil {
		c.err = c.spill()
	}
	err := c.err
	if err == nil {
		c.err = errClosed
	}
	c.arena, c.segment = arena{}, segmentWriter{}
	return err
}

var errClosed = errors.New("shuffle: the collector is closed")

// spill sends all pairs away, sorted and combined.
func (c *Collector) spill() error {
	entries := c.arena.sorted()
	for len(entries) > 0 {
		n := c.arena.sameKey(entries)
		if err := c.writeKey(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	c.arena.reset()
	return c.segment.flush()
}

// writeKey writes the pairs of one key.
func (c *Collector) writeKey(entries []entry) error {
	key, partition := c.arena.key(&entries[0]), int(entries[0].partition)
	if c.cfg.Combine != nil {
		value, err := c.cfg.Combine(key, c.arena.values(entries))
		if err != nil {
			return fmt.Errorf("shuffle: combine: %w", err)
		}
		return c.segment.pair(partition, key, value, false)
	}
	for i := range entries {
		if err := c.segment.pair(partition, key, c.arena.value(&entries[i]), i > 0); err != nil {
			return err
		}
	}
	return nil
}

// segmentWriter cuts pairs into segments.
type segmentWriter struct {
	cut   int // size of a segment
	most  int // size of the segments of one call of spill
	spill func(segments []Segment) error

	partition int
	data      []byte // of the segment being written; copied once its size is known
	pairs     int
	done      []Segment
	doneBytes int
}

// pair writes a pair. same says that the pair before has the same key.
func (w *segmentWriter) pair(partition int, key, value []byte, same bool) error {
	if w.pairs > 0 && (partition != w.partition || len(w.data) >= w.cut) {
		if err := w.end(); err != nil {
			return err
		}
	}
	w.partition = partition
	switch {
	case w.pairs == 0:
		w.data = appendKey(append(w.data[:0], version), key)
	case same:
		w.data = appendSameKey(w.data)
	default:
		w.data = appendKey(w.data, key)
	}
	w.data = appendValue(w.data, value)
	w.pairs++
	return nil
}

// end ends the segment being written.
func (w *segmentWriter) end() error {
	if w.doneBytes+len(w.data) > w.most {
		if err := w.send(); err != nil {
			return err
		}
	}
	w.done = append(w.done, Segment{Partition: w.partition, Data: append([]byte(nil), w.data...), Pairs: w.pairs})
	w.doneBytes += len(w.data) + segmentOverhead
	w.pairs = 0
	if cap(w.data) > 2*w.cut+maxBlock { // one pair was huge
		w.data = nil
	}
	return nil
}

// flush ends the segment being written and sends all that is done.
func (w *segmentWriter) flush() error {
	if w.pairs > 0 {
		if err := w.end(); err != nil {
			return err
		}
	}
	return w.send()
}

func (w *segmentWriter) send() error {
	if len(w.done) == 0 {
		return nil
	}
	done := w.done
	w.done, w.doneBytes = nil, 0 // the slice is the receiver's, too
	if err := w.spill(done); err != nil {
		return fmt.Errorf("shuffle: spill: %w", err)
	}
	return nil
}
