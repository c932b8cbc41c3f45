package programs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/athoune/worker-machine/stream"
)

// Split is what one map task reads: parts of files, or lines that came along.
type Split struct {
	Parts  []Part `json:"parts,omitempty"`
	Origin string `json:"origin,omitempty"` // where Lines come from, for messages
	Sum    []byte `json:"sum,omitempty"`    // of a signed run, see [Secret]
	Lines  []byte `json:"-"`
}

// Part is the lines of a file that begin in a range of its bytes.
type Part struct {
	Path   string `json:"path"` // absolute
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Size   int64  `json:"size"` // of the whole file when it was cut
}

// Codec is how splits travel: a description in JSON, and the lines as they are.
var Codec stream.Codec = splitCodec{}

type splitCodec struct{}

// Encode makes bytes of a Split.
func (splitCodec) Encode(v any) ([]byte, error) {
	s, ok := v.(Split)
	if !ok {
		return nil, fmt.Errorf("programs: a split is wanted, not %T", v)
	}
	head, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	data := binary.AppendUvarint(make([]byte, 0, len(head)+len(s.Lines)+binary.MaxVarintLen64), uint64(len(head)))
	return append(append(data, head...), s.Lines...), nil
}

var errSplit = errors.New("programs: the input of a map task is no split")

// Decode is the reverse of Encode. The lines share memory with data.
func (splitCodec) Decode(data []byte, v any) error {
	s, ok := v.(*Split)
	if !ok {
		return fmt.Errorf("programs: a *Split is wanted, not %T", v)
	}
	n, size := binary.Uvarint(data)
	if size <= 0 || n > uint64(len(data)-size) {
		return errSplit
	}
	end := size + int(n) //nolint:gosec // not above the length
	if err := json.Unmarshal(data[size:end], s); err != nil {
		return fmt.Errorf("%w: %w", errSplit, err)
	}
	s.Lines = data[end:]
	return nil
}

// input is the file of the split for WM_INPUT, when it is one.
func (s Split) input() string {
	if len(s.Parts) == 0 {
		return s.Origin
	}
	path := s.Parts[0].Path
	for _, part := range s.Parts {
		if part.Path != path {
			return ""
		}
	}
	return path
}
