package shuffle

// Partition returns the partition of a key, 0 to partitions-1; it is 0 when there are less than two. It depends on the bytes of the
// key alone and never changes: the FNV-1a hash of 64 bits (RFC 9923) of the key, mixed by the finalizer of MurmurHash3 (fmix64, by
// Austin Appleby), modulo partitions. Without the finalizer the low bits of the hash would depend on the low bits of the key's bytes
// only, and every 16th number would be in one of 16 partitions.
func Partition(key []byte, partitions int) int {
	if partitions < 2 {
		return 0
	}
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return int(h % uint64(partitions)) //nolint:gosec // less than partitions
}
