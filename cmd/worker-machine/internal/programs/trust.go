package programs

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// leastSecret is how many bytes a secret has at least.
const leastSecret = 32

// Secret is what submitter and workers of a trusted pool share: workers run programs that are signed with it.
type Secret struct{ key []byte }

// ErrUnsigned says that a run, or one of its splits, is not signed with the secret of the worker.
var ErrUnsigned = errors.New("it is not signed with the secret of this worker")

// ReadSecret reads a file that nobody but its owner may read. White space at its end does not count.
func ReadSecret(path string) (*Secret, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	const others, most = 0o077, 4 << 10
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&others != 0:
		return nil, fmt.Errorf("others may use %s (%v): chmod 600 %[1]s, and make a new secret if it was there for long", path, info.Mode().Perm())
	}
	key, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, err
	}
	key = bytes.TrimRight(key, " \t\r\n")
	if len(key) < leastSecret || len(key) > most {
		return nil, fmt.Errorf("%s holds a secret of %d bytes; it has to have %d to %d: head -c 32 /dev/urandom | base64 > %[1]s",
			path, len(key), leastSecret, most)
	}
	return &Secret{key: key}, nil
}

// sum is the HMAC-SHA256 of some texts; their lengths are part of it, so that none can be moved to another.
func (s *Secret) sum(parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = mac.Write(length[:]) // never fails
		_, _ = mac.Write(part)
	}
	return mac.Sum(nil)
}

// Description is what the note of a run says of it: enough to find its programs, and to go on with it.
type Description struct {
	Spec
	Inputs  []string `json:"inputs,omitempty"` // patterns, absolute; none for what was read from stdin
	Split   int64    `json:"split,omitempty"`
	PerFile bool     `json:"perFile,omitempty"`
	Ship    bool     `json:"ship,omitempty"`

	Attempts int           `json:"attempts,omitempty"`
	Timeout  time.Duration `json:"timeout,omitempty"`

	Sum []byte `json:"sum,omitempty"` // of a signed run
}

// Text is the note.
func (d Description) Text() string {
	text, err := json.Marshal(d)
	if err != nil { // strings, numbers and bytes
		panic(err)
	}
	return string(text)
}

// ParseDescription reads a note; it is false for one of other jobs.
func ParseDescription(note string) (d Description, ok bool) {
	err := json.Unmarshal([]byte(note), &d)
	return d, err == nil && d.Map != "" && d.Reduce != ""
}

// signed is what the sum of a description is of: all that decides what runs.
func (d Description) signed() []byte {
	text, err := json.Marshal(d.Spec)
	if err != nil {
		panic(err)
	}
	return text
}

// Sign signs the description of a run.
func (s *Secret) Sign(job, run string, d *Description) {
	d.Sum = s.sum([]byte("run"), []byte(job), []byte(run), d.signed())
}

// Check tells whether the description of a run is signed; the error is ErrUnsigned.
func (s *Secret) Check(job, run string, d Description) error {
	if !hmac.Equal(d.Sum, s.sum([]byte("run"), []byte(job), []byte(run), d.signed())) {
		return fmt.Errorf("programs %q and %q of run %s: %w", plain.Short(d.Map, 80), plain.Short(d.Reduce, 80), plain.Short(run, 30), ErrUnsigned)
	}
	return nil
}

// SignSplit signs a split of a run.
func (s *Secret) SignSplit(run string, split *Split) error {
	sum, err := s.splitSum(run, *split)
	split.Sum = sum
	return err
}

// CheckSplit tells whether a split is signed, for that run; the error is ErrUnsigned.
func (s *Secret) CheckSplit(run string, split Split) error {
	sum, err := s.splitSum(run, split)
	if err == nil && !hmac.Equal(sum, split.Sum) {
		err = fmt.Errorf("an input of run %s: %w", plain.Short(run, 30), ErrUnsigned)
	}
	return err
}

func (s *Secret) splitSum(run string, split Split) ([]byte, error) {
	split.Sum = nil
	head, err := json.Marshal(split)
	if err != nil {
		return nil, err
	}
	return s.sum([]byte("split"), []byte(run), head, split.Lines), nil
}
