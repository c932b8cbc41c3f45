package shuffle_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/athoune/worker-machine/internal/shuffle"
)

// corpus is data for both targets.
var corpus = [][]byte{
	nil,
	{1},
	[]byte("\x01\x02a\x011\x00\x00\x02b\x012"), []byte("\x01\x01\x00\x01\x00\x00\x03\x00\xff\x00"),
	[]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x01b"), []byte("\x01\x02b\x00\x02a\x00"),
}

// FuzzMerger adds data twice: through memory and through the file the pairs are those that Pairs reads.
func FuzzMerger(f *testing.F) {
	for _, data := range corpus {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pairs, err := shuffle.Pairs(data)
		for _, memory := range []int64{1, 1 << 20} {
			m := shuffle.NewMerger(shuffle.MergerConfig{Memory: memory})
			defer m.Close()
			if got := m.Add(slices.Clone(data)); (got == nil) != (err == nil) || got != nil && !errors.Is(got, shuffle.ErrMalformed) {
				t.Fatalf("%q: Add returns %v, Pairs %v", data, got, err)
			}
			if err != nil {
				continue
			}
			if err := m.Add(slices.Clone(data)); err != nil {
				t.Fatal(err)
			}
			var once []pair
			for key, value := range pairs {
				once = append(once, pair{string(key), string(value)})
			}
			same(t, flatten(t, m, "merge"), oracle(append(once, once...)), "merge")
		}
	})
}

// FuzzPieces cuts data in two pieces of one source: what comes out is sorted, and written again it is read as the same.
func FuzzPieces(f *testing.F) {
	for _, data := range corpus {
		f.Add(data, 0)
		f.Add(append(bytes.Clone(data), data...), len(data))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		cut = min(max(cut, 0), len(data))
		var all []pair
		var again []byte
		for p, err := range shuffle.MergeSorted([]func() ([]byte, error){from([][]byte{data[:cut:cut], data[cut:]}, nil)}) {
			if err != nil {
				if !errors.Is(err, shuffle.ErrMalformed) {
					t.Fatalf("%q at %d: %v", data, cut, err)
				}
				break
			}
			all = append(all, pair{string(p.Key), string(p.Value)})
			again = shuffle.AppendPair(again, p.Key, p.Value)
		}
		same(t, all, oracle(all), "order")
		if len(all) > 0 {
			same(t, read(t, again), all, "written again")
		}
	})
}
