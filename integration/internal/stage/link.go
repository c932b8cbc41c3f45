package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Link is what one process reaches Redis through. Its methods may be called by several goroutines.
type Link struct {
	t      testing.TB
	proxy  *toxiproxy.Proxy
	toxics atomic.Int64
}

// The directions of a toxic.
const (
	Up   = "upstream"   // from the process to Redis
	Down = "downstream" // from Redis to the process
)

func newLink(t testing.TB, name, upstream string) *Link {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // it traces what toxics do
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &Link{t: t, proxy: toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream)}
	if err := l.proxy.Start(); err != nil {
		t.Fatalf("stage: start the proxy of %s: %v", name, err)
	}
	t.Cleanup(l.proxy.Stop)
	return l
}

// Addr is where the process finds Redis.
func (l *Link) Addr() string { return l.proxy.Listen }

// Toxic puts a toxic of toxiproxy on all connections, and on those to come, until heal is called.
func (l *Link) Toxic(kind, direction string, attributes map[string]int) (heal func()) {
	l.t.Helper()
	name := fmt.Sprintf("%s%d", kind, l.toxics.Add(1))
	text, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": direction, "attributes": attributes})
	if err != nil {
		l.t.Fatalf("stage: toxic %s: %v", kind, err)
	}
	if _, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(text)); err != nil {
		l.t.Errorf("stage: toxic %s: %v", kind, err)
	}
	return func() {
		// What a toxic holds back goes out when it is removed, for which the other end may be too slow.
		const patience = 5 * time.Second
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), patience)
		defer cancel()
		_ = l.proxy.Toxics.RemoveToxic(ctx, name)
	}
}

// Refuse ends all connections and refuses new ones until heal is called.
func (l *Link) Refuse() (heal func()) {
	l.proxy.Stop()
	return func() {
		if err := l.proxy.Start(); err != nil {
			l.t.Errorf("stage: start a proxy again: %v", err)
		}
	}
}

// Reset ends all connections.
func (l *Link) Reset() { l.Refuse()() }
