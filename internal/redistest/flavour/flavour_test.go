package flavour_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
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

// TestAMachineKeepsItsAddressAndWhatItWroteDown kills a server of each flavour and starts it again.
func TestAMachineKeepsItsAddressAndWhatItWroteDown(t *testing.T) {
	t.Parallel()
	for _, f := range flavour.All(t) {
		if f.Embedded {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			m := f.StartMachine(t, "--appendonly", "yes", "--appendfsync", "always")
			client := redis.NewClient(&redis.Options{Addr: m.Address(), ReadTimeout: time.Second, MaxRetries: -1})
			defer client.Close()
			if err := client.Set(t.Context(), "kept", "yes", 0).Err(); err != nil {
				t.Fatal(err)
			}
			m.Freeze()
			if err := client.Get(t.Context(), "kept").Err(); err == nil {
				t.Error("a frozen server answers")
			}
			m.Thaw()
			m.Kill()
			m.Restart()
			redistest.Eventually(t, 10*time.Second, func() bool {
				got, err := client.Get(t.Context(), "kept").Result()
				return err == nil && got == "yes"
			}, "what was written down is there")
		})
	}
}
