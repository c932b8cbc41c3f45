package integration

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/redistest/flavour"
	"github.com/athoune/worker-machine/stream"
)

// backend is one Redis server that belongs to one test.
type backend struct {
	Network, Addr string
	Cluster       []string // instead

	client redis.UniversalClient
	store  *stream.Store
}

var quiet sync.RWMutex

// beside lets a test run while others do.
func beside(t *testing.T) {
	t.Helper()
	quiet.RLock()
	t.Cleanup(quiet.RUnlock)
}

// alone lets a test run while no other does: its figures are to mean something.
func alone(t *testing.T) {
	t.Helper()
	quiet.Lock()
	t.Cleanup(quiet.Unlock)
}

// container finds the newest real server that Docker has, once.
var container struct {
	once  sync.Once
	found *flavour.Flavour
}

// startBackend starts a server in a container or, where there is no Docker, a local one.
func startBackend(t *testing.T) *backend {
	t.Helper()
	container.once.Do(func() {
		for _, f := range flavour.All(t) {
			if f.Version != "" && (container.found == nil || f.Name == "redis-8.0") {
				container.found = &f
			}
		}
	})
	if container.found == nil {
		t.Log("no container: this test runs on a local redis-server")
		return startLocal(t)
	}
	t.Logf("server: %s in a container", container.found.Name)
	network, addr := container.found.Start(t)
	return newBackend(t, network, addr)
}

// startLocal starts a local server, for tests that stop it or measure without a container in between.
func startLocal(t *testing.T) *backend {
	t.Helper()
	for _, f := range flavour.All(t) {
		if f.Name == "local" {
			network, addr := f.Start(t)
			return newBackend(t, network, addr)
		}
	}
	t.Skip("needs a server, left out by -short")
	return nil
}

func newBackend(t *testing.T, network, addr string) *backend {
	t.Helper()
	client := redis.NewClient(&redis.Options{Network: network, Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	return &backend{Network: network, Addr: addr, client: client, store: openStore(t, client, "")}
}

// openStore opens a store that ends with the test.
func openStore(t *testing.T, client redis.UniversalClient, prefix string) *stream.Store {
	t.Helper()
	store, err := stream.NewStore(client, stream.Config{Prefix: prefix, Logger: testLogger(t)})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	return store
}

// openClient opens a client of the library that ends with the test.
func openClient(t *testing.T, store *stream.Store, cfg stream.ClientConfig) *stream.Client {
	t.Helper()
	client, err := stream.NewClient(store, cfg)
	must(t, err)
	t.Cleanup(func() { must(t, client.Close(context.WithoutCancel(t.Context()))) })
	return client
}

// count is one of the queue's totals.
func (b *backend) count(t *testing.T, name string) int {
	t.Helper()
	n, err := b.client.HGet(t.Context(), b.store.Keys(queue).Counts(), name).Int()
	if err != nil && err != redis.Nil { //nolint:errorlint // go-redis returns it bare
		t.Fatal(err)
	}
	return n
}

func testLogger(*testing.T) *zap.Logger { return zap.NewNop() }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience bounds what takes a moment when all is well; a machine under load may take longer.
const patience = 30 * time.Second
