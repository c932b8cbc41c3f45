package redistest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
)

func TestClusterTakesKeysOfAllSlots(t *testing.T) {
	t.Parallel()
	began := time.Now()
	cluster := redistest.StartCluster(t, 3)
	t.Logf("up in %v", time.Since(began))
	client := cluster.Client(t)
	for i := range 100 {
		if err := client.Set(t.Context(), fmt.Sprint("k", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, server := range cluster.Servers {
		if n := server.Client(t).DBSize(t.Context()).Val(); n < 10 {
			t.Errorf("%s holds %d of 100 keys", server.Addr, n)
		}
	}
}

func TestSentinelPromotesTheReplicaOfADeadMaster(t *testing.T) {
	t.Parallel()
	began := time.Now()
	master := redistest.StartTCP(t)
	replica := redistest.StartReplica(t, master)
	sentinel := redistest.StartSentinel(t, master)
	t.Logf("up in %v", time.Since(began))
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: redistest.MasterName, SentinelAddrs: []string{sentinel.Addr},
	})
	defer client.Close()
	ctx := t.Context()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Wait(ctx, 1, time.Second).Result(); err != nil || n != 1 {
		t.Fatalf("replicas with the write: got %d, %v, want 1", n, err)
	}
	master.Kill()
	redistest.Eventually(t, 20*time.Second, func() bool {
		return replica.Client(t).Set(ctx, "k", "after", 0).Err() == nil
	}, "the replica takes writes")
	redistest.Eventually(t, 20*time.Second, func() bool {
		return client.Get(ctx, "k").Val() == "after"
	}, "the client finds the new master")
}
