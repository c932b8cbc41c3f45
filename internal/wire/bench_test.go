package wire_test

import (
	"testing"

	"github.com/athoune/worker-machine/internal/wire"
)

func BenchmarkHeader(b *testing.B) {
	for _, name := range []string{"a plain task", "a task with a caller", "a third attempt"} {
		task := samples[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = task.Header()
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"a plain task", "a task with a caller", "a third attempt"} {
		task := samples[name]
		fields := task.Fields()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Decode(fields); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
