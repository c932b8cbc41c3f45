package inspect_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// scale lays out a queue with many tasks waiting, as many delayed as dead ones, and 200 workers that have 20 tasks each.
func (r *rig) scale(waiting, dead int) (stored []string) {
	r.t.Helper()
	ctx := r.t.Context()
	const atOnce, workers, each = 5000, 200, 20
	payload := fmt.Appendf(nil, "%0100d", 1)
	r.makeGroup()
	for from := 0; from < waiting+workers*each; from += atOnce {
		pipe := r.redis.Pipeline()
		for i := from; i < min(from+atOnce, waiting+workers*each); i++ {
			task := wire.Task{ID: stream.NewID(), Function: fmt.Sprintf("f%d", i%7), Payload: payload}
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: r.keys.Tasks(), Values: task.Fields()})
			stored = append(stored, task.ID)
		}
		_, err := pipe.Exec(ctx)
		ok(r.t, err)
	}
	for n := range workers {
		name := fmt.Sprintf("host-%d-%s", n, stream.NewID())
		r.deliver(name, each)
		ok(r.t, r.redis.Set(ctx, r.keys.Lease(name), lease(wire.LeaseInfo{Host: "host", PID: n, Functions: []string{"f1", "f2"}}), time.Hour).Err())
	}
	r.bury(dead, func(n int) (string, string, string) { return "f", "failed", fmt.Sprint("error ", n) })
	for from := 0; from < dead; from += atOnce {
		pipe := r.redis.Pipeline()
		for i := from; i < min(from+atOnce, dead); i++ {
			task := wire.Task{ID: stream.NewID(), Function: "f", Payload: payload}
			pipe.ZAdd(ctx, r.keys.Due(), redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli() + int64(i)), Member: task.ID})
			pipe.HSet(ctx, r.keys.Body(), task.ID, task.Body())
		}
		_, err := pipe.Exec(ctx)
		ok(r.t, err)
	}
	ok(r.t, r.store.Register(ctx, queue))
	return stored
}

// TestNoCallCostsMoreInALongQueue counts Redis commands, those of scripts too, and the time of each call. WM_FULL=1 does it with a million tasks.
func TestNoCallCostsMoreInALongQueue(t *testing.T) {
	t.Parallel()
	waiting := 60_000
	if os.Getenv("WM_FULL") != "" {
		waiting = 1_000_000
	}
	const dead, mostCommands, mostTime = 10_000, 100, 200 * time.Millisecond
	r := newRig(t)
	stored := r.scale(waiting, dead)
	ctx := t.Context()
	busy := must(r.Workers(ctx, queue, ""))(t).Workers[17].Name
	tasks := func(filter inspect.Filter) func() error {
		return func() error {
			page, err := r.Tasks(ctx, queue, filter)
			if err == nil && len(page.Tasks) == 0 && filter.Function != "nobody" {
				err = errors.New("an empty page")
			}
			return err
		}
	}
	find := func(id string, want error) func() error {
		return func() error {
			h, err := r.Task(ctx, queue, id)
			if want == nil && h.ID == id || want != nil && errors.Is(err, want) {
				return nil
			}
			return fmt.Errorf("%+v, %w", h.Looked, err)
		}
	}
	delayed := must(r.Tasks(ctx, queue, inspect.Filter{State: inspect.Delayed, Limit: 200}))(t)
	letters := must(r.Tasks(ctx, queue, inspect.Filter{State: inspect.Dead, Limit: 200}))(t)
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"Queues", func() error { _, err := r.Queues(ctx); return err }},
		{"Queue", func() error { _, err := r.Queue(ctx, queue); return err }},
		{"Doctor", func() error { _, err := r.Doctor(ctx); return err }},
		{"Workers", func() error { _, err := r.Workers(ctx, queue, ""); return err }},
		{"Workers, a later page", func() error { _, err := r.Workers(ctx, queue, busy); return err }},
		{"Worker", func() error { _, err := r.Worker(ctx, queue, busy); return err }},
		{"Tasks, waiting", tasks(inspect.Filter{})},
		{"Tasks, 200 waiting", tasks(inspect.Filter{Limit: 200})},
		{"Tasks, waiting, of one function", tasks(inspect.Filter{Function: "f3"})},
		{"Tasks, waiting, of a function nobody calls", tasks(inspect.Filter{Function: "nobody"})},
		{"Tasks, running", tasks(inspect.Filter{State: inspect.Running, Limit: 200})},
		{"Tasks, running, of one worker", tasks(inspect.Filter{Worker: busy})},
		{"Tasks, running, of a function nobody calls", tasks(inspect.Filter{State: inspect.Running, Function: "nobody"})},
		{"Tasks, delayed", tasks(inspect.Filter{State: inspect.Delayed, Limit: 200})},
		{"Tasks, delayed, a later page", tasks(inspect.Filter{State: inspect.Delayed, Limit: 200, After: delayed.Next})},
		{"Tasks, delayed, of a function nobody calls", tasks(inspect.Filter{State: inspect.Delayed, Function: "nobody"})},
		{"Tasks, dead", tasks(inspect.Filter{State: inspect.Dead, Limit: 200})},
		{"Tasks, dead, of a function nobody calls", tasks(inspect.Filter{State: inspect.Dead, Function: "nobody"})},
		{"Task, the first one", find(stored[0], nil)},
		{"Task, one in the middle", find(stored[len(stored)/2], nil)},
		{"Task, one near the end", find(stored[len(stored)-len(stored)/9], nil)},
		{"Task, the last one", find(stored[len(stored)-1], nil)},
		{"Task, delayed", find(delayed.Tasks[100].ID, nil)},
		{"Task, dead", find(letters.Tasks[150].ID, nil)},
		{"Task, nowhere", find(stream.NewID(), inspect.ErrNotFound)},
		{"Task, nowhere, of the middle", find(stored[len(stored)/2][:20]+"000000", inspect.ErrNotFound)},
	} {
		ok(t, c.call()) // the server learns the scripts
		var took time.Duration
		commands := r.commands(func() {
			start := time.Now()
			if err := c.call(); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			took = time.Since(start)
		})
		t.Logf("%-45s %4d commands %8.1f ms", c.name, commands, float64(took.Microseconds())/1000)
		if commands > mostCommands || commands == 0 {
			t.Errorf("%s: %d commands, want at most %d", c.name, commands, mostCommands)
		}
		if took > mostTime && os.Getenv("WM_FULL") != "" { // other tests run beside the short one
			t.Errorf("%s: took %v, want at most %v", c.name, took, mostTime)
		}
	}
}
