package flavour_test

import (
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest/flavour"
)

func TestEachFlavourIsTheVersionItSays(t *testing.T) {
	t.Parallel()
	for _, f := range flavour.All(t) {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			client := f.Client(t)
			if err := client.Ping(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			info := client.Info(t.Context(), "server").Val()
			version := field(info, "redis_version")
			if valkey := field(info, "valkey_version"); valkey != "" {
				version = valkey
			}
			t.Logf("version %q, up in %v", version, time.Since(began))
			if f.Version != "" && !strings.HasPrefix(version, f.Version+".") {
				t.Errorf("got version %q, want %s", version, f.Version)
			}
		})
	}
}

func field(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
