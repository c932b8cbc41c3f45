package shuffle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
)

// version is the first byte of segments, pieces and temporary files. A change of the format changes it.
const version = 1

// ErrMalformed is wrapped by the errors of data that is no segment and no piece: it was cut, changed or written by a newer version.
var ErrMalformed = errors.New("malformed data")

// AppendPair appends a pair to a piece of output; on an empty b it begins a piece. The keys of a piece, and those of the pieces
// of one source, must not descend: readers refuse that.
func AppendPair(b, key, value []byte) []byte {
	if len(b) == 0 {
		b = append(b, version)
	}
	return appendValue(appendKey(b, key), value)
}

// Pairs returns the pairs of a piece or segment. It checks all of it first, so the loop cannot fail; the error wraps
// [ErrMalformed]. The slices are parts of piece.
func Pairs(piece []byte) (iter.Seq2[[]byte, []byte], error) {
	if _, _, err := check(piece); err != nil {
		return nil, err
	}
	return func(yield func(key, value []byte) bool) {
		d := decoder{rest: piece[1:]}
		for {
			_, err := d.next()
			if err != nil || !yield(d.key, d.value) {
				return
			}
		}
	}, nil
}

func appendKey(b, key []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(key))+1), key...)
}

func appendSameKey(b []byte) []byte { return append(b, 0) }

func appendValue(b, value []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// decoder reads the pairs that follow the version byte.
type decoder struct {
	rest  []byte
	begun bool // there is a key
	key   []byte
	value []byte
}

// next reads one pair; io.EOF is the end. It reports whether the key is that of the pair before by its form: a key that is spelt
// out again is not the same.
func (d *decoder) next() (same bool, err error) {
	if len(d.rest) == 0 {
		return false, io.EOF
	}
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		return false, malformed("a length that does not end")
	}
	d.rest = d.rest[size:]
	if n == 0 {
		if !d.begun {
			return false, malformed("a first pair without a key")
		}
	} else if d.key, err = d.take(n - 1); err != nil {
		return false, err
	}
	d.begun = true
	length, size := binary.Uvarint(d.rest)
	if size <= 0 {
		return false, malformed("a pair without a value")
	}
	d.rest = d.rest[size:]
	d.value, err = d.take(length)
	return n == 0, err
}

func (d *decoder) take(n uint64) ([]byte, error) {
	if n > uint64(len(d.rest)) {
		return nil, malformed("a length of %d where %d bytes are left", n, len(d.rest))
	}
	taken := d.rest[:n:n]
	d.rest = d.rest[n:]
	return taken, nil
}

// check reads all of a segment or piece. It returns its first and its last key, nil when there are no pairs.
func check(data []byte) (first, last []byte, err error) {
	if err := checkVersion(data); err != nil {
		return nil, nil, err
	}
	d := decoder{rest: data[1:]}
	for {
		before, begun := d.key, d.begun
		same, err := d.next()
		switch {
		case err == io.EOF: //nolint:errorlint // next returns it bare
			return first, d.key, nil
		case err != nil:
			return nil, nil, fmt.Errorf("%w at byte %d of %d", err, len(data)-len(d.rest), len(data))
		case !begun:
			first = d.key
		case !same && bytes.Compare(before, d.key) > 0:
			return nil, nil, descending(before, d.key)
		}
	}
}

func checkVersion(data []byte) error {
	if len(data) == 0 {
		return malformed("it is empty")
	}
	if data[0] != version {
		return malformed("version %d; this program reads version %d", data[0], version)
	}
	return nil
}

func descending(before, key []byte) error {
	return malformed("key %q comes after key %q", clip(key), clip(before))
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("shuffle: %w: "+format, append([]any{ErrMalformed}, args...)...)
}
