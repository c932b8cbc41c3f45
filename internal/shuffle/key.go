package shuffle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
)

// AppendKey appends key to b so that bytes.Compare orders keys of one type as cmp.Compare does, and equal keys have equal bytes.
// Strings are as they are. Integers are big-endian with the sign flipped, as wide as their type; int, uint and uintptr have 8 bytes
// everywhere. Floats are their bits, with the sign flipped or, below zero, all bits; -0 becomes 0, and all NaNs become one, which
// comes first.
func AppendKey[K cmp.Ordered](b []byte, key K) []byte {
	if s, ok := any(key).(string); ok {
		return append(b, s...)
	}
	v := reflect.ValueOf(key)
	switch kind := v.Kind(); {
	case kind == reflect.String:
		return append(b, v.String()...)
	case v.CanInt():
		width := widthOf(kind)
		return appendBigEndian(b, uint64(v.Int())^signBit(width), width) //nolint:gosec // the bits are what is wanted
	case v.CanUint():
		return appendBigEndian(b, v.Uint(), widthOf(kind))
	case kind == reflect.Float32:
		return appendBigEndian(b, float32Bits(float32(v.Float())), 4)
	default: // cmp.Ordered leaves float64
		return appendBigEndian(b, float64Bits(v.Float()), 8)
	}
}

// DecodeKey returns the key of which [AppendKey] made b. It is an error when b is not what AppendKey makes of a K.
func DecodeKey[K cmp.Ordered](b []byte) (K, error) {
	var key K
	if s, ok := any(&key).(*string); ok {
		*s = string(b)
		return key, nil
	}
	v := reflect.ValueOf(&key).Elem()
	if v.Kind() == reflect.String {
		v.SetString(string(b))
		return key, nil
	}
	width := widthOf(v.Kind())
	if len(b) != width {
		return key, fmt.Errorf("shuffle: decode key %q: a %T has %d bytes, these are %d", clip(b), key, width, len(b))
	}
	u := bigEndian(b)
	switch {
	case v.CanInt():
		v.SetInt(signExtend(u^signBit(width), width))
	case v.CanUint():
		v.SetUint(u)
	case width == 4:
		v.SetFloat(float64(float32Of(uint32(u)))) //nolint:gosec // 4 bytes were read
	default:
		v.SetFloat(float64Of(u))
	}
	var buf [8]byte
	if !bytes.Equal(AppendKey(buf[:0], key), b) { // a second form of 0 or NaN, or an int too large for a machine of 32 bits
		var zero K
		return zero, fmt.Errorf("shuffle: decode key %q: no %T has these bytes", b, zero)
	}
	return key, nil
}

// widthOf is the number of bytes of a key that is a number.
func widthOf(kind reflect.Kind) int {
	switch kind {
	case reflect.Int8, reflect.Uint8:
		return 1
	case reflect.Int16, reflect.Uint16:
		return 2
	case reflect.Int32, reflect.Uint32, reflect.Float32:
		return 4
	default:
		return 8
	}
}

func signBit(width int) uint64 { return 1 << (8*width - 1) }

func signExtend(u uint64, width int) int64 {
	unused := 64 - 8*width
	return int64(u<<unused) >> unused //nolint:gosec // the bits are what is wanted
}

func appendBigEndian(b []byte, u uint64, width int) []byte {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], u)
	return append(b, buf[8-width:]...)
}

func bigEndian(b []byte) uint64 {
	var u uint64
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	return u
}

// float64Bits orders as floats do. Zero is free for NaN: it would be a NaN of negative sign.
func float64Bits(f float64) uint64 {
	if math.IsNaN(f) {
		return 0
	}
	bits := math.Float64bits(f + 0) // -0 + 0 is 0
	if bits>>63 != 0 {
		return ^bits
	}
	return bits | 1<<63
}

func float64Of(bits uint64) float64 {
	switch {
	case bits == 0:
		return math.NaN()
	case bits>>63 == 0:
		return math.Float64frombits(^bits)
	default:
		return math.Float64frombits(bits &^ (1 << 63))
	}
}

// float32Bits is float64Bits for the narrow type.
func float32Bits(f float32) uint64 {
	if math.IsNaN(float64(f)) {
		return 0
	}
	bits := math.Float32bits(f + 0)
	if bits>>31 != 0 {
		return uint64(^bits)
	}
	return uint64(bits | 1<<31)
}

func float32Of(bits uint32) float32 {
	switch {
	case bits == 0:
		return float32(math.NaN())
	case bits>>31 == 0:
		return math.Float32frombits(^bits)
	default:
		return math.Float32frombits(bits &^ (1 << 31))
	}
}

// clip keeps an error readable that quotes a long key.
func clip(b []byte) []byte {
	const most = 64
	return b[:min(len(b), most)]
}
