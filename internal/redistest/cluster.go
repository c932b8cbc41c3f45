package redistest

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// clusterTimeout bounds the forming of a cluster: Redis itself waits two seconds before it calls a new one ok.
const clusterTimeout = 30 * time.Second

const hashSlots = 16384

// Cluster is a Redis Cluster of masters that belong to one test.
type Cluster struct {
	Servers []*Server // the masters, each with an equal range of the slots
}

// StartCluster runs n masters and returns once all of them call the cluster ok, which takes some three seconds.
func StartCluster(t testing.TB, n int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{}
	busPorts := make([]int, n)
	for i := range n {
		busPorts[i] = FreePort(t)
		own := []string{
			"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", strconv.Itoa(busPorts[i]),
		}
		c.Servers = append(c.Servers, StartTCP(t, append(own, args...)...))
	}
	ctx, cancel := context.WithTimeout(context.Background(), clusterTimeout)
	defer cancel()
	for i, server := range c.Servers {
		client := server.Client(t)
		client.ClusterAddSlotsRange(ctx, i*hashSlots/n, (i+1)*hashSlots/n-1)
		client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i > 0 {
			first := c.Servers[0]
			err := client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", first.port, busPorts[0]).Err()
			if err != nil {
				t.Fatalf("redistest: CLUSTER MEET: %v", err)
			}
		}
	}
	for _, server := range c.Servers {
		client := server.Client(t)
		Eventually(t, clusterTimeout, func() bool {
			info := parseInfo(client.ClusterInfo(ctx).Val())
			return info["cluster_state"] == "ok" && info["cluster_known_nodes"] == strconv.Itoa(n)
		}, "cluster of %d is ok for %s", n, server.Addr)
	}
	return c
}

// Addrs are the addresses of all masters.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Servers))
	for i, server := range c.Servers {
		addrs[i] = server.Addr
	}
	return addrs
}

// Client is a new cluster client, closed with the test. Each change may edit the options before the client is made.
func (c *Cluster) Client(t testing.TB, change ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	t.Helper()
	options := &redis.ClusterOptions{Addrs: c.Addrs()}
	for _, edit := range change {
		edit(options)
	}
	client := redis.NewClusterClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// StartReplica runs a replica of a master made by [StartTCP] and returns once it has all of its data.
func StartReplica(t testing.TB, of *Server, args ...string) *Server {
	t.Helper()
	requireTCP(t, of)
	replica := StartTCP(t, append([]string{"--replicaof", fmt.Sprintf("127.0.0.1 %d", of.port)}, args...)...)
	client := replica.Client(t)
	Eventually(t, startTimeout, func() bool {
		return parseInfo(client.Info(t.Context(), "replication").Val())["master_link_status"] == "up"
	}, "replica %s of %s has its data", replica.Addr, of.Addr)
	return replica
}

func requireTCP(t testing.TB, s *Server) {
	t.Helper()
	if s.port == 0 {
		t.Fatalf("redistest: the server at %s needs a port for this: make it with StartTCP", s.Addr)
	}
}
