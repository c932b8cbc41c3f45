package script_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
)

func TestTheIndexOfSessionsIsBounded(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	now := time.Now()
	pipe := q.rdb.Pipeline()
	add := func(id string, at time.Time) {
		pipe.ZAdd(t.Context(), q.keys.Sessions(), redis.Z{Score: float64(at.UnixMilli()), Member: id})
		pipe.HSet(t.Context(), q.keys.SessionInfo(), id, "{}")
	}
	add("old", now.Add(-2*time.Hour))
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	renew := func(id string) {
		t.Helper()
		s := script.SessionKeys{Keys: q.keys, ID: id, Lane: "lane", Info: `{"pid":1}`}
		if _, err := q.Session(t.Context(), s, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	renew("new")
	want := func(what string, ids, infos int64) {
		t.Helper()
		n, m := q.rdb.ZCard(t.Context(), q.keys.Sessions()).Val(), q.rdb.HLen(t.Context(), q.keys.SessionInfo()).Val()
		if n != ids || m != infos {
			t.Errorf("%s: got %d IDs and %d infos, want %d and %d", what, n, m, ids, infos)
		}
	}
	want("the one of two hours ago is gone", 1, 1)
	for i := range 10_050 {
		add(fmt.Sprint("s", i), now)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	renew("new")
	want("no more than 10,000", 10_000, 10_000)
	if text := q.rdb.HGet(t.Context(), q.keys.SessionInfo(), "new").Val(); text != `{"pid":1}` {
		t.Errorf("the newest tells %q", text)
	}
	if ttl := q.rdb.PTTL(t.Context(), q.keys.Sessions()).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("the index is kept for %v, want an hour", ttl)
	}
}

func TestAnIndexOfAWrongTypeFailsNoSession(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for _, key := range []string{q.keys.Sessions(), q.keys.SessionInfo()} {
		if err := q.rdb.Set(t.Context(), key, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	q.openReply(t)
	if n := q.rdb.Exists(t.Context(), q.keys.Reply(replyID)).Val(); n != 1 {
		t.Error("no reply stream was made")
	}
}
