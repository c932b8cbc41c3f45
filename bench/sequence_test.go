package main

import (
	"fmt"
	"slices"
	"testing"
)

// TestSequences holds what the figures stand for: in order all entries of ours go at the head of the stream, out of order every other
// batch from its middle. The floor does not make that difference.
func TestSequences(t *testing.T) {
	t.Parallel()
	const stored, n, batches = 2000, 1200, 12
	for _, c := range []struct {
		system, sequence      string
		trims, deletes, tells int
	}{
		{floorName, "inorder", 0, batches, 0},
		{floorName, "outoforder", 0, batches, 0},
		{floorName, "told", 0, batches, n},
		{oursName, "inorder", batches, 0, 0},
		{oursName, "outoforder", batches / 2, batches / 2, 0},
		{oursName, "told", batches, 0, batches},
	} {
		t.Run(c.system+", "+c.sequence, func(t *testing.T) {
			t.Parallel()
			all := sequences()
			s := all[slices.IndexFunc(all, func(s sequence) bool { return s.key == c.sequence })]
			server, err := redisBackend(t.Context(), place{dir: t.TempDir(), unix: true})
			if err != nil {
				t.Fatal(err)
			}
			defer server.stop()
			q := openQueue(t, c.system, server.address)
			if err := s.play(t.Context(), q, stored, n); err != nil {
				t.Fatal(err)
			}
			stats, err := server.info(t.Context(), "commandstats")
			if err != nil {
				t.Fatal(err)
			}
			if s.told && c.system == oursName {
				c.tells++ // who waits opens it
			}
			for command, want := range map[string]int{
				"xreadgroup": batches, "xtrim": c.trims, "xdel": c.deletes, "xadd": stored + c.tells,
			} {
				if got := commandCalls(stats, command); got != want {
					t.Errorf("%s was called %d times, want %d", command, got, want)
				}
			}
		})
	}
}

func openQueue(t *testing.T, name, address string) queue {
	t.Helper()
	s, err := systemNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// commandCalls is how often a command was called, also from scripts.
func commandCalls(stats map[string]string, command string) (n int) {
	_, _ = fmt.Sscanf(stats["cmdstat_"+command], "calls=%d,", &n) // 0 when it is not there
	return n
}
