package history

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Writer appends records to a file. It is safe for concurrent use, and nil for none: then it writes nothing.
type Writer struct {
	process string
	mu      sync.Mutex
	file    *os.File
	line    []byte
}

// Append opens the history of one process; several processes may not share a file.
func Append(path, process string) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history: open: %w", err)
	}
	return &Writer{process: process, file: file}, nil
}

// Write adds a record, with the time and the name of the process. A history that cannot be written proves nothing, so it panics then.
func (w *Writer) Write(r Record) {
	if w == nil {
		return
	}
	r.Process = w.process
	w.mu.Lock()
	defer w.mu.Unlock()
	r.At = time.Now().UnixNano()
	text, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Errorf("history: encode: %w", err))
	}
	w.line = append(append(w.line[:0], text...), '\n')
	if _, err = w.file.Write(w.line); err != nil {
		panic(fmt.Errorf("history: write: %w", err))
	}
}

// Close closes the file.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	return w.file.Close()
}
