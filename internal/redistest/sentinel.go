package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// MasterName is the name under which a sentinel of [StartSentinel] knows its master.
const MasterName = "wm"

// StartSentinel runs one sentinel that watches a master made by [StartTCP] and decides alone: it takes half a second of silence
// for death. It returns once the sentinel knows the master's replicas, which are to be started before.
func StartSentinel(t testing.TB, master *Server) *Server {
	t.Helper()
	requireTCP(t, master)
	s := newServer(t, Binary(t))
	s.listenTCP(FreePort(t))
	config := filepath.Join(s.Dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 1\nsentinel down-after-milliseconds %[1]s 500\n"+
		"sentinel failover-timeout %[1]s 3000\n", MasterName, master.port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatalf("redistest: write the sentinel's configuration: %v", err)
	}
	s.argv = []string{
		config, "--sentinel", "--dir", s.Dir, "--unixsocket", filepath.Join(s.Dir, "s"),
		"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--daemonize", "no",
	}
	if err := s.launch(); err != nil {
		t.Fatal(err)
	}
	replicas := parseInfo(master.Client(t).Info(t.Context(), "replication").Val())["connected_slaves"]
	client := redis.NewSentinelClient(&redis.Options{Network: s.Network, Addr: s.Addr})
	t.Cleanup(func() { _ = client.Close() })
	Eventually(t, startTimeout, func() bool {
		known := client.Master(t.Context(), MasterName).Val()
		return known["flags"] == "master" && known["num-slaves"] == replicas
	}, "sentinel knows the %s replicas of %s", replicas, master.Addr)
	return s
}

// parseInfo reads the name:value lines of INFO and CLUSTER INFO.
func parseInfo(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}
