package history

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
)

// Extension ends the names of histories.
const Extension = ".jsonl"

// Files names the histories in a directory, in the order of their names.
func Files(directory string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("history: list: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if entry.Type().IsRegular() && filepath.Ext(entry.Name()) == Extension {
			files = append(files, filepath.Join(directory, entry.Name()))
		}
	}
	return files, nil
}

// Read yields the records of some histories as one, in the order of their times. Each file is in that order by itself; where its clock was set
// back, its records stay in the order of the file. The record that is yielded is used again for the next one: who keeps it makes a copy.
//
// A torn last line, which a killed process leaves, is left out. Anything else that is no record ends the reading with an error that
// names file and line. No more files are open at a time than processes ran at a time.
func Read(files ...string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		m := &merge{}
		defer m.close()
		for _, path := range files {
			if err := m.add(path); err != nil {
				yield(nil, err)
				return
			}
		}
		for len(m.sources) > 0 {
			first := m.sources[0]
			if !yield(&first.record, nil) {
				return
			}
			if err := m.advance(); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// merge is a heap of files by the time of the record that each is at.
type merge struct{ sources []*source }

func (m *merge) Len() int           { return len(m.sources) }
func (m *merge) Less(i, j int) bool { return m.sources[i].before(m.sources[j]) }
func (m *merge) Swap(i, j int)      { m.sources[i], m.sources[j] = m.sources[j], m.sources[i] }
func (m *merge) Push(x any)         { m.sources = append(m.sources, x.(*source)) }

func (m *merge) Pop() any {
	last := m.sources[len(m.sources)-1]
	m.sources = m.sources[:len(m.sources)-1]
	return last
}

// add takes a file in at its first record. It is closed until that is passed: thousands of processes may have been one after the other.
func (m *merge) add(path string) error {
	s := &source{path: path, place: len(m.sources), decoder: newDecoder()}
	err := s.next()
	s.close()
	if err == nil {
		heap.Push(m, s)
	}
	return ended(err)
}

// advance moves the first file on.
func (m *merge) advance() error {
	s := m.sources[0]
	err := s.next()
	if err == nil {
		heap.Fix(m, 0)
		return nil
	}
	s.close()
	heap.Pop(m)
	return ended(err)
}

func (m *merge) close() {
	for _, s := range m.sources {
		s.close()
	}
}

// ended makes no error of the end of a file.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// source is a file, and the record it is at.
type source struct {
	path    string
	place   int // among the files, for records of the same time
	file    *os.File
	lines   *bufio.Reader
	long    []byte // a line that is longer than the buffer
	number  int    // of the line
	offset  int64  // after the line
	clock   int64  // the latest time so far
	record  Record
	decoder *decoder
}

func (s *source) before(other *source) bool {
	if s.clock != other.clock {
		return s.clock < other.clock
	}
	return s.place < other.place
}

// next moves on to the next record; it returns io.EOF when there is none.
func (s *source) next() error {
	if err := s.open(); err != nil {
		return err
	}
	line, readErr := s.line()
	if readErr != nil && !errors.Is(readErr, io.EOF) {
		return fmt.Errorf("history: read %s: %w", s.path, readErr)
	}
	if len(line) == 0 {
		return io.EOF
	}
	s.number++
	s.offset += int64(len(line))
	err := s.decoder.decode(bytes.TrimSuffix(line, []byte{'\n'}), &s.record)
	switch {
	case err != nil && errors.Is(readErr, io.EOF):
		return io.EOF // torn
	case err != nil:
		return fmt.Errorf("history: %s:%d is no record: %w; only the last line of a history may be torn", s.path, s.number, err)
	}
	s.clock = max(s.clock, s.record.At)
	return nil
}

// line returns the next line, valid until the one after it is read.
func (s *source) line() ([]byte, error) {
	line, err := s.lines.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	s.long = append(s.long[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = s.lines.ReadSlice('\n')
		s.long = append(s.long, line...)
	}
	return s.long, err
}

// open opens the file where it was left.
func (s *source) open() (err error) {
	if s.file != nil {
		return nil
	}
	if s.file, err = os.Open(s.path); err != nil {
		return fmt.Errorf("history: open: %w", err)
	}
	if _, err = s.file.Seek(s.offset, io.SeekStart); err != nil {
		return fmt.Errorf("history: open: %w", err)
	}
	s.lines = bufio.NewReaderSize(s.file, 64<<10)
	return nil
}

func (s *source) close() {
	if s.file != nil {
		_ = s.file.Close() // it was only read
	}
	s.file, s.lines = nil, nil
}

// decoder makes records of lines.
type decoder struct{}

func newDecoder() *decoder { return &decoder{} }

func (d *decoder) decode(line []byte, r *Record) error {
	*r = Record{}
	if err := json.Unmarshal(line, r); err != nil {
		return err
	}
	if r.Kind == "" {
		return errors.New(`the field "k" is missing`)
	}
	return nil
}

// Directories names the directories with histories: the one that is given, or those in it.
func Directories(directory string) ([]string, error) {
	files, err := Files(directory)
	if err != nil || len(files) > 0 {
		return []string{directory}, err
	}
	var found []string
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("history: list: %w", err)
	}
	for _, entry := range entries {
		inside := filepath.Join(directory, entry.Name())
		if files, err = Files(inside); entry.IsDir() && err == nil && len(files) > 0 {
			found = append(found, inside)
		}
	}
	slices.Sort(found)
	if len(found) == 0 {
		return nil, fmt.Errorf("history: %s has no files *%s, and no directory in it has", directory, Extension)
	}
	return found, nil
}
