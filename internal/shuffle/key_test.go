package shuffle_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/shuffle"
)

var update = flag.Bool("update", os.Getenv("UPDATE_GOLDEN") != "", "write the golden files anew")

type (
	named      string
	namedInt   int16
	namedFloat float32
)

func TestKeysOrderAsCompareDoes(t *testing.T) {
	t.Parallel()
	r, why := random(t)
	order(t, why, "", "\x00", "a", "a\x00", "a\x00b", "ab", "b", "\xff", "\xff\xff", "é")
	order[named](t, why, "", "a", "b", "ab")
	order(t, why, append(random64[int](r), 0, -1, 1, math.MinInt, math.MaxInt)...)
	order(t, why, append(random64[int64](r), 0, -1, 1, math.MinInt64, math.MaxInt64)...)
	order(t, why, append(random64[int32](r), 0, -1, 1, math.MinInt32, math.MaxInt32)...)
	order(t, why, append(random64[namedInt](r), 0, -1, 1, math.MinInt16, math.MaxInt16)...)
	order(t, why, append(random64[int8](r), 0, -1, 1, math.MinInt8, math.MaxInt8)...)
	order(t, why, append(random64[uint](r), 0, 1, math.MaxUint)...)
	order(t, why, append(random64[uint64](r), 0, 1, math.MaxUint64)...)
	order(t, why, append(random64[uint32](r), 0, 1, math.MaxUint32)...)
	order(t, why, append(random64[uint16](r), 0, 1, math.MaxUint16)...)
	order(t, why, append(random64[uint8](r), 0, 1, math.MaxUint8)...)
	order(t, why, append(random64[uintptr](r), 0, 1)...)
	negativeZero, otherNaN := math.Copysign(0, -1), math.Float64frombits(0xfff8000000000123)
	wide := []float64{
		0, negativeZero, math.NaN(), otherNaN, math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64,
		math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, 1, -1,
	}
	narrow := []namedFloat{
		0, namedFloat(negativeZero), namedFloat(math.NaN()), -namedFloat(math.NaN()), namedFloat(math.Inf(1)), namedFloat(math.Inf(-1)),
		math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 1, -1,
	}
	for range 50 {
		wide = append(wide, math.Float64frombits(r.Uint64()))
		narrow = append(narrow, namedFloat(math.Float32frombits(r.Uint32())))
	}
	order(t, why, wide...)
	order(t, why, narrow...)
}

func random64[K int | int64 | int32 | namedInt | int8 | uint | uint64 | uint32 | uint16 | uint8 | uintptr](r *rand.Rand) []K {
	keys := make([]K, 50)
	for i := range keys {
		keys[i] = K(r.Uint64() >> r.IntN(64))
	}
	return keys
}

// order compares every key with every other one, and decodes each.
func order[K cmp.Ordered](t *testing.T, why string, keys ...K) {
	t.Helper()
	for _, a := range keys {
		encoded := shuffle.AppendKey([]byte("before"), a)[len("before"):]
		if back, err := shuffle.DecodeKey[K](encoded); err != nil || cmp.Compare(a, back) != 0 {
			t.Errorf("%s: %T %v is %q and that is %v, %v", why, a, a, encoded, back, err)
		}
		for _, b := range keys {
			if got, want := bytes.Compare(encoded, shuffle.AppendKey(nil, b)), cmp.Compare(a, b); got != want {
				t.Errorf("%s: %T: the bytes of %v and %v compare %d, want %d", why, a, a, b, got, want)
			}
		}
	}
}

func TestDecodeKeyRefusesOtherBytes(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"int of 7 bytes":         second(shuffle.DecodeKey[int]([]byte("1234567"))),
		"int of none":            second(shuffle.DecodeKey[int](nil)),
		"int16 of 3":             second(shuffle.DecodeKey[namedInt]([]byte("123"))),
		"uint8 of 2":             second(shuffle.DecodeKey[uint8]([]byte("12"))),
		"float64 of 4":           second(shuffle.DecodeKey[float64]([]byte("1234"))),
		"negative zero":          second(shuffle.DecodeKey[float64]([]byte("\x7f\xff\xff\xff\xff\xff\xff\xff"))),
		"a second NaN":           second(shuffle.DecodeKey[float64]([]byte("\xff\xff\xff\xff\xff\xff\xff\xff"))),
		"a second NaN, below":    second(shuffle.DecodeKey[float64]([]byte("\x00\x00\x00\x00\x00\x00\x00\x01"))),
		"a narrow negative zero": second(shuffle.DecodeKey[namedFloat]([]byte("\x7f\xff\xff\xff"))),
		"a second narrow NaN":    second(shuffle.DecodeKey[float32]([]byte("\xff\xff\xff\xff"))),
	} {
		if err == nil {
			t.Errorf("%s was decoded", name)
		}
	}
}

func second[K any](_ K, err error) error { return err }

