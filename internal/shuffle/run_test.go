package shuffle

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFileThatIsCut reads a run of which the end is gone: the loop ends early, and Err says so.
func TestFileThatIsCut(t *testing.T) {
	t.Parallel()
	for _, left := range []int64{0, 1, 3, 4, 100, 5000, 9990} {
		m := NewMerger(MergerConfig{Memory: 1, Dir: t.TempDir()})
		defer m.Close()
		for _, key := range []string{"a", "b"} {
			if err := m.Add(AppendPair(nil, []byte(key), make([]byte, 5000))); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.file.file.Truncate(left); err != nil {
			t.Fatal(err)
		}
		complete := 0
		for _, values := range m.Groups() {
			for range values {
				complete++
			}
		}
		if err := m.Err(); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), m.dir) || complete == 2 {
			t.Errorf("%d bytes left: %d values and %v, want less than 2 and %v in %s", left, complete, err, io.ErrUnexpectedEOF, m.dir)
		}
	}
}

// TestFileThatKeepsItsName is about systems that do not let go of the name of an open file.
func TestFileThatKeepsItsName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "name"))
	if err != nil {
		t.Fatal(err)
	}
	m := NewMerger(MergerConfig{})
	m.file = &spillFile{file: file, dir: dir, name: file.Name()}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("the directory has %v, %v; want nothing", names, err)
	}
}

// FuzzRun reads a file that is not what was written.
func FuzzRun(f *testing.F) {
	f.Add([]byte("\x02a\x011\x00\x00\x02b\x012"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x01b"))
	f.Add([]byte("\x02a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add(append([]byte("\x02a\xe8\x07"), make([]byte, 1000)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := openSpill(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		if _, err := s.file.Write(data); err != nil {
			t.Fatal(err)
		}
		var large []byte
		r := s.reader(run{length: int64(len(data))}, minBuffer, &large)
		total := 0
		for {
			key, same, err := r.next()
			if err != nil {
				break
			}
			value, err := r.value()
			if err != nil {
				t.Fatalf("%q: a length was checked and %v", data, err)
			}
			if total += len(value); !same {
				total += len(key)
			}
		}
		if total > len(data) || cap(large)+cap(r.key) > 2*len(data)+minBuffer {
			t.Errorf("%q: read %d bytes, held %d", data, total, cap(large)+cap(r.key))
		}
	})
}
