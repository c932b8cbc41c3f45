package shuffle_test

import (
	"errors"
	"testing"

	"github.com/athoune/worker-machine/internal/shuffle"
)

// from is a source of pieces, then of err.
func from(pieces [][]byte, err error) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(pieces) == 0 {
			return nil, err
		}
		piece := pieces[0]
		pieces = pieces[1:]
		return piece, nil
	}
}

func TestMergeSorted(t *testing.T) {
	t.Parallel()
	for range 50 {
		r, why := random(t)
		var all []pair
		var sources []func() ([]byte, error)
		for range r.IntN(6) {
			pairs := randomPairs(r, r.IntN(200), 20)
			all = append(all, pairs...)
			pieces := [][]byte{{1}} // a piece without pairs
			var piece []byte
			for _, p := range oracle(pairs) {
				if piece = shuffle.AppendPair(piece, []byte(p.key), []byte(p.value)); r.IntN(20) == 0 {
					pieces, piece = append(pieces, piece), nil
				}
			}
			if piece != nil {
				pieces = append(pieces, piece)
			}
			sources = append(sources, from(pieces, nil))
		}
		var got []pair
		for p, err := range shuffle.MergeSorted(sources) {
			if err != nil {
				t.Fatalf("%s: %v", why, err)
			}
			got = append(got, pair{string(p.Key), string(p.Value)})
		}
		same(t, got, oracle(all), why)
	}
}

func TestMergeSortedReportsTheSourceThatFails(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	a, b := shuffle.AppendPair(nil, []byte("a"), nil), shuffle.AppendPair(nil, []byte("b"), nil)
	for name, c := range map[string]struct {
		source func() ([]byte, error)
		want   error
		before int // pairs that come before the error
	}{
		"at once":             {from(nil, boom), boom, 0},
		"later":               {from([][]byte{b}, boom), boom, 2},
		"malformed":           {from([][]byte{a, {2}}, nil), shuffle.ErrMalformed, 2},
		"empty, not nil":      {from([][]byte{{}}, nil), shuffle.ErrMalformed, 0},
		"descends in a piece": {from([][]byte{shuffle.AppendPair(b, []byte("a"), nil)}, nil), shuffle.ErrMalformed, 0},
		"descends at a piece": {from([][]byte{b, a}, nil), shuffle.ErrMalformed, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pairs, last := 0, error(nil)
			for p, err := range shuffle.MergeSorted([]func() ([]byte, error){from([][]byte{a}, nil), c.source}) {
				if last != nil {
					t.Fatalf("%q, %v comes after the error", p, err)
				}
				if last = err; err == nil {
					pairs++
				}
			}
			if !errors.Is(last, c.want) || pairs != c.before {
				t.Errorf("got %d pairs and %v, want %d and %v", pairs, last, c.before, c.want)
			}
		})
	}
	for range shuffle.MergeSorted([]func() ([]byte, error){from([][]byte{a, b}, boom)}) {
		break
	}
}
