package wire_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/wire"
)

var update = flag.Bool("update", os.Getenv("UPDATE_GOLDEN") != "", "write the golden files anew")

func TestGolden(t *testing.T) {
	t.Parallel()
	var tasks, texts, keys strings.Builder
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		task := samples[name]
		fmt.Fprintf(&tasks, "%s\n  entry", name)
		for _, field := range task.Fields() {
			fmt.Fprintf(&tasks, " %q", field)
		}
		fmt.Fprintf(&tasks, "\n  body  %q\n", task.Body())
	}
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		o := outcomes[name]
		fmt.Fprintf(&texts, "%s\n  %q\n", name, o.Encode())
	}
	k := wire.NewKeys("wm", "q")
	for _, key := range []string{
		k.Tasks(), k.Due(), k.Body(), k.Lease("worker"), k.Producer("lane"), k.Unique("hash"), k.Reply("id"), k.Context("id"), k.Dead(),
		k.Crashes(), k.Chunks(), k.Cancels(), k.State(), k.Counts(), k.Control(), k.Presence("worker"), wire.Queues("wm"),
	} {
		fmt.Fprintln(&keys, key)
	}
	golden(t, "task", tasks.String())
	golden(t, "outcome", texts.String())
	golden(t, "keys", keys.String())
}

// golden compares what lies on the wire with what lay there when the file was written.
func golden(t *testing.T, what, got string) {
	t.Helper()
	path := filepath.Join("testdata", what+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: make golden writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s on the wire changed; bump Version or revert (make golden writes %s anew when the change is meant)\ngot:\n%s\nwant:\n%s", what, path, got, want)
	}
}
