package shuffle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"unsafe"
)

const (
	maxBlock   = 64 << 10 // entry.offset has 16 bits
	entryBytes = int64(unsafe.Sizeof(entry{}))
)

// entry is where a pair lies in an arena. Block and offset grow with every pair, so they tell the order in which pairs came.
type entry struct {
	prefix    uint64 // the first 8 bytes of the key, which settle most comparisons
	block     uint32
	keyLen    uint32
	valueLen  uint32
	offset    uint16
	partition uint16
}

// arena holds pairs: their bytes in blocks, key then value, and an index to sort. The memory is used again after a reset.
type arena struct {
	blocks  [][]byte // the last one is written to
	spare   [][]byte // empty blocks
	entries []entry
	block   int   // bytes of a block, unless it has one pair that is larger; at most maxBlock
	held    int64 // bytes of all these
}

// add copies a pair. It refuses, and changes nothing, when the arena would grow beyond limit.
func (a *arena) add(partition uint16, key, value []byte, limit int64) bool {
	if len(a.entries) == cap(a.entries) && !a.growIndex(limit) {
		return false
	}
	size := len(key) + len(value)
	last := len(a.blocks) - 1
	if last < 0 || len(a.blocks[last]) >= maxBlock || cap(a.blocks[last])-len(a.blocks[last]) < size {
		if !a.newBlock(size, limit) {
			return false
		}
		last++
	}
	block := a.blocks[last]
	a.entries = append(a.entries, entry{
		prefix: prefixOf(key), block: uint32(last), offset: uint16(len(block)), partition: partition, //nolint:gosec // below maxBlock; blocks are few
		keyLen: uint32(len(key)), valueLen: uint32(len(value)), //nolint:gosec // checked by Collector.Add
	})
	a.blocks[last] = append(append(block, key...), value...)
	return true
}

// growIndex makes room for more entries: twice as many, or what limit leaves when that is worth the copying.
func (a *arena) growIndex(limit int64) bool {
	count := int64(cap(a.entries))
	least, most := count+count/4+1, max(2*count, 64)
	if a.held+entryBytes*least > limit { // the old index is there until the new one is filled
		a.dropSpare()
	}
	grown := min(most, (limit-a.held)/entryBytes)
	if grown < least {
		return false
	}
	entries := make([]entry, len(a.entries), grown)
	copy(entries, a.entries)
	a.held += entryBytes * (grown - count)
	a.entries = entries
	return true
}

// newBlock begins a block that has room for size bytes.
func (a *arena) newBlock(size int, limit int64) bool {
	if n := len(a.spare); n > 0 && size <= a.block {
		a.blocks, a.spare = append(a.blocks, a.spare[n-1]), a.spare[:n-1]
		return true
	}
	size = max(size, a.block)
	if a.held+int64(size) > limit {
		return false
	}
	a.held += int64(size)
	a.blocks = append(a.blocks, make([]byte, 0, size))
	return true
}

// sorted returns all entries by partition, key and age.
func (a *arena) sorted() []entry {
	slices.SortFunc(a.entries, func(x, y entry) int { return a.compare(&x, &y) })
	return a.entries
}

func (a *arena) compare(x, y *entry) int {
	if x.partition != y.partition {
		return int(x.partition) - int(y.partition)
	}
	if c := a.compareKeys(x, y); c != 0 {
		return c
	}
	if c := cmp.Compare(x.block, y.block); c != 0 {
		return c
	}
	if c := cmp.Compare(x.offset, y.offset); c != 0 {
		return c
	}
	return cmp.Compare(x.valueLen, y.valueLen) // a pair without a byte, and the one that came after it
}

func (a *arena) compareKeys(x, y *entry) int {
	if c := cmp.Compare(x.prefix, y.prefix); c != 0 {
		return c
	}
	if x.keyLen <= 8 && y.keyLen <= 8 {
		return cmp.Compare(x.keyLen, y.keyLen) // the longer one has zeros where the prefix of the other was filled up
	}
	return bytes.Compare(a.key(x), a.key(y))
}

// sameKey is how many of the sorted entries, from the first on, have its key, and with it its partition.
func (a *arena) sameKey(entries []entry) int {
	n := 1
	for n < len(entries) && a.compareKeys(&entries[n], &entries[0]) == 0 {
		n++
	}
	return n
}

func (a *arena) key(e *entry) []byte {
	end := uint64(e.offset) + uint64(e.keyLen)
	return a.blocks[e.block][e.offset:end:end]
}

func (a *arena) value(e *entry) []byte {
	start := uint64(e.offset) + uint64(e.keyLen)
	end := start + uint64(e.valueLen)
	return a.blocks[e.block][start:end:end]
}

func (a *arena) values(entries []entry) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range entries {
			if !yield(a.value(&entries[i])) {
				return
			}
		}
	}
}

// reset forgets all pairs. It keeps the memory, but for blocks of single large pairs, and an index that is larger than pairs of
// the last size need.
func (a *arena) reset() {
	for _, block := range a.blocks {
		if cap(block) == a.block {
			a.spare = append(a.spare, block[:0])
		} else {
			a.held -= int64(cap(block))
		}
	}
	clear(a.blocks)
	a.blocks = a.blocks[:0]
	if len(a.entries) < cap(a.entries)/2 {
		a.held -= entryBytes * int64(cap(a.entries))
		a.entries = nil
	}
	a.entries = a.entries[:0]
}

// drop gives all memory back. There are no pairs.
func (a *arena) drop() { *a = arena{block: a.block} }

func (a *arena) dropSpare() {
	a.held -= int64(len(a.spare)) * int64(a.block)
	a.spare = nil
}

// prefixOf is the first 8 bytes of key, filled up with zeros.
func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}
