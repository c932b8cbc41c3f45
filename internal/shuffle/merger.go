package shuffle

import (
	"bytes"
	"cmp"
	"errors"
	"iter"
	"os"
)

const (
	defaultMemory = 64 << 20
	maxBuffer     = 64 << 10 // of one run; larger ones make disks no faster
	minBuffer     = 512
	// segmentOverhead is what a segment takes in memory besides its data: its slice, its cursor and its source.
	segmentOverhead = 256
)

// MergerConfig tunes a [Merger]. The zero value is ready to use.
type MergerConfig struct {
	// Memory bounds, in bytes, the segments and buffers held; default 64 MiB. One segment, and one key of each run and one value, are
	// held even when they are larger.
	Memory int64
	// Dir is the directory of the temporary file; default os.TempDir().
	Dir string
}

// Merger merges sorted segments of one partition into groups of equal keys. What exceeds its memory goes to a temporary file, sorted,
// which has no name on systems that allow that and is given up by Close. It is not safe for concurrent use.
type Merger struct {
	memory  int64
	dir     string
	err     error
	started bool // Groups is running or over

	segments [][]byte
	held     int64 // bytes of segments

	file    *spillFile // nil before the first spill
	runs    []run      // older than the segments, in order
	spilled int64
	large   []byte // for runReader
}

// NewMerger makes a merger; it opens nothing. Close it.
func NewMerger(cfg MergerConfig) *Merger {
	memory := cfg.Memory
	if memory <= 0 {
		memory = defaultMemory
	}
	return &Merger{memory: memory, dir: cmp.Or(cfg.Dir, os.TempDir())}
}

// Add takes a segment; segments come in the order that the values of equal keys shall have. The merger owns the slice from then
// on. The error of data that is no segment wraps [ErrMalformed], and the merger is as before; after an error of the temporary file
// nothing can be added.
func (m *Merger) Add(segment []byte) error {
	if m.err != nil {
		return m.err
	}
	if m.started {
		return errors.New("shuffle: add a segment: the merger is in use by Groups")
	}
	if _, _, err := check(segment); err != nil {
		return err
	}
	if len(segment) == 1 {
		return nil // no pairs
	}
	m.segments = append(m.segments, segment)
	m.held += int64(cap(segment)) + segmentOverhead
	if m.held+m.buffer() > m.memory {
		m.err = m.spill()
	}
	return m.err
}

// Groups returns the keys in order, each with its values: by the order of Add, then by that within the segment. Values are read as
// the loop asks for them, so a key may have more than fits in memory; those a loop leaves out are skipped, and a second loop over
// them goes on where the first one stopped. A key is valid until the next one, a value until the next value or key. Groups can be
// ranged over once. The loop ends early when the temporary file fails: what a loop over values has seen is all there is only when
// [Merger.Err] is nil after it.
func (m *Merger) Groups() iter.Seq2[[]byte, iter.Seq[[]byte]] {
	return func(yield func([]byte, iter.Seq[[]byte]) bool) {
		if m.err == nil && m.started {
			m.err = errors.New("shuffle: Groups was ranged over before, or the merger is closed")
		}
		m.started = true
		if m.err != nil {
			return
		}
		merged, err := m.start()
		if err != nil {
			m.err = err
			return
		}
		g := &group{merge: merged, failed: &m.err}
		values := iter.Seq[[]byte](g.values)
		for g.next() {
			if !yield(g.key, values) {
				return
			}
		}
	}
}

// Err returns the error that ended a loop over Groups or made Add fail for good; nil when all groups and values were complete so far.
func (m *Merger) Err() error { return m.err }

// Spilled returns how many bytes were written to the temporary file; a byte that was merged twice counts twice.
func (m *Merger) Spilled() int64 { return m.spilled }

// Close gives up the temporary file and all memory; no loop over Groups may run. It may be called twice.
func (m *Merger) Close() error {
	m.started = true
	m.segments, m.held, m.runs, m.large = nil, 0, nil, nil
	if m.file == nil {
		return nil
	}
	err := m.file.close()
	m.file = nil
	return err
}

