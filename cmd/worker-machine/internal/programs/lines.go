package programs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// SizeError says that a file is not what it was when it was cut: its lines would not be those of the run.
type SizeError struct {
	Path      string
	Size, Was int64
}

// Error names both sizes.
func (e *SizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, and had %d when the run was made; start a new run", e.Path, e.Size, e.Was)
}

// RootError says that a file lies outside of the directories a worker may read.
type RootError struct{ Path string }

// Error names the file and the flag.
func (e *RootError) Error() string {
	return fmt.Sprintf("%s lies outside of what this worker reads; allow it with --root", e.Path)
}

// Files opens the files of splits.
type Files struct {
	Roots []string // only what lies in these directories, links included; empty for any file
}

func (f Files) open(path string) (*os.File, error) {
	if len(f.Roots) == 0 {
		return os.Open(path)
	}
	for _, dir := range f.Roots {
		name, err := filepath.Rel(dir, path)
		if err != nil || !filepath.IsLocal(name) {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		file, err := root.Open(name)
		if err != nil && strings.Contains(err.Error(), "escapes") {
			return nil, &RootError{Path: path}
		}
		return file, err
	}
	return nil, &RootError{Path: path}
}

const readBuffer = 256 << 10

// reader reads the lines of a split, one part after the other.
type reader struct {
	files Files
	parts []Part
	lines []byte

	file   *os.File
	from   *bufio.Reader
	offset int64 // of the next line
	end    int64 // a line that begins here is another part's
}

func newReader(files Files, s Split) *reader {
	return &reader{files: files, parts: s.Parts, lines: s.Lines}
}

// more opens the next part with a line. It tells whether there is one, so that no program is started for nothing.
func (r *reader) more() (bool, error) {
	if len(r.lines) > 0 || r.file != nil {
		return true, nil
	}
	for len(r.parts) > 0 {
		part := r.parts[0]
		r.parts = r.parts[1:]
		if err := r.open(part); err != nil {
			return false, err
		}
		if r.offset < r.end {
			return true, nil
		}
		r.close()
	}
	return false, nil
}

// open opens a part at its first line: that which begins in the range.
func (r *reader) open(part Part) (err error) {
	if r.file, err = r.files.open(part.Path); err != nil {
		return err
	}
	info, err := r.file.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return checkRegular(part.Path, info)
	case info.Size() != part.Size:
		return &SizeError{Path: part.Path, Size: info.Size(), Was: part.Size}
	}
	r.offset, r.end = part.Offset, part.Offset+part.Length
	if r.from == nil {
		r.from = bufio.NewReaderSize(r.file, readBuffer)
	}
	if part.Offset == 0 {
		r.from.Reset(r.file)
		return nil
	}
	if _, err := r.file.Seek(part.Offset-1, io.SeekStart); err != nil {
		return err
	}
	r.from.Reset(r.file)
	r.offset--
	_, err = r.through(io.Discard)
	return err
}

// through copies up to the end of a line, or of the file.
func (r *reader) through(w io.Writer) (ended bool, err error) {
	for {
		part, err := r.from.ReadSlice('\n')
		r.offset += int64(len(part))
		if _, err := w.Write(part); err != nil {
			return false, err
		}
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return false, err
		}
	}
}

// writeTo writes all lines; the last one of a file gets a newline when it has none.
func (r *reader) writeTo(w io.Writer) (err error) {
	if len(r.lines) > 0 {
		_, err = w.Write(r.lines)
		r.lines = nil
	}
	for err == nil {
		var more bool
		if more, err = r.more(); !more || err != nil {
			break
		}
		err = r.part(w)
		r.close()
	}
	return err
}

func (r *reader) part(w io.Writer) error {
	if whole := r.end - 1 - r.offset; whole > 0 {
		n, err := io.CopyN(w, r.from, whole)
		r.offset += n
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s became shorter while it was read: %w", r.file.Name(), io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
	}
	ended, err := r.through(w)
	if err == nil && !ended {
		_, err = io.WriteString(w, "\n")
	}
	return err
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}
