package programs

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readAll is what map tasks would read, one string for each split that has lines.
func readAll(t *testing.T, splits iter.Seq2[Split, error]) (texts []string, err error) {
	t.Helper()
	for split, err := range splits {
		if err != nil {
			return texts, err
		}
		data, err := Codec.Encode(split)
		if err != nil {
			t.Fatal(err)
		}
		var again Split
		if err := Codec.Decode(data, &again); err != nil {
			t.Fatal(err)
		}
		r := newReader(Files{}, again)
		more, err := r.more()
		var b bytes.Buffer
		if err == nil {
			err = r.writeTo(&b)
		}
		r.close()
		if err != nil {
			return texts, err
		}
		if more != (b.Len() > 0) {
			t.Errorf("more is %v, and there are %d bytes", more, b.Len())
		}
		if more {
			texts = append(texts, b.String())
		}
	}
	return texts, nil
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEachLineIsInOneSplit cuts random texts in random places.
func TestEachLineIsInOneSplit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 9)) //nolint:gosec // a test that can be repeated
		var b strings.Builder
		for range random.IntN(30) {
			b.WriteString(strings.Repeat("x", random.IntN(1+random.IntN(40))))
			b.WriteString([]string{"\n", "\r\n", "\x00\n"}[random.IntN(3)])
		}
		if random.IntN(2) == 0 {
			b.WriteString("end")
		}
		text, cfg := b.String(), CutConfig{Split: 1 + random.Int64N(60)}
		want := text
		if text != "" && !strings.HasSuffix(text, "\n") {
			want += "\n"
		}
		path := file(t, text)
		for how, splits := range map[string]iter.Seq2[Split, error]{
			"cut": Cut([]string{path}, cfg), "ship": Ship([]string{path}, nil, cfg), "stdin": Ship(nil, strings.NewReader(text), cfg),
		} {
			got, err := readAll(t, splits)
			if err != nil || strings.Join(got, "") != want {
				t.Fatalf("seed %d, %s by %d: got %q, %v; want %q", seed, how, cfg.Split, got, err, want)
			}
			for _, part := range got {
				if how != "cut" && int64(len(part)) > cfg.Split && strings.Count(part, "\n") > 1 {
					t.Fatalf("seed %d, %s by %d: %q is too much for a split", seed, how, cfg.Split, part)
				}
			}
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	small, empty, large := file(t, "a\n"), file(t, ""), file(t, strings.Repeat("line\n", 5))
	shape := func(cfg CutConfig, paths ...string) string {
		var b strings.Builder
		for s, err := range Cut(paths, cfg) {
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range s.Parts {
				fmt.Fprintf(&b, "%d+%d/%d ", part.Offset, part.Length, part.Size)
			}
			b.WriteString("| ")
		}
		return b.String()
	}
	for got, want := range map[string]string{
		shape(CutConfig{}):                                                 "",
		shape(CutConfig{}, empty):                                          "",
		shape(CutConfig{}, small, empty, large):                            "0+2/2 0+25/25 | ",
		shape(CutConfig{PerFile: true}, small, empty, large):               "0+2/2 | 0+25/25 | ",
		shape(CutConfig{Split: 10}, small, large, small):                   "0+2/2 | 0+10/25 | 10+10/25 | 20+5/25 0+2/2 | ",
		shape(CutConfig{Split: 4}, small, small, small):                    "0+2/2 0+2/2 | 0+2/2 | ",
		shape(CutConfig{Split: 10, PerFile: true}, large, small):           "0+10/25 | 10+10/25 | 20+5/25 | 0+2/2 | ",
		fmt.Sprint(strings.Count(shape(CutConfig{}, many(small)...), "|")): "3",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// many names a file more often than a split may.
func many(path string) (paths []string) {
	for range 2*mostParts + 1 {
		paths = append(paths, path)
	}
	return paths
}

func TestInputsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gone := filepath.Join(dir, "gone")
	long := file(t, "short\n"+strings.Repeat("x", MostShipped+1))
	for name, c := range map[string]struct {
		splits iter.Seq2[Split, error]
		want   string
	}{
		"missing":                 {Cut([]string{gone}, CutConfig{}), "gone: no such file"},
		"missing, shipped":        {Ship([]string{gone}, nil, CutConfig{}), "gone: no such file"},
		"directory":               {Cut([]string{dir}, CutConfig{}), "is a directory; name its files, as in '" + dir + "/*'"},
		"directory, shipped":      {Ship([]string{dir}, nil, CutConfig{}), "is a directory"},
		"device":                  {Cut([]string{"/dev/null"}, CutConfig{}), "read it with --input -"},
		"a long line, shipped":    {Ship([]string{long}, nil, CutConfig{}), "line 2 of " + long + " is longer than 4.0 MiB"},
		"a long line of stdin":    {Ship(nil, strings.NewReader(strings.Repeat("x", MostShipped+1)), CutConfig{}), "line 1 of stdin is longer"},
		"a reader that fails":     {Ship(nil, broken{}, CutConfig{}), "read stdin: broken"},
		"missing when it is read": {one(Split{Parts: []Part{{Path: gone, Length: 1, Size: 1}}}), "gone: no such file"},
		"another size":            {one(Split{Parts: []Part{{Path: long, Length: 1, Size: 1}}}), fmt.Sprintf("%s has %d bytes, and had 1 when", long, MostShipped+7)},
		"now a directory":         {one(Split{Parts: []Part{{Path: dir, Length: 1, Size: 1}}}), "is a directory"},
	} {
		if _, err := readAll(t, c.splits); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if got, err := readAll(t, Cut([]string{long}, CutConfig{Split: 100})); err != nil || len(got) != 1 {
		t.Errorf("a line that is longer than many splits: %d of them, %v", len(got), err)
	}
}

func one(s Split) iter.Seq2[Split, error] {
	return func(yield func(Split, error) bool) { yield(s, nil) }
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestFilesOutsideOfTheRootsAreNotRead(t *testing.T) {
	t.Parallel()
	root, other := t.TempDir(), t.TempDir()
	inside, outside := filepath.Join(root, "a"), filepath.Join(other, "b")
	link := filepath.Join(root, "link")
	for _, err := range []error{os.WriteFile(inside, nil, 0o600), os.WriteFile(outside, nil, 0o600), os.Symlink(outside, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	files := Files{Roots: []string{filepath.Join(other, "none"), root}}
	for path, want := range map[string]bool{inside: true, outside: false, link: false, root + "/../" + filepath.Base(other) + "/b": false, "a": false, "": false} {
		f, err := files.open(path)
		if err == nil {
			f.Close()
		}
		if _, refused := errors.AsType[*RootError](err); (err == nil) != want || !want && !refused {
			t.Errorf("%q: got %v, want it opened: %v", path, err, want)
		}
	}
	f, err := Files{}.open(outside)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestSplitsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "\x05", "\x02{", "\x01{", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if err := Codec.Decode([]byte(data), new(Split)); !errors.Is(err, errSplit) {
			t.Errorf("%q: %v", data, err)
		}
	}
	if _, err := Codec.Encode("x"); err == nil {
		t.Error("a string is a split")
	}
	if err := Codec.Decode(nil, "x"); err == nil {
		t.Error("a string takes a split")
	}
}
