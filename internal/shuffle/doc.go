// Package shuffle is what lies between the map tasks and the reduce tasks of a job: it partitions, sorts and merges pairs of key and
// value, in a bounded amount of memory.
//
// It is pure: the standard library alone, and no I/O but temporary files. Keys are bytes here, made of typed keys by [AppendKey]
// so that the order of the bytes is the order of the keys.
//
//	c := shuffle.NewCollector(shuffle.CollectorConfig{Partitions: 16, Spill: store}) // a map task
//	err := c.Add(shuffle.AppendKey(nil, word), count)
//	err = c.Close() // store has been called with sorted segments
//
//	m := shuffle.NewMerger(shuffle.MergerConfig{}) // a reduce task: of one partition
//	defer m.Close()
//	err = m.Add(segment) // for each segment
//	for key, values := range m.Groups() { ... }
//	err = m.Err()
//
// Segments, temporary files and pieces of output have one format: a version byte, then the pairs in the order of their keys. A pair is
// the length of its key plus one, its key, the length of its value and its value; zero in place of the first length, and no key,
// when the key is that of the pair before. Lengths are unsigned varints.
package shuffle