// TestGoldenKeys holds what runs that are under way rely on: a map task and a reduce task may run different versions of a program.
func TestGoldenKeys(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	line := func(name string, key []byte) {
		fmt.Fprintf(&b, "%-28s %x  16: %d  1000: %d\n", name, key, shuffle.Partition(key, 16), shuffle.Partition(key, 1000))
	}
	for _, s := range []string{"", "a", "word", "\x00", "Zürich", strings.Repeat("long", 20)} {
		line(fmt.Sprintf("string %.16q", s), shuffle.AppendKey(nil, s))
	}
	for _, i := range []int{math.MinInt64, -1, 0, 1, 16, 4096, math.MaxInt64} {
		line(fmt.Sprint("int ", i), shuffle.AppendKey(nil, i))
	}
	line("int8 -128", shuffle.AppendKey(nil, int8(-128)))
	line("int16 -2", shuffle.AppendKey(nil, namedInt(-2)))
	line("int32 3", shuffle.AppendKey(nil, int32(3)))
	line("uint8 200", shuffle.AppendKey(nil, uint8(200)))
	line("uint16 1", shuffle.AppendKey(nil, uint16(1)))
	line("uint32 1", shuffle.AppendKey(nil, uint32(1)))
	line("uint 1", shuffle.AppendKey(nil, uint(1)))
	line("uintptr 1", shuffle.AppendKey(nil, uintptr(1)))
	for _, f := range []float64{math.NaN(), math.Inf(-1), -1.5, math.Copysign(0, -1), 0, 1.5, math.Inf(1)} {
		line(fmt.Sprint("float64 ", f), shuffle.AppendKey(nil, f))
		line(fmt.Sprint("float32 ", f), shuffle.AppendKey(nil, float32(f)))
	}
	golden(t, "keys", b.String())
}

func TestGoldenSegment(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	c := shuffle.NewCollector(shuffle.CollectorConfig{Partitions: 2, Spill: func(segments []shuffle.Segment) error {
		for _, s := range segments {
			fmt.Fprintf(&b, "segment of partition %d, %d pairs: %q\n", s.Partition, s.Pairs, s.Data)
		}
		return nil
	}})
	var piece []byte
	for _, p := range []pair{{"b", "1"}, {"a", "2"}, {"", ""}, {"b", "3"}, {"a", strings.Repeat("x", 130)}, {"c", "\x00"}} {
		if err := c.Add([]byte(p.key), []byte(p.value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []pair{{"", "1"}, {"a", ""}, {"a", "2"}} {
		piece = shuffle.AppendPair(piece, []byte(p.key), []byte(p.value))
	}
	fmt.Fprintf(&b, "piece: %q\n", piece)
	golden(t, "segment", b.String())
}

// golden compares bytes that programs of different versions exchange with what they were when the file was written.
func golden(t *testing.T, what, got string) {
	t.Helper()
	path := filepath.Join("testdata", what+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: make golden writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s changed: runs that are under way would break; revert it, or give segments a new version (make golden writes %s anew)\ngot:\n%s\nwant:\n%s", what, path, got, want)
	}
}

func TestPartitionIsTheHashItsCommentNames(t *testing.T) {
	t.Parallel()
	r, why := random(t)
	for range 1000 {
		key := randomKey(r)
		hash := fnv.New64a()
		hash.Write(key)
		h := hash.Sum64()
		h ^= h >> 33
		h *= 0xff51afd7ed558ccd
		h ^= h >> 33
		h *= 0xc4ceb9fe1a85ec53
		h ^= h >> 33
		partitions := 1 + r.IntN(1024)
		if got, want := shuffle.Partition(key, partitions), int(h%uint64(partitions)); got != want {
			t.Fatalf("%s: Partition(%q, %d) is %d, want %d", why, key, partitions, got, want)
		}
	}
	for _, partitions := range []int{-1, 0, 1} {
		if got := shuffle.Partition([]byte("a"), partitions); got != 0 {
			t.Errorf("Partition of %d partitions is %d, want 0", partitions, got)
		}
	}
}

// TestPartitionsAreEven takes keys that many hashes put side by side.
func TestPartitionsAreEven(t *testing.T) {
	t.Parallel()
	const keys = 64000
	for name, key := range map[string]func(i int) []byte{
		"numbers":             func(i int) []byte { return shuffle.AppendKey(nil, i) },
		"every 16th number":   func(i int) []byte { return shuffle.AppendKey(nil, 16*i) },
		"every 4096th number": func(i int) []byte { return shuffle.AppendKey(nil, 4096*i) },
		"whole floats":        func(i int) []byte { return shuffle.AppendKey(nil, float64(i)) },
		"words":               func(i int) []byte { return fmt.Appendf(nil, "word-%d", i) },
	} {
		for _, partitions := range []int{2, 16, 17, 64} {
			counts := make([]int, partitions)
			for i := range keys {
				counts[shuffle.Partition(key(i), partitions)]++
			}
			mean := keys / partitions
			if least, most := slices.Min(counts), slices.Max(counts); least < mean*4/5 || most > mean*6/5 {
				t.Errorf("%s: %d partitions have %d to %d of %d keys, want near %d each", name, partitions, least, most, keys, mean)
			}
		}
	}
}
