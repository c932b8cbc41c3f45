// Package flavour lists the servers a conformance suite runs on: the local one, Redis and Valkey of fixed versions in Docker
// containers, and the embedded one.
//
//	for _, f := range flavour.All(t) {
//		t.Run(f.Name, func(t *testing.T) {
//			client := f.Client(t) // of a server that nobody shares
//		})
//	}
//
// It is a package of its own so that the tests of most packages link no Docker client. Only test files import it.
package flavour

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
)

// Flavour is one kind of server.
type Flavour struct {
	Name     string // "local", "redis-7.0", "redis-8.0", "valkey-9" or "embedded"
	Version  string // what INFO says first, as in "8.0"; "" for any
	Embedded bool   // miniredis: it knows neither script flags nor CLIENT ID and UNBLOCK

	start   func(t testing.TB) (network, addr string)
	program string // its path, for one that was named
	image   string // of a container
}

// fixed are the versions to be had from images; scripts/images makes the local ones.
var fixed = []struct{ name, version, local, public string }{
	{"redis-7.0", "7.0", "worker-machine-test/redis:7.0", "redis:7.0"},
	{"redis-8.0", "8.0", "worker-machine-test/redis:8.0", "redis:8.0"},
	{"valkey-9", "9", "worker-machine-test/valkey:9", "valkey/valkey:9"},
}

// All lists the flavours there are on this machine: always local and embedded, and the fixed versions as far as Docker or the
// environment has them. WM_TEST_SERVERS names local programs ("redis-8.0=/path,valkey-9=/path"), WM_TEST_IMAGES images
// ("redis-8.0=image"); both go before the usual images. What is missing is logged. With -short there is only embedded.
func All(t testing.TB) []Flavour {
	t.Helper()
	embedded := Flavour{Name: "embedded", Embedded: true, start: startEmbedded}
	if testing.Short() {
		return []Flavour{embedded}
	}
	flavours := []Flavour{{Name: "local", start: startLocal}}
	programs, images := pairs(t, "WM_TEST_SERVERS"), pairs(t, "WM_TEST_IMAGES")
	for _, f := range fixed {
		flavour := Flavour{Name: f.name, Version: f.version}
		if program := programs[f.name]; program != "" {
			flavour.start, flavour.program = startProgram(program), program
		} else if image, err := findImage(t, images[f.name], f.local, f.public); err == nil {
			flavour.start, flavour.image = startContainer(image), image
		} else {
			t.Logf("flavour: %s is left out, its cases run on the other servers only: %v", f.name, err)
			continue
		}
		flavours = append(flavours, flavour)
	}
	return append(flavours, embedded)
}

// Start runs a server of the flavour for the length of the test and says where it listens.
func (f Flavour) Start(t testing.TB) (network, addr string) {
	t.Helper()
	return f.start(t)
}

// Client starts a server of the flavour and returns a client of it; both end with the test. Each change may edit the options
// before the client is made.
func (f Flavour) Client(t testing.TB, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	network, addr := f.Start(t)
	options := &redis.Options{Network: network, Addr: addr}
	for _, edit := range change {
		edit(options)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func startLocal(t testing.TB) (network, addr string) {
	t.Helper()
	s := redistest.Start(t)
	return s.Network, s.Addr
}

func startEmbedded(t testing.TB) (network, addr string) {
	t.Helper()
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		t.Fatalf("flavour: start the embedded server: %v", err)
	}
	t.Cleanup(server.Close)
	return "tcp", server.Addr()
}

func startProgram(program string) func(testing.TB) (network, addr string) {
	return func(t testing.TB) (string, string) {
		t.Helper()
		s := redistest.StartBinary(t, program)
		return s.Network, s.Addr
	}
}

// pairs reads name=value,name=value from the environment.
func pairs(t testing.TB, variable string) map[string]string {
	t.Helper()
	values := map[string]string{}
	for pair := range strings.SplitSeq(os.Getenv(variable), ",") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok || value == "" {
			t.Fatalf("flavour: %s: %q is not name=value", variable, pair)
		}
		values[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return values
}

// awaitAnswer returns once the server answers PING.
func awaitAnswer(t testing.TB, addr, image string) {
	t.Helper()
	const patience = 30 * time.Second
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	defer client.Close()
	redistest.Eventually(t, patience, func() bool {
		err := client.Ping(t.Context()).Err()
		return err == nil || strings.HasPrefix(err.Error(), "NOAUTH")
	}, fmt.Sprintf("%s at %s answers", image, addr))
}