// buffer is the size of the buffer of one run.
func (m *Merger) buffer() int64 { return min(max(m.memory/64, minBuffer), maxBuffer) }

// fanIn is how many runs are read at a time: their buffers take half of the memory, the rest is for segments.
func (m *Merger) fanIn() int { return int(max(m.memory/2/m.buffer(), 2)) }

// spill merges the segments to a run.
func (m *Merger) spill() error {
	if m.file == nil {
		file, err := openSpill(m.dir)
		if err != nil {
			return err
		}
		m.file = file
	}
	merged, err := m.writeRun(m.heldSources())
	if err != nil {
		return err
	}
	clear(m.segments)
	m.segments, m.held = m.segments[:0], 0
	m.runs = append(m.runs, merged)
	return nil
}

// start makes the last merge: of the runs, so few that their buffers fit in memory, and of the segments.
func (m *Merger) start() (*merge, error) {
	if len(m.runs) > 0 && m.held > m.memory/2 {
		if err := m.spill(); err != nil {
			return nil, err
		}
	}
	for len(m.runs) > m.fanIn() {
		if err := m.join(min(m.fanIn(), len(m.runs)-m.fanIn()+1)); err != nil {
			return nil, err
		}
	}
	sources := append(m.runSources(m.runs), m.heldSources()...)
	m.segments = nil // each is free once it is read
	return newMerge(sources)
}

// join merges n runs that follow each other, the smallest such, into one at the end of the file.
func (m *Merger) join(n int) error {
	var sum, least int64
	first := 0
	for i, r := range m.runs {
		sum += r.length
		if i >= n {
			sum -= m.runs[i-n].length
		}
		if i == n-1 || i >= n && sum < least {
			least, first = sum, i-n+1
		}
	}
	joined, err := m.writeRun(m.runSources(m.runs[first : first+n]))
	if err != nil {
		return err
	}
	m.runs[first] = joined
	m.runs = append(m.runs[:first+1], m.runs[first+n:]...)
	return nil
}

func (m *Merger) writeRun(sources []source) (run, error) {
	merged, err := newMerge(sources)
	if err != nil {
		return run{}, err
	}
	written, err := m.file.write(merged, int(m.buffer()))
	m.spilled += written.length
	return written, err
}

func (m *Merger) heldSources() []source {
	sources := make([]source, len(m.segments))
	for i, segment := range m.segments {
		sources[i] = newHeld(segment)
	}
	return sources
}

func (m *Merger) runSources(runs []run) []source {
	sources := make([]source, len(runs))
	for i, r := range runs {
		sources[i] = m.file.reader(r, int(m.buffer()), &m.large)
	}
	return sources
}

// group is where a loop over Groups is.
type group struct {
	merge  *merge
	failed *error
	key    []byte
	inside bool // the merge is at a pair of the group
	used   bool // that pair's value was yielded
}

// next goes to the next key, past the values that are left.
func (g *group) next() bool {
	for g.inside {
		g.used = true
		g.pass()
	}
	if *g.failed != nil || g.merge.done() {
		return false
	}
	g.key = append(g.key[:0], g.merge.key()...)
	g.inside, g.used = true, false
	return true
}

// pass goes past a pair whose value was used. It waits until the next one is wanted, since the value is valid until then.
func (g *group) pass() {
	if !g.used {
		return
	}
	g.used = false
	same, err := g.merge.next()
	if err != nil {
		*g.failed, g.inside = err, false
		return
	}
	g.inside = same || !g.merge.done() && bytes.Equal(g.merge.key(), g.key)
}

func (g *group) values(yield func([]byte) bool) {
	for {
		if g.pass(); !g.inside {
			return
		}
		value, err := g.merge.value()
		if err != nil {
			*g.failed, g.inside = err, false
			return
		}
		g.used = true
		if !yield(value) {
			return
		}
	}
}
