package mapreduce

import (
	"math/rand/v2"
	"testing"
)

// TestSpansAreWhatASetIs adds indexes in a random order.
func TestSpansAreWhatASetIs(t *testing.T) {
	t.Parallel()
	const n = 300
	for range 50 {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable
		var s spans
		has := map[int]bool{}
		for _, i := range random.Perm(n)[:random.IntN(n)] {
			s.add(i)
			has[i] = true
		}
		again, err := parseSpans(s.String())
		if err != nil || again.String() != s.String() || s.count() != len(has) {
			t.Fatalf("seed %d: %s of %d, again %s, %v", seed, s, len(has), again, err)
		}
		for i := 1; i < len(s); i++ {
			if s[i].from <= s[i-1].to {
				t.Fatalf("seed %d: %s touches", seed, s)
			}
		}
		for i := range n {
			next := i
			for has[next] {
				next++
			}
			if got := again.after(i); got != next {
				t.Fatalf("seed %d: after %d in %s: got %d, want %d", seed, i, s, got, next)
			}
		}
		if low := s.low(); has[low] || s.end() > 0 && !has[s.end()-1] {
			t.Fatalf("seed %d: low %d, end %d of %s", seed, low, s.end(), s)
		}
	}
	for _, bad := range []string{"a", "1-", "-1", "3,2", "3-1", "1,2", "1,1", ",", "1-4,4"} {
		if s, err := parseSpans(bad); err == nil {
			t.Errorf("%q: got %s", bad, s)
		}
	}
}
