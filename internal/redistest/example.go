package redistest

import (
	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// ForExample is a client of an embedded server, for the Examples in the documentation: they have no testing.TB, and run where
// there is no Redis. Stop ends both. Tests use [Start]: the embedded server is not Redis.
func ForExample() (client *redis.Client, stop func()) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		panic("redistest: start the embedded server: " + err.Error())
	}
	client = redis.NewClient(&redis.Options{Addr: server.Addr()})
	return client, func() {
		_ = client.Close()
		server.Close()
	}
}
