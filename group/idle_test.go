package group_test

import (
	"context"
	"fmt"
	"math"
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

// inside are the commands that scripts of an idle worker run: they come to Redis in an EVALSHA.
var inside = map[string]bool{
	"get": true, "pexpire": true, "time": true, "xlen": true, "zrange": true, "xinfo|groups": true, "xrange": true, "config|resetstat": true,
	"hlen": true, "hmget": true, "hset": true, "hincrby": true, "zcard": true, // of a report
}

// idleCost is the formula of DESIGN.md: how many commands a second an idle worker sends that reads so many queues.
func idleCost(queues int) float64 {
	const looks, beats, reads, ping, audits = 1, .32, .5, .1, 2
	calls := math.Ceil(float64(queues) / 100) // of a script, each time
	cost := calls*(looks+beats) + reads + ping + min(audits*float64(queues)/60, 4)
	switch {
	case queues > 4:
		cost += reads * calls // which queues have something
	case queues > 1:
		cost += reads * float64(queues)
	}
	return cost
}

// TestIdleWorkersCostWhatDesignSays counts what idle workers send.
func TestIdleWorkersCostWhatDesignSays(t *testing.T) {
	t.Parallel()
	for _, queues := range []int{1, 3, 120} {
		t.Run(fmt.Sprint(queues, " queues"), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			var ran tally
			start(t, f.store, group.Config{Queues: f.queues[:queues]}, handle(seen(&ran)))
			for i := range queues {
				f.put(i)
			}
			eventually(t, func() bool { return ran.distinct() == queues }, "a task of each queue has run")
			const watch = 8 * time.Second
			<-time.After(time.Second) // what a start costs is not idling
			before := commands(t, f.redis)
			began := time.Now()
			<-time.After(watch)
			after := commands(t, f.redis)
			sent := 0
			for name, n := range after {
				if n -= before[name]; n == 0 || name == "info" {
					continue
				}
				t.Logf("%-20s %d", name, n)
				if !inside[name] && (name != "xpending" || queues == 1) {
					sent += n
				}
			}
			perSecond, want := float64(sent)/time.Since(began).Seconds(), idleCost(queues)
			t.Logf("%.2f commands a second, by the formula %.2f", perSecond, want)
			if perSecond > 1.5*want+1 { // some come in bursts
				t.Errorf("%d queues: an idle worker sends %.2f commands a second, want %.2f", queues, perSecond, want)
			}
		})
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
