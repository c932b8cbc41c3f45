package reclaim_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
)

// TestACrowdIsLookedAtInParts has sixty workers with entries: a look asks for the signs of life of a few, the dead one is found all the
// same, and nobody else.
func TestACrowdIsLookedAtInParts(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	r := b.reclaimer(long)
	b.subscribe("me")
	const workers, looks = 60, 20
	for i := range workers {
		name := fmt.Sprint("w", i)
		if i == 33 {
			b.deliver(name, 299)
		}
		b.deliver(name, 1)
		b.beat(name, true, long)
		if i != 33 {
			b.subscribe(name)
		}
	}
	asked := func() int {
		info := b.client.Info(t.Context(), "commandstats").Val()
		m := regexp.MustCompile(`cmdstat_get:calls=(\d+)`).FindStringSubmatch(info)
		if m == nil {
			return 0
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	before := asked()
	for range looks {
		if found := b.look(r); found.Others != workers || found.OthersPending != workers+299 {
			t.Fatalf("got %+v, want %d others", found, workers)
		}
	}
	if got := asked() - before; got != 16*looks {
		t.Errorf("%d looks asked for %d leases, want 16 each", looks, got)
	}
	redistest.Eventually(t, soon, func() bool {
		found := b.look(r)
		for _, name := range found.Dead {
			if name != "w33" {
				t.Fatalf("%s is found dead", name)
			}
		}
		return len(found.Dead) == 1
	}, "w33 is found dead")
	if entries := b.take(r, 3); len(entries) != 3 {
		t.Errorf("took %d entries, want 3", len(entries))
	}
	if left := b.consumers(); left["released"] != 297 || left["w33"] != 0 || left["me"] != 3 {
		t.Errorf("pending: %v, want 3 taken and what is left of w33 for anybody", left)
	}
	b.look(r)
	for _, entry := range b.take(r, 300) {
		if entry.Crashes != 1 {
			t.Fatalf("entry %s: %d crashes, want 1", entry.ID, entry.Crashes)
		}
	}
	b.staysAlive(t.Context(), r, time.Second)
}
