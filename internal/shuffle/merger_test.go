package shuffle_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/shuffle"
)

// spilling makes a merger that has spilt the pairs to many runs.
func spilling(t *testing.T, pairs []pair) *shuffle.Merger {
	t.Helper()
	m := shuffle.NewMerger(shuffle.MergerConfig{Memory: 4 << 10, Dir: t.TempDir()})
	t.Cleanup(func() { m.Close() })
	for _, segment := range segments(t, pairs, 50) {
		if err := m.Add(segment); err != nil {
			t.Fatal(err)
		}
	}
	if m.Spilled() == 0 {
		t.Fatalf("%d pairs were not spilt", len(pairs))
	}
	return m
}

// TestLoopsMayEndEarly leaves out random values and groups; what is seen must be a part of what there is, from the right place.
func TestLoopsMayEndEarly(t *testing.T) {
	t.Parallel()
	for range 20 {
		r, why := random(t)
		pairs := randomPairs(r, 2000, 100)
		want := map[string][]string{}
		for _, p := range pairs {
			want[p.key] = append(want[p.key], p.value)
		}
		keys, stop := 0, r.IntN(len(want)+1)
		m := spilling(t, pairs)
		for key, values := range m.Groups() {
			all, leave := want[string(key)], r.IntN(5)
			var got []string
			loops := r.IntN(3)
			for range loops { // a second loop goes on where the first one stopped
				var left []byte
				for value := range values {
					got = append(got, string(value))
					if len(got) == leave {
						left = value
						break
					}
				}
				if left != nil && string(left) != got[leave-1] {
					t.Fatalf("%s: key %q: value %q became %q when the loop was left", why, key, got[leave-1], left)
				}
			}
			if len(got) != len(all) && (loops == 2 || loops == 1 && leave == 0) || !slices.Equal(got, all[:len(got)]) {
				t.Fatalf("%s: key %q has %q, want %q (leaving at %d)", why, key, got, all, leave)
			}
			if keys++; keys == stop {
				break
			}
		}
		if err := m.Err(); err != nil || keys != stop && keys != len(want) {
			t.Fatalf("%s: %d keys of %d, stop at %d: %v", why, keys, len(want), stop, err)
		}
	}
}

func TestValuesOfTheLastGroupEnd(t *testing.T) {
	t.Parallel()
	m := shuffle.NewMerger(shuffle.MergerConfig{})
	if err := m.Add(shuffle.AppendPair(nil, []byte("a"), []byte("1"))); err != nil {
		t.Fatal(err)
	}
	for _, values := range m.Groups() {
		for range values {
		}
		for value := range values {
			t.Errorf("a value came twice: %q", value)
		}
	}
}

func TestGroupsOnce(t *testing.T) {
	t.Parallel()
	m := shuffle.NewMerger(shuffle.MergerConfig{})
	for range m.Groups() {
		t.Error("a merger without segments has a group")
	}
	if err := m.Err(); err != nil {
		t.Errorf("after an empty loop: %v", err)
	}
	if err := m.Add(segments(t, []pair{{"a", "b"}}, 1)[0]); err == nil {
		t.Error("a segment was added after Groups")
	}
	for range m.Groups() {
		t.Error("a second loop has a group")
	}
	if m.Err() == nil {
		t.Error("a second loop is no error")
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	for range m.Groups() {
		t.Error("a closed merger has a group")
	}
}

func TestMalformedSegmentsAreRefused(t *testing.T) {
	t.Parallel()
	good := []byte("\x01\x02a\x011\x00\x00\x02b\x012")
	for name, data := range map[string][]byte{
		"none":                      nil,
		"another version":           []byte("\x02\x02a\x011"),
		"cut in the value":          good[:len(good)-1],
		"cut before the value":      good[:len(good)-2],
		"cut in the key":            []byte("\x01\x04a"),
		"a length without an end":   []byte("\x01\x80"),
		"a length of 65 bits":       []byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
		"a key of 2^64-2 bytes":     []byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x01b"),
		"a value of 2^63 bytes":     []byte("\x01\x02a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01b"),
		"a first pair with no key":  []byte("\x01\x00\x01b"),
		"keys that descend":         []byte("\x01\x02b\x00\x02a\x00"),
		"keys that descend to none": []byte("\x01\x02b\x00\x01\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := shuffle.NewMerger(shuffle.MergerConfig{})
			_, pairsErr := shuffle.Pairs(data)
			for _, err := range []error{m.Add(data), pairsErr} {
				if !errors.Is(err, shuffle.ErrMalformed) {
					t.Errorf("%q: got %v, want an ErrMalformed", data, err)
				}
			}
			if err := m.Add(slices.Clone(good)); err != nil {
				t.Errorf("a good segment after it: %v", err)
			}
			same(t, flatten(t, m, name), []pair{{"a", "1"}, {"a", ""}, {"b", "2"}}, name)
		})
	}
}

func TestTemporaryFileHasNoName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := shuffle.NewMerger(shuffle.MergerConfig{Memory: 1000, Dir: dir})
	for i := range 100 {
		if err := m.Add(shuffle.AppendPair(nil, []byte("key"), fmt.Appendf(nil, "%100d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if m.Spilled() < 100*100 {
		t.Errorf("Spilled is %d after 100 values of 100 bytes with a memory of 1000", m.Spilled())
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("the directory has %v, %v; want nothing", names, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestTroubleWithTheTemporaryFileNamesItAndTheRemedy(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "missing")
	m := shuffle.NewMerger(shuffle.MergerConfig{Memory: 10, Dir: dir})
	err := m.Add(shuffle.AppendPair(nil, []byte("key"), make([]byte, 1000)))
	wantTrouble(t, err, dir, "open")
	if !errors.Is(err, os.ErrNotExist) || !errors.Is(m.Err(), os.ErrNotExist) {
		t.Errorf("got %v and Err %v, want os.ErrNotExist", err, m.Err())
	}
	for range m.Groups() {
		t.Error("there are groups after a failed Add")
	}
}

func wantTrouble(t *testing.T, err error, dir, verb string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"shuffle: " + verb, dir, "TMPDIR", "Memory"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want it to name %q", err, part)
		}
	}
}

func TestLargeKeysAndValuesGoThroughTheFile(t *testing.T) {
	t.Parallel()
	r, why := random(t)
	var pairs []pair
	for i := range 300 {
		p := pair{string(randomKey(r)), fmt.Sprint(i)}
		if r.IntN(3) == 0 {
			p.value += strings.Repeat("v", r.IntN(20_000))
		}
		if r.IntN(3) == 0 {
			p.key += strings.Repeat("k", r.IntN(20_000))
		}
		pairs = append(pairs, p)
	}
	same(t, flatten(t, spilling(t, pairs), why), oracle(pairs), why)
}
