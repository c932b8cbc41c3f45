package conn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/redistest"
)

// BenchmarkLine is what an enqueue costs when its client does nothing: one XADD, and the transaction of a lane.
func BenchmarkLine(b *testing.B) {
	command := func(parts ...string) string {
		text := fmt.Sprintf("*%d\r\n", len(parts))
		for _, part := range parts {
			text += fmt.Sprintf("$%d\r\n%s\r\n", len(part), part)
		}
		return text
	}
	const lane = "wm:{bench}:producer:01M84VMVT1K8QGNGE03Q7QVC51"
	add := command("xadd", "wm:{bench}:tasks", "*", "v1", strings.Repeat("x", 140))
	set, count := command("set", lane, "123456", "xx", "keepttl"), command("hincrby", "wm:{bench}:counts", "enqueued", "1")
	for _, c := range []struct {
		name, request string
		answers       int
	}{
		{"xadd", add, 1},
		{"transaction", command("multi") + add + set + count + command("exec") + command("watch", lane), 6},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := redistest.StartTCP(b)
			client := server.Client(b)
			if err := client.Set(b.Context(), lane, "1", 0).Err(); err != nil {
				b.Fatal(err)
			}
			line, err := conn.NewLine(client)
			if err != nil {
				b.Fatal(err)
			}
			defer line.Close()
			request := []byte(c.request)
			for b.Loop() {
				if err := line.Pass(b.Context(), request, c.answers, func(int, byte, error) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
