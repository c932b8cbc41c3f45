package shuffle_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/athoune/worker-machine/internal/shuffle"
)

// pair is a pair as tests compare it.
type pair struct{ key, value string }

// random returns a source of chance and its seed, for failure texts.
func random(t *testing.T) (*rand.Rand, string) {
	t.Helper()
	seed := rand.Uint64()
	return rand.New(rand.NewPCG(seed, 0)), fmt.Sprintf("seed %#x", seed)
}

// randomKey makes keys that share prefixes, hold zeros, are empty, and often equal another.
func randomKey(r *rand.Rand) []byte {
	key := make([]byte, r.IntN(12))
	for i := range key {
		key[i] = "\x00\x00a\xff"[r.IntN(4)]
	}
	return key[:r.IntN(len(key)+1)]
}

// randomPairs makes n pairs; each value is told from the others by its number, but for some that are empty.
func randomPairs(r *rand.Rand, n, valueBytes int) []pair {
	pairs := make([]pair, n)
	for i := range pairs {
		value := fmt.Appendf(nil, "%d", i)
		switch r.IntN(10) {
		case 0:
			value = nil
		case 1:
			value = append(value, make([]byte, r.IntN(valueBytes+1))...)
		}
		pairs[i] = pair{string(randomKey(r)), string(value)}
	}
	return pairs
}

// oracle is what the pairs are after a shuffle: sorted by key, equal keys in the order in which they came.
func oracle(pairs []pair) []pair {
	sorted := slices.Clone(pairs)
	slices.SortStableFunc(sorted, func(a, b pair) int {
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	})
	return sorted
}

// segments makes sorted segments of the pairs, of about each pairs each.
func segments(t *testing.T, pairs []pair, each int) [][]byte {
	t.Helper()
	var all [][]byte
	for chunk := range slices.Chunk(pairs, each) {
		var segment []byte
		for _, p := range oracle(chunk) {
			segment = shuffle.AppendPair(segment, []byte(p.key), []byte(p.value))
		}
		all = append(all, segment)
	}
	return all
}

// read returns the pairs of a segment or piece.
func read(t *testing.T, data []byte) []pair {
	t.Helper()
	pairs, err := shuffle.Pairs(data)
	if err != nil {
		t.Fatalf("read %d bytes: %v", len(data), err)
	}
	var all []pair
	for key, value := range pairs {
		all = append(all, pair{string(key), string(value)})
	}
	return all
}

// flatten returns all pairs of a merger. Each key must come once.
func flatten(t *testing.T, m *shuffle.Merger, why string) []pair {
	t.Helper()
	var all []pair
	begun, before := false, ""
	for key, values := range m.Groups() {
		if begun && before >= string(key) {
			t.Fatalf("%s: key %q comes after key %q", why, key, before)
		}
		begun, before = true, string(key)
		for value := range values {
			all = append(all, pair{string(key), string(value)})
		}
	}
	if err := m.Err(); err != nil {
		t.Fatalf("%s: %v", why, err)
	}
	return all
}

// same fails unless two lists of pairs are equal; it shows the first difference.
func same(t *testing.T, got, want []pair, why string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: pair %d is %q, want %q", why, i, clip(got[i]), clip(want[i]))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: got %d pairs, want %d", why, len(got), len(want))
	}
}

func clip(p pair) string {
	if len(p.value) > 40 {
		return fmt.Sprintf("%s: %s... (%d bytes)", p.key, p.value[:40], len(p.value))
	}
	return p.key + ": " + p.value
}
