package shuffle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// run is a sorted part of a spill file, without a version byte: it is read by the process that wrote it.
type run struct{ offset, length int64 }

// spillFile is a temporary file of runs. Where the system allows it the file has no name from the start, so that nothing remains of it
// even when the process is killed.
type spillFile struct {
	file *os.File
	dir  string
	name string // to be removed by close, "" when it already is
	size int64
}

// openSpill makes a file in dir, which is not empty.
func openSpill(dir string) (*spillFile, error) {
	file, err := os.CreateTemp(dir, "worker-machine-*.shuffle")
	if err != nil {
		return nil, spillError("open", dir, err)
	}
	s := &spillFile{file: file, dir: dir}
	if os.Remove(file.Name()) != nil { // systems other than unix keep the name of an open file
		s.name = file.Name()
	}
	return s, nil
}

// write appends all pairs of m as one run, through a buffer of the given size.
func (s *spillFile) write(m *merge, buffer int) (run, error) {
	w := &runWriter{out: bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.size), buffer)}
	same := false
	for !m.done() {
		value, err := m.value()
		if err != nil {
			return run{}, err
		}
		if err := w.pair(m.key(), same, value); err != nil {
			return run{}, spillError("write", s.dir, err)
		}
		if same, err = m.next(); err != nil {
			return run{}, err
		}
	}
	if err := w.out.Flush(); err != nil {
		return run{}, spillError("write", s.dir, err)
	}
	written := run{offset: s.size, length: w.size}
	s.size += w.size
	return written, nil
}

func (s *spillFile) close() error {
	err := s.file.Close()
	if s.name != "" {
		err = os.Remove(s.name)
	}
	if err != nil {
		return spillError("close", s.dir, err)
	}
	return nil
}

func spillError(verb, dir string, err error) error {
	return fmt.Errorf("shuffle: %s a temporary file in %s: %w; set TMPDIR to a directory with room, or allow a larger Memory so that less is spilled",
		verb, dir, err)
}

// runWriter writes pairs in the format of segments.
type runWriter struct {
	out   *bufio.Writer
	size  int64
	key   []byte // of the pair before
	begun bool
	head  []byte
}

func (w *runWriter) pair(key []byte, same bool, value []byte) error {
	if same || w.begun && bytes.Equal(w.key, key) {
		w.head = appendSameKey(w.head[:0])
	} else {
		w.begun = true
		w.key = append(w.key[:0], key...)
		w.head = appendKey(w.head[:0], key)
	}
	w.head = binary.AppendUvarint(w.head, uint64(len(value)))
	w.size += int64(len(w.head) + len(value))
	if _, err := w.out.Write(w.head); err != nil {
		return err
	}
	_, err := w.out.Write(value)
	return err
}

// runReader is a source that lies in a file. It holds a buffer and a key; a value larger than the buffer goes to one that all
// readers of a merge share, for it is only wanted when the merge is at its pair.
type runReader struct {
	in      *bufio.Reader
	dir     string
	left    uint64 // bytes behind the pair
	size    uint64 // of the value
	pending uint64 // bytes of the value that in has still to pass
	key     []byte
	large   *[]byte
}

// reader reads a run of the file through a buffer of the given size.
func (s *spillFile) reader(r run, buffer int, large *[]byte) *runReader {
	in := bufio.NewReaderSize(io.NewSectionReader(s.file, r.offset, r.length), buffer)
	return &runReader{in: in, dir: s.dir, left: uint64(r.length), large: large} //nolint:gosec // a length is not negative
}

func (r *runReader) next() ([]byte, bool, error) {
	if err := r.pass(r.pending); err != nil {
		return nil, false, err
	}
	r.pending = 0
	if r.left == 0 {
		return nil, false, io.EOF
	}
	n, err := r.length()
	if err != nil {
		return nil, false, err
	}
	if n > 0 {
		if err := r.readKey(n - 1); err != nil {
			return nil, false, err
		}
	}
	r.size, err = r.length()
	if err == nil && r.size > r.left {
		err = r.corrupt()
	}
	if err != nil {
		return nil, false, err
	}
	r.left -= r.size
	r.pending = r.size
	return r.key, n == 0, nil
}

func (r *runReader) value() ([]byte, error) {
	if r.size <= uint64(r.in.Size()) { //nolint:gosec // a size is not negative
		value, err := r.in.Peek(int(r.size)) //nolint:gosec // at most the buffer's
		if err != nil {
			return nil, r.failed(err)
		}
		return value, nil
	}
	*r.large = resize(*r.large, r.size)
	if _, err := io.ReadFull(r.in, *r.large); err != nil {
		return nil, r.failed(err)
	}
	r.pending = 0
	return *r.large, nil
}

func (r *runReader) readKey(n uint64) error {
	if n > r.left {
		return r.corrupt()
	}
	r.left -= n
	r.key = resize(r.key, n)
	if _, err := io.ReadFull(r.in, r.key); err != nil {
		return r.failed(err)
	}
	return nil
}

// length reads one length.
func (r *runReader) length() (uint64, error) {
	b, err := r.in.Peek(int(min(r.left, binary.MaxVarintLen64))) //nolint:gosec // small
	if err != nil {
		return 0, r.failed(err)
	}
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, r.corrupt()
	}
	r.left -= uint64(size)
	return n, r.pass(uint64(size))
}

func (r *runReader) pass(n uint64) error {
	if _, err := r.in.Discard(int(n)); err != nil { //nolint:gosec // what was in memory once
		return r.failed(err)
	}
	return nil
}

func (r *runReader) corrupt() error { return r.failed(errors.New("it is not what was written")) }

func (r *runReader) failed(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the end is where left says
	}
	return fmt.Errorf("shuffle: read a temporary file in %s: %w", r.dir, err)
}

// resize returns n bytes, those of b when they suffice.
func resize(b []byte, n uint64) []byte {
	if n <= uint64(cap(b)) {
		return b[:n]
	}
	return make([]byte, n)
}
