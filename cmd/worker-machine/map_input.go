package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"
)

// inputs are the lines of a reader.
type inputs struct {
	reader    *bufio.Reader
	separator byte
	limit     int
	total     atomic.Int64 // of inputs; 0 while it is not known

	mu      sync.Mutex
	failure error
}

const (
	inputBuffer  = 64 << 10
	countedBytes = 256 << 20 // a larger file is not read twice for the sake of a progress bar
)

// newInputs reads lines, or what lies between NUL bytes. Of an input that is longer than limit only as much is kept as it takes
// for the client to refuse it, so that a line without end fills no memory.
func newInputs(from io.Reader, null bool, limit int) *inputs {
	in := &inputs{separator: '\n', limit: limit}
	if null {
		in.separator = 0
	}
	if file, ok := from.(*os.File); ok {
		in.total.Store(countIn(file, in.separator))
	}
	in.reader = bufio.NewReaderSize(from, inputBuffer)
	return in
}

// countIn counts the inputs of a plain file and leaves the file where it was; 0 of everything else, which can be read only once.
func countIn(file *os.File, separator byte) int64 {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > countedBytes {
		return 0
	}
	start, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	var total int64
	last := separator
	buffer := make([]byte, inputBuffer)
	for {
		n, err := file.Read(buffer)
		if n > 0 {
			total += int64(bytes.Count(buffer[:n], []byte{separator}))
			last = buffer[n-1]
		}
		if err != nil {
			break
		}
	}
	if last != separator {
		total++
	}
	if _, err := file.Seek(start, io.SeekStart); err != nil {
		return 0 // reading it will tell
	}
	return total
}

// all yields the inputs until the end of the reader or of ctx. It can be ranged over once.
func (in *inputs) all(ctx context.Context) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var n int64
		for ctx.Err() == nil {
			line, err := in.next()
			if err != nil {
				in.mu.Lock()
				defer in.mu.Unlock()
				if !errors.Is(err, io.EOF) {
					in.failure = err
				}
				in.total.Store(n)
				return
			}
			n++
			if !yield(line) {
				return
			}
		}
	}
}

// err is why reading ended before the end.
func (in *inputs) err() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.failure
}

// next returns a copy of the next input without its separator; the last one need not have any.
func (in *inputs) next() ([]byte, error) {
	var line []byte
	for {
		part, err := in.reader.ReadSlice(in.separator)
		if err == nil {
			part = part[:len(part)-1]
		}
		room := max(in.limit+1-len(line), 0)
		line = append(line, part[:min(room, len(part))]...)
		switch {
		case err == nil:
			if in.separator == '\n' {
				line = bytes.TrimSuffix(line, []byte("\r"))
			}
			return orEmpty(line), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		default:
			return nil, err
		}
	}
}

func orEmpty(line []byte) []byte {
	if line == nil {
		return []byte{}
	}
	return line
}
