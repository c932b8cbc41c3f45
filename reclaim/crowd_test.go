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
		if found := b.look(r); found.Others != workers || found.OthersPending != workers {
			t.Fatalf("got %+v, want %d others with an entry each", found, workers)
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
	if entries := b.take(r, 10); len(entries) != 1 {
		t.Errorf("took %d entries, want 1", len(entries))
	}
	b.staysAlive(t.Context(), r, time.Second)
}
