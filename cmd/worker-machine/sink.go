package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/internal/shuffle"
)

// sink takes the lines of a result: to stdout, or to the files of a directory that is there as a whole or not at all.
type sink struct {
	app   *app
	lines int

	out *bufio.Writer // stdout

	dir, made string // the directory, and the one that becomes it
	parts     []*part
}

type part struct {
	*bufio.Writer
	file *os.File
}

// resultRecord is a line with --json.
type resultRecord struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   string  `json:"key_base64,omitempty"`
	Value       *string `json:"value,omitempty"` // missing of a line without a tab
	ValueBase64 string  `json:"value_base64,omitempty"`
}

// newSink takes a directory that does not exist yet, or is empty; without one it writes to stdout.
func (a *app) newSink(dir string) (*sink, error) {
	s := &sink{app: a, dir: dir, out: bufio.NewWriter(a.stdout)}
	if dir == "" {
		return s, nil
	}
	if a.json {
		return nil, usagef("--output: files hold lines as they are; leave --json away")
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--output: %w", err)
	}
	if len(entries) > 0 {
		return nil, usagef("--output: %s is not empty; name a directory that is not there", dir)
	}
	// Beside it, so that renaming is possible.
	if s.made, err = os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), "."+filepath.Base(dir)+".partial-*"); err != nil {
		return nil, fmt.Errorf("--output: %w", err)
	}
	return s, nil
}

// split makes the files of a directory, as many as there are partitions.
func (s *sink) split(partitions int) error {
	if s.dir == "" {
		return nil
	}
	for i := range partitions {
		file, err := os.Create(filepath.Join(s.made, fmt.Sprintf("part-%05d", i)))
		if err != nil {
			return err
		}
		s.parts = append(s.parts, &part{file: file, Writer: bufio.NewWriter(file)})
	}
	return nil
}

// line takes the key of a line, and the rest of it with the tab.
func (s *sink) line(key, rest []byte) error {
	s.lines++
	to := s.out
	if s.dir != "" {
		to = s.parts[shuffle.Partition(key, len(s.parts))].Writer
	}
	var err error
	switch {
	case s.app.json:
		err = s.record(key, rest)
	case s.dir == "" && isTerminal(s.app.stdout):
		_, err = to.WriteString(plain.Text(string(key)+string(rest)) + "\n")
	default:
		_, _ = to.Write(key)
		_, _ = to.Write(rest)
		err = to.WriteByte('\n') // also what the writes before met
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func (s *sink) record(key, rest []byte) error {
	var record resultRecord
	record.Key, record.KeyBase64 = textOrBase64(key)
	if len(rest) > 0 {
		record.Value, record.ValueBase64 = textOrBase64(rest[1:])
	}
	return s.app.printJSON(record)
}

// finish makes the result whole.
func (s *sink) finish() error {
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if s.dir == "" {
		return nil
	}
	for _, p := range s.parts {
		if err := errors.Join(p.Flush(), p.file.Sync(), p.file.Close()); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	const readable = 0o755
	err := os.Chmod(s.made, readable)
	if err == nil {
		err = os.Rename(s.made, s.dir)
	}
	if err != nil {
		return fmt.Errorf("write the result: %w; it is in %s", err, s.made)
	}
	s.made = ""
	return nil
}

// abandon removes what is not whole. What was written to stdout stays.
func (s *sink) abandon() {
	_ = s.out.Flush()
	if s.made != "" {
		for _, p := range s.parts {
			_ = p.file.Close()
		}
		_ = os.RemoveAll(s.made)
	}
}
