// Package conn makes connections of their own beside the user's client: for blocking reads, and for heartbeats that big results
// must not starve.
//
//	reader, err := conn.NewReader(client, 2*time.Second)
//	streams, err := reader.ReadGroup(ctx, conn.GroupRead{Group: group, Consumer: me, Count: 10, Block: 2 * time.Second, Keys: keys, IDs: ids})
//	reader.Interrupt() // from elsewhere: ends the blocked read at once
package conn

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options says in what a derived client differs from the one it comes from. What is zero stays as it is.
type Options struct {
	PoolSize    int
	ReadTimeout time.Duration
	MaxRetries  int // -1 switches retries off

	dialed func(net.Conn) // hears of each connection, of a client of one server
}

// Derive makes a client with the address, authentication, TLS and dialer of another. The caller closes it.
// It works for a client of one server, of a Sentinel group, and of a cluster. The timeouts of its connections count from when bytes
// last passed, so that what is large may take its time.
func Derive(from redis.UniversalClient, o Options) (redis.UniversalClient, error) {
	switch client := from.(type) {
	case *redis.Client:
		options := *client.Options()
		o.apply(&options.PoolSize, &options.ReadTimeout, &options.MaxRetries)
		options.MinIdleConns, options.MaxIdleConns, options.MaxActiveConns = 0, 0, 0
		options.PushNotificationProcessor = nil // each client has its own, and registers its handlers there once
		options.MaintNotificationsConfig = noMaintenance()
		if !options.ContextTimeoutEnabled { // where it is, a deadline may be that of a context
			options.Dialer = progressing(options.Dialer)
		}
		if o.dialed != nil {
			options.Dialer = telling(options.Dialer, o.dialed)
		}
		return redis.NewClient(&options), nil
	case *redis.ClusterClient:
		options := *client.Options()
		retries := options.MaxRetries
		o.apply(&options.PoolSize, &options.ReadTimeout, &retries)
		options.MinIdleConns, options.MaxIdleConns, options.MaxActiveConns = 0, 0, 0
		options.PushNotificationProcessor = nil // each client has its own, and registers its handlers there once
		options.MaintNotificationsConfig = noMaintenance()
		if !options.ContextTimeoutEnabled {
			options.Dialer = progressing(clusterDialer(&options))
		}
		return redis.NewClusterClient(&options), nil
	default:
		return nil, fmt.Errorf("conn: a client of type %T: use *redis.Client (also for Sentinel) or *redis.ClusterClient", from)
	}
}

// telling tells of each connection that a dialer makes.
func telling(dial dialer, tell func(net.Conn)) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			tell(c)
		}
		return c, err
	}
}

// noMaintenance switches off the announcements of maintenance that some hosted servers make. The settings of the client at hand cannot
// be had: it changes them while it connects, under a lock of its own. A connection that such a server ends is made again.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func (o Options) apply(pool *int, read *time.Duration, retries *int) {
	if o.PoolSize != 0 {
		*pool = o.PoolSize
	}
	if o.ReadTimeout != 0 {
		*read = o.ReadTimeout
	}
	switch {
	case o.MaxRetries != 0:
		*retries = o.MaxRetries
	case *retries == 0: // a client in use has turned "off" into 0, which would mean the default again
		*retries = -1
	}
}
