package group_test

import (
	"context"
	"testing"
	"time"

	"github.com/athoune/worker-machine/group"
)

// BenchmarkWorker is the time from the first fetch to the last commit, for each task of 100 bytes whose handler does nothing.
func BenchmarkWorker(b *testing.B) {
	for name, awaited := range map[string]bool{"forgotten": false, "awaited": true} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b)
			reply := ""
			if awaited {
				reply = r.reply()
			}
			r.addMany(b.N, reply)
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan struct{})
			left := b.N
			cfg := group.Config{Hooks: group.Hooks{Done: func(group.Metadata, time.Duration) {
				if left--; left == 0 {
					close(done)
				}
			}}}
			w := start(b, r.store, cfg, handle(func(_ context.Context, task group.Task) ([]byte, error) { return task.Payload, nil }))
			<-done
			b.StopTimer()
			if err := w.stop(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
		})
	}
}
