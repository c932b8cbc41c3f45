package redistest_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
)

func TestStartAnswersAndEndsWithTheTest(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, ...string) *redistest.Server{
		"unix": redistest.Start, "tcp": redistest.StartTCP,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var dir string
			var pid int
			t.Run("while", func(t *testing.T) {
				began := time.Now()
				server := start(t, "--maxmemory", "50mb")
				t.Logf("up in %v at %s", time.Since(began), server.Addr)
				dir, pid = server.Dir, server.Pid()
				if server.Network != name {
					t.Fatalf("network: got %s, want %s", server.Network, name)
				}
				limit, err := server.Client(t).ConfigGet(t.Context(), "maxmemory").Result()
				if err != nil || limit["maxmemory"] != "52428800" {
					t.Fatalf("maxmemory: got %v, %v, want the argument's", limit, err)
				}
				options, err := redis.ParseURL(server.URL())
				if err != nil || options.Addr != server.Addr || options.Network != server.Network {
					t.Fatalf("URL %s: got %+v, %v", server.URL(), options, err)
				}
			})
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("directory %s is still there: %v", dir, err)
			}
			if process, err := os.FindProcess(pid); err == nil && process.Signal(syscall.Signal(0)) == nil {
				t.Errorf("process %d is still there", pid)
			}
		})
	}
}

func TestKillAndRestartKeepsAddressAndData(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t, "--appendonly", "yes", "--appendfsync", "always")
	client := server.Client(t)
	ctx := t.Context()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := client.Get(ctx, "k").Err(); err == nil {
		t.Fatal("a killed server answered")
	}
	server.Restart()
	if got, err := client.Get(ctx, "k").Result(); err != nil || got != "v" {
		t.Fatalf("after the restart: got %q, %v, want v", got, err)
	}
}

func TestStopFreezesAndContGoesOn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t, func(o *redis.Options) {
		o.ReadTimeout, o.MaxRetries = 100*time.Millisecond, -1
	})
	ctx := t.Context()
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := client.Ping(ctx).Err(); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Fatalf("stopped server: got %v, want a timeout", err)
	}
	server.Cont()
	if err := client.Ping(ctx).Err(); err != nil {
		t.Fatalf("after SIGCONT: %v", err)
	}
}

func TestServerWithAPasswordStarts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "secret")
	client := server.Client(t, func(o *redis.Options) { o.Password = "secret" })
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}
