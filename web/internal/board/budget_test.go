package board_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// full tells whether the long forms of the tests are wanted.
func full() bool { return os.Getenv("WM_FULL") != "" }

// crowd fills a queue with tasks that wait, dead letters, and workers with a lease and a running task each.
func (r *rig) crowd(waiting, dead, workers int) {
	r.t.Helper()
	ctx := r.t.Context()
	keys := r.store.Keys("q")
	if err := r.store.Register(ctx, "q"); err != nil {
		r.t.Fatal(err)
	}
	r.redis.XGroupCreateMkStream(ctx, keys.Tasks(), "workers", "0")
	r.bulk(waiting+workers, func(pipe redis.Pipeliner, i int) {
		task := wire.Task{ID: stream.NewID(), Function: fmt.Sprint("f", i%20), Attempt: 1, Payload: []byte(`"some payload of a common size, some hundred bytes or so"`)}
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Tasks(), Values: task.Fields()})
	})
	r.bulk(dead, func(pipe redis.Pipeliner, i int) {
		task := wire.Task{ID: stream.NewID(), Function: fmt.Sprint("f", i%20), Attempt: 25, Payload: []byte(`"x"`)}
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: keys.Dead(), Values: append(task.Fields(),
			"reason", "failed", "error", fmt.Sprintf("dial tcp 10.0.%d.%d:443: i/o timeout of kind %d", i%250, i%90, i%30), "worker", "w", "entry", "1-1")})
	})
	r.bulk(workers, func(pipe redis.Pipeliner, i int) {
		name := fmt.Sprintf("host%d-%d-%s", i%20, 1000+i, stream.NewID())
		pipe.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "workers", Consumer: name, Streams: []string{keys.Tasks(), ">"}, Count: 1})
		pipe.Set(ctx, keys.Lease(name), fmt.Sprintf(`f {"host":"host%d","pid":%d,"version":"v0.1.0","concurrency":8,"functions":["f1","f2"],"queues":["q"]}`, i%20, 1000+i), 0)
	})
	r.layQueue("q", usual{5000, slices.Collect(func(yield func(string) bool) {
		for i := range 20 {
			if !yield(fmt.Sprint("f", i)) {
				return
			}
		}
	}), slices.Repeat([]time.Duration{50 * time.Millisecond}, 20)})
}

func (r *rig) bulk(n int, add func(pipe redis.Pipeliner, i int)) {
	r.t.Helper()
	const step = 2000
	for from := 0; from < n; from += step {
		pipe := r.redis.Pipeline()
		for i := from; i < min(from+step, n); i++ {
			add(pipe, i)
		}
		if _, err := pipe.Exec(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

var statLine = regexp.MustCompile(`(?m)^cmdstat_(\S+?):calls=(\d+)`)

// asked is how many commands Redis ran, those inside of scripts too.
func (r *rig) asked() (calls int) {
	r.t.Helper()
	text, err := r.redis.Info(r.t.Context(), "commandstats").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, match := range statLine.FindAllStringSubmatch(text, -1) {
		if !slices.Contains([]string{"info", "config|resetstat", "client|setinfo", "hello", "ping"}, match[1]) {
			n, _ := strconv.Atoi(match[2])
			calls += n
		}
	}
	return calls
}

// TestPagesAreCheap holds every page to 200 ms and 100 commands in a queue that has much of everything: with WM_FULL a million tasks, else fewer.
func TestPagesAreCheap(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	waiting := 20_000
	if full() {
		waiting = 1_000_000
	}
	r.crowd(waiting, 10_000, 200)
	workers, err := r.look.Workers(t.Context(), "q", "")
	if err != nil {
		t.Fatal(err)
	}
	letters := r.groupsOf("q")
	tasks, err := r.look.Tasks(t.Context(), "q", inspect.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{
		"overview": "/", "queue, waiting": "/queues/q", "queue, running": "/queues/q?state=running", "queue, dead": "/queues/q?state=dead",
		"queue, a function": "/queues/q?function=f7", "workers": "/workers?queue=q", "worker": "/queues/q/workers/" + workers.Workers[0].Name,
		"dead": "/dead?queue=q", "dead, a group": "/dead?queue=q&group=" + letters[0], "question": "/dead/confirm?queue=q&do=replay&group=" + letters[0],
		"purge": "/queues/q/purge?state=waiting", "runs": "/runs?queue=q", "batches": "/batches?queue=q", "doctor": "/doctor",
		"task": "/queues/q/tasks/" + tasks.Tasks[20].ID, "a task that is not there": "/queues/q/tasks/" + stream.NewID(),
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		r.get(pages[name]) // scripts are sent, connections are made
		best, calls := time.Hour, 0
		for range 3 {
			before := r.asked()
			began := time.Now()
			got := r.get(pages[name])
			best = min(best, time.Since(began))
			calls = r.asked() - before
			if got.Status >= 500 || strings.Contains(got.Body, `class="card trouble"`) {
				t.Errorf("%s answers %d, or lacks a part", name, got.Status)
			}
		}
		t.Logf("%-26s %6.1f ms %4d commands", name, float64(best.Microseconds())/1000, calls)
		if calls > 100 || full() && best > 200*time.Millisecond {
			t.Errorf("%s takes %v and %d commands, want 200 ms and 100 at most", name, best, calls)
		}
	}
}

// TestFiveDashboardsCostNextToNothing has five browsers look at one queue, and reads how much of a core Redis used meanwhile. It is a minute with WM_FULL, and some seconds without.
func TestFiveDashboardsCostNextToNothing(t *testing.T) {
	t.Parallel()
	seconds := 6
	if full() {
		seconds = 60
	}
	r := newRig(t, guard.Read)
	r.crowd(20_000, 10_000, 200)
	for _, page := range []string{"overview", "overview", "overview", "queue?queue=q", "workers?queue=q"} {
		r.listen("/live/" + page)
	}
	before, began := r.cpu(), time.Now()
	wait := time.NewTimer(time.Duration(seconds) * time.Second)
	<-wait.C
	used, took := r.cpu()-before, time.Since(began)
	part := used.Seconds() / took.Seconds()
	t.Logf("five dashboards: %.2f %% of a core of Redis", part*100)
	if part > 0.01 {
		t.Errorf("five dashboards take %.2f %% of a core of Redis, want 1 %% at most", part*100)
	}
}

// cpu is how much of a core Redis has used.
func (r *rig) cpu() time.Duration {
	r.t.Helper()
	text, err := r.redis.Info(r.t.Context(), "cpu").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	total := 0.0
	for _, match := range regexp.MustCompile(`(?m)^used_cpu_(?:sys|user):([\d.]+)`).FindAllStringSubmatch(text, -1) {
		s, _ := strconv.ParseFloat(match[1], 64)
		total += s
	}
	return time.Duration(total * float64(time.Second))
}

// listen reads live updates as a browser does, until the end of the test. It returns when the first one is there.
func (r *rig) listen(path string) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	r.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.web.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%s answers %s", path, response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "data: ") {
		continue
	}
	go func() {
		for lines.Scan() {
			continue
		}
	}()
}
