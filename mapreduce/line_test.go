package mapreduce

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestLineHandsOutInOrderOfPositions(t *testing.T) {
	t.Parallel()
	const n, window = 10_000, 100
	random := rand.New(rand.NewPCG(1, 2))
	var l line[int]
	var got []int
	var pending []int
	for position := 0; position < n || len(pending) > 0; {
		for position < n && position-l.next < window {
			pending = append(pending, position)
			position++
		}
		i := random.IntN(len(pending))
		l.put(pending[i], pending[i]*7)
		pending = slices.Delete(pending, i, i+1)
		for v, ok := l.take(); ok; v, ok = l.take() {
			got = append(got, v)
		}
	}
	if len(got) != n {
		t.Fatalf("got %d values, want %d", len(got), n)
	}
	for i, v := range got {
		if v != i*7 {
			t.Fatalf("position %d: got %d, want %d", i, v, i*7)
		}
	}
	if len(l.slots) > 4*window {
		t.Errorf("the ring has %d slots for a window of %d", len(l.slots), window)
	}
}

func TestLineSkipsGapsAtTheEnd(t *testing.T) {
	t.Parallel()
	var l line[string]
	l.put(2, "c")
	l.put(5, "f")
	if v, ok := l.take(); ok {
		t.Fatalf("took %q over a gap", v)
	}
	var got []string
	for range 10 {
		l.skip()
		if v, ok := l.take(); ok {
			got = append(got, v)
		}
	}
	if want := []string{"c", "f"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
