package shuffle

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk writes to the device that is always full.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := NewMerger(MergerConfig{Memory: 1000})
	defer m.Close()
	m.file = &spillFile{file: full, dir: "/where/files/go"}
	err = m.Add(AppendPair(nil, []byte("key"), make([]byte, 1000)))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v, want %v", err, syscall.ENOSPC)
	}
	for _, part := range []string{"shuffle: write", "/where/files/go", "TMPDIR", "Memory"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want it to name %q", err, part)
		}
	}
	if again := m.Add(AppendPair(nil, nil, nil)); !errors.Is(again, syscall.ENOSPC) {
		t.Errorf("a later Add returns %v", again)
	}
}
