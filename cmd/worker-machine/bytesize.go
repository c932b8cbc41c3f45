package main

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

// byteSize is a flag of a number of bytes: 1000, 64KiB, 8MiB, 1GiB, or as short as 64k, 8m, 1g.
type byteSize int64

var errByteSize = errors.New("write a number of bytes like 64KiB, 8MiB or 1GiB")

// String is the size with its unit.
func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return strings.ReplaceAll(strings.ReplaceAll(plain.Bytes(int64(*b)), ".0 ", ""), " ", "")
}

// Set reads a size.
func (b *byteSize) Set(text string) error {
	lower := strings.ToLower(strings.TrimSpace(text))
	factor := int64(1)
	for i, unit := range []string{"k", "m", "g", "t"} {
		for _, suffix := range []string{unit + "ib", unit + "b", unit} {
			if number, ok := strings.CutSuffix(lower, suffix); ok && factor == 1 {
				lower, factor = number, 1<<(10*(i+1))
			}
		}
	}
	if factor == 1 {
		lower = strings.TrimSuffix(lower, "b")
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(lower), 64)
	if err != nil || !(n > 0) || n*float64(factor) >= math.MaxInt64 || n*float64(factor) < 1 {
		return errByteSize
	}
	*b = byteSize(n * float64(factor))
	return nil
}

// Type names the kind of value in the help.
func (b *byteSize) Type() string { return "bytes" }
