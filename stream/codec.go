package stream

import (
	"encoding/json"
	"fmt"
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

func (jsonCodec) Encode(v any) ([]byte, error)    { return json.Marshal(v) }
func (jsonCodec) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

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
