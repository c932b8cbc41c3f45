package stream

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Codec turns values into bytes and back. Client and worker of one function use the same. It must be safe for concurrent use.
type Codec interface {
	Encode(v any) ([]byte, error)
	Decode(data []byte, v any) error // v is a pointer
}

// JSON is the codec of a [Func] that names none.
var JSON Codec = jsonCodec{}

// Raw passes []byte and string values as they are, and refuses others.
var Raw Codec = rawCodec{}

type jsonCodec struct{}

// Encode is json.Marshal; the two most frequent types of payloads take a short way to the same text.
func (jsonCodec) Encode(v any) ([]byte, error) {
	switch value := v.(type) {
	case int:
		return strconv.AppendInt(nil, int64(value), 10), nil
	case string:
		if isPlain(value) {
			data := make([]byte, 0, len(value)+2)
			return append(append(append(data, '"'), value...), '"'), nil
		}
	}
	return json.Marshal(v)
}

// Decode is json.Unmarshal; see Encode.
func (jsonCodec) Decode(data []byte, v any) error {
	switch value := v.(type) {
	case *int:
		if n, ok := plainInt(data); ok {
			*value = n
			return nil
		}
	case *string:
		if last := len(data) - 1; last > 0 && data[0] == '"' && data[last] == '"' && isPlain(data[1:last]) {
			*value = string(data[1:last])
			return nil
		}
	}
	return json.Unmarshal(data, v)
}

// isPlain tells whether a text stands in JSON as it is.
func isPlain[T string | []byte](text T) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&': // the last three are escaped by json.Marshal
			return false
		}
	}
	return true
}

// plainInt reads a number of at most 18 digits, which any int64 holds.
func plainInt(data []byte) (n int, ok bool) {
	const most = 18
	digits := data
	if len(data) > 0 && data[0] == '-' {
		digits = data[1:]
	}
	if strconv.IntSize < 64 || len(digits) == 0 || len(digits) > most || digits[0] == '0' {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if len(digits) < len(data) {
		n = -n
	}
	return n, true
}

type rawCodec struct{}

func (rawCodec) Encode(v any) ([]byte, error) {
	switch value := v.(type) {
	case []byte:
		return value, nil
	case string:
		return []byte(value), nil
	default:
		return nil, fmt.Errorf("the raw codec takes []byte and string, not %T", v)
	}
}

func (rawCodec) Decode(data []byte, v any) error {
	switch value := v.(type) {
	case *[]byte:
		*value = data
	case *string:
		*value = string(data)
	default:
		return fmt.Errorf("the raw codec gives *[]byte and *string, not %T", v)
	}
	return nil
}
