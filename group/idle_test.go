package group_test

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
)

// commands is how often the server ran each command so far, whether a client or a script called it.
func commands(t *testing.T, client *redis.Client) map[string]int {
	t.Helper()
	info, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]int{}
	for _, m := range regexp.MustCompile(`cmdstat_([^:]+):calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		calls[m[1]], _ = strconv.Atoi(m[2])
	}
	return calls
}

func TestIdleWorkerHardlyAsks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	start(t, r.store, group.Config{}, handle(nop))
	one := task("")
	one.Reply = r.reply()
	r.add(one)
	r.outcome(one)
	const watch = 8 * time.Second
	before := commands(t, r.redis)
	<-time.After(watch)
	after := commands(t, r.redis)
	total := 0
	for name, n := range after {
		if n -= before[name]; n > 0 && name != "info" {
			t.Logf("%-20s %d", name, n)
			total += n
		}
	}
	perSecond := float64(total) / watch.Seconds()
	t.Logf("%.1f commands a second", perSecond)
	if perSecond > 6 {
		t.Errorf("an idle worker costs %.1f commands a second", perSecond)
	}
}

func TestTasksStartAtOnce(t *testing.T) {
	t.Parallel()
	const tasks = 500
	r := newRig(t)
	began := make(chan time.Time, 1)
	start(t, r.store, group.Config{}, handle(func(context.Context, group.Task) ([]byte, error) {
		began <- time.Now()
		return nil, nil
	}))
	var waits []time.Duration
	for range tasks {
		stored := time.Now()
		r.add(task(""))
		waits = append(waits, (<-began).Sub(stored))
	}
	slices.Sort(waits)
	t.Logf("from before XADD to the handler: median %v, p99 %v, most %v", waits[tasks/2], waits[tasks*99/100], waits[tasks-1])
	if waits[tasks/2] > 20*time.Millisecond {
		t.Errorf("median: got %v", waits[tasks/2])
	}
}
