package group_test

import (
	"context"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
)

// TestAFrozenRedisDoesNotHoldAWorkerThatStops stops workers while Redis answers nothing and closes nothing.
func TestAFrozenRedisDoesNotHoldAWorkerThatStops(t *testing.T) {
	t.Parallel()
	const drain = time.Second
	for name, c := range map[string]struct {
		tasks int
		many  bool
	}{"idle": {}, "with a task that runs": {tasks: 1}, "with tasks in many queues": {tasks: 50, many: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			queues := f.queues
			if !c.many {
				queues = queues[:1]
			}
			running := make(chan struct{}, c.tasks)
			worker := start(t, f.store, group.Config{Queues: queues, Drain: drain, Concurrency: 50}, handle(
				func(ctx context.Context, _ group.Task) ([]byte, error) {
					running <- struct{}{}
					<-ctx.Done()
					return nil, context.Cause(ctx)
				}))
			eventually(t, func() bool { return f.redis.Exists(t.Context(), f.keys[0].Lease(worker.Name())).Val() == 1 }, "the worker has its lease")
			for i := range c.tasks {
				f.put(i)
			}
			for range c.tasks {
				<-running
			}
			f.server.Stop()
			defer f.server.Cont()
			frozen := time.Now()
			err := worker.stop()
			took := time.Since(frozen)
			t.Logf("stopped %v after its end began: %v", took, err)
			if took > drain+13*time.Second { // it takes less than 9 s when the machine is not busy
				t.Errorf("took %v, with a time to drain of %v", took, drain)
			}
			if err == nil {
				t.Error("got no error, although nothing could be handed over")
			}
		})
	}
}
