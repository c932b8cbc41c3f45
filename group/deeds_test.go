package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// batchOf is results as a commit has them.
func batchOf(n int) []result {
	f := &feed{}
	batch := make([]result, n)
	now := time.Now()
	for i := range batch {
		batch[i] = result{took: time.Millisecond, flight: &flight{
			feed: f, entry: fmt.Sprint(now.Add(-time.Second).UnixMilli(), "-", i), started: now,
			task: wire.Task{Function: []string{"getTitle", "other"}[i/(n/2+1)]},
		}}
	}
	return batch
}

func TestDeedsLeaveOutWhatCameTooLate(t *testing.T) {
	t.Parallel()
	var d deeds
	d.done(batchOf(10), []int{0, 4, 9})
	noted, any := d.take()
	if !any || noted.Deeds("getTitle").Done != 4 || noted.Deeds("other").Done != 3 {
		t.Errorf("got %+v and %+v", noted.Deeds("getTitle"), noted.Deeds("other"))
	}
	if w := noted.Wait; w.N() != 7 || w.Quantile(0.5) != 1<<20*time.Microsecond {
		t.Errorf("waits: %d, median below %v, want 7 of a second", w.N(), w.Quantile(0.5))
	}
	if _, any := d.take(); any {
		t.Error("they are there a second time")
	}
}

func TestDeedsNameSomeFunctions(t *testing.T) {
	t.Parallel()
	var d deeds
	for i := range 2 * mostFunctions {
		d.failed(&flight{feed: &feed{}, task: wire.Task{Function: fmt.Sprint("f", i)}}, true)
	}
	noted, _ := d.take()
	if len(noted.Functions) != mostFunctions+1 || noted.Deeds(wire.More).Dead != mostFunctions {
		t.Errorf("%d functions, %d of others", len(noted.Functions), noted.Deeds(wire.More).Dead)
	}
	d.failed(&flight{feed: &feed{}, task: wire.Task{Function: "f0"}}, false)
	d.giveBack(&noted)
	if again, any := d.take(); !any || again.Deeds("f0").Dead != 1 || again.Deeds("f0").Retried != 1 {
		t.Errorf("given back: %+v", again.Deeds("f0"))
	}
}

// BenchmarkDeeds is what a task costs to be noted.
func BenchmarkDeeds(b *testing.B) {
	batch := batchOf(100)
	var d deeds
	b.ReportAllocs()
	for i := 0; i < b.N; i += len(batch) {
		d.done(batch, nil)
	}
}
