package script_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest/flavour"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// owner is somebody with a checkpoint in a test.
type owner struct {
	*script.Runner
	rdb  *redis.Client
	keys wire.Keys
	script.Owner
}

func (o *owner) claim(t *testing.T, id, session string) script.Claimed {
	t.Helper()
	claimed, err := o.Claim(t.Context(), o.keys, script.Claim{Name: "b", Owner: id, Session: session, Function: "f", Kind: "fold", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

func (o *owner) save(t *testing.T, seq int64, fields map[string]string) script.Saved {
	t.Helper()
	saved, err := o.Save(t.Context(), o.keys, script.Save{Name: "b", Owner: o.Owner, Seq: seq, TTL: time.Minute, Fields: fields})
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// fields are those of a save, with one that a test looks for.
func fields(acc string) map[string]string {
	return map[string]string{"v": script.CheckpointVersion, "function": "f", "kind": "fold", "sessions": "s1", "acc": acc}
}

func (o *owner) holds(t *testing.T, want string) {
	t.Helper()
	if got := o.rdb.HGet(t.Context(), o.keys.Batch("b"), "acc").Val(); got != want {
		t.Errorf("the checkpoint holds %q, want %q", got, want)
	}
}

// epochOf makes a claim's owner.
func epochOf(t testing.TB, c script.Claimed) script.Owner {
	t.Helper()
	var epoch int64
	for _, digit := range c.Fields["epoch"] {
		epoch = epoch*10 + int64(digit-'0')
	}
	return script.Owner{ID: c.Fields["owner"], Epoch: epoch}
}

// TestOneOwnerOfACheckpoint takes a checkpoint from claim to removal, with everybody who comes too late, on every server.
func TestOneOwnerOfACheckpoint(t *testing.T) {
	t.Parallel()
	for _, f := range flavour.All(t) {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			rdb := f.Client(t)
			keys := wire.NewKeys("wm", "q")
			key := keys.Batch("b")
			first := &owner{Runner: script.NewRunner(rdb), rdb: rdb, keys: keys}
			second := &owner{Runner: script.NewRunner(rdb), rdb: rdb, keys: keys}
			c := first.claim(t, "one", "s1")
			first.Owner = epochOf(t, c)
			if again := first.claim(t, "one", "s1"); c.Other || c.Taken || !maps.Equal(again.Fields, c.Fields) || c.Fields["sessions"] != "s1" {
				t.Errorf("claimed %+v, again %+v", c, again)
			}
			if got := first.save(t, 1, fields("a")); got != script.SaveDone {
				t.Errorf("save: %v", got)
			}
			first.save(t, 3, fields("c"))
			if got := first.save(t, 2, fields("b")); got != script.SaveDone { // it arrives late
				t.Errorf("an earlier save: %v", got)
			}
			first.holds(t, "c")
			if ttl := rdb.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Minute {
				t.Errorf("it expires in %v", ttl)
			}

			c = second.claim(t, "two", "s2")
			second.Owner = epochOf(t, c)
			if second.Epoch <= first.Epoch || c.Fields["acc"] != "c" || c.Fields["sessions"] != "s1 s2" {
				t.Errorf("the second one claimed %+v", c)
			}
			if late := first.claim(t, "one", "s1"); !late.Taken {
				t.Errorf("a claim that arrives late: %+v", late)
			}
			if got := []script.Saved{first.save(t, 4, fields("d")), first.save(t, 5, nil)}; !slices.Equal(got, []script.Saved{script.SaveTaken, script.SaveTaken}) {
				t.Errorf("saves of the first one: %v", got)
			}
			second.save(t, 1, fields("e"))
			if removed, err := first.Discard(t.Context(), keys, "b", first.Owner, true); removed || err != nil {
				t.Errorf("the first one removed it: %v, %v", removed, err)
			}
			second.holds(t, "e")

			rdb.Del(t.Context(), key) // Redis has lost it
			if got := first.save(t, 6, fields("f")); got != script.SaveTaken {
				t.Errorf("a save of the first one after the loss: %v", got)
			}
			if got := second.save(t, 2, nil); got != script.SaveGone {
				t.Errorf("renewed after the loss: %v", got)
			}
			rdb.Del(t.Context(), keys.Cancels()) // and who was taken over
			first.save(t, 6, fields("g"))
			if got := second.save(t, 3, fields("h")); got != script.SaveDone {
				t.Errorf("a save over an earlier owner: %v", got)
			}
			second.holds(t, "h")
			if got := first.save(t, 7, fields("i")); got != script.SaveTaken {
				t.Errorf("a save over a later owner: %v", got)
			}

			for range 2 { // the answer of the first was lost
				if removed, err := second.Discard(t.Context(), keys, "b", second.Owner, true); !removed || err != nil {
					t.Errorf("the second one removed it: %v, %v", removed, err)
				}
			}
			if got := second.save(t, 2, fields("j")); got != script.SaveDone {
				t.Errorf("a save that arrives after the end: %v", got)
			}
			if late := second.claim(t, "two", "s2"); !late.Taken {
				t.Errorf("a claim that arrives after the end: %+v", late)
			}
			if n := rdb.Exists(t.Context(), key).Val(); n != 0 {
				t.Error("the checkpoint is there again")
			}
		})
	}
}

func TestClaimsOfOthersChangeNothing(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	o := &owner{Runner: q.Runner, rdb: q.rdb, keys: q.keys}
	o.Owner = epochOf(t, o.claim(t, "one", "s1"))
	o.save(t, 1, fields("a"))
	before := q.dump(t)
	for _, c := range []script.Claim{{Function: "g", Kind: "fold"}, {Function: "f", Kind: "loop"}} {
		c.Name, c.Owner, c.Session, c.TTL = "b", "two", "s2", time.Hour
		claimed, err := q.Claim(t.Context(), q.keys, c)
		if err != nil || !claimed.Other || claimed.Fields["function"] != "f" {
			t.Errorf("%+v: got %+v, %v", c, claimed, err)
		}
	}
	if after := q.dump(t); after != before {
		t.Errorf("it changed\n%s\nto\n%s", before, after)
	}
	for _, key := range []string{q.keys.Batch("b"), q.keys.Cancels()} {
		q.do(t, "del", key)
		q.do(t, "rpush", key, "strange")
		before := q.dump(t)
		_, err := q.Claim(t.Context(), q.keys, script.Claim{Name: "b", Owner: "two", Session: "s2", Function: "f", Kind: "fold", TTL: time.Hour})
		_, saveErr := q.Save(t.Context(), q.keys, script.Save{Name: "b", Owner: o.Owner, Seq: 9, TTL: time.Hour, Fields: fields("b")})
		_, discardErr := q.Discard(t.Context(), q.keys, "b", o.Owner, true)
		for _, err := range []error{err, saveErr, discardErr} {
			if !redis.HasErrorPrefix(err, "WRONGTYPE") {
				t.Errorf("%s: got %v, want WRONGTYPE", key, err)
			}
		}
		if after := q.dump(t); after != before {
			t.Errorf("it changed\n%s\nto\n%s", before, after)
		}
		q.do(t, "del", key)
	}
}

// TestLeftoverFindsTheTasksOfOneSession among many others, a page at a time.
func TestLeftoverFindsTheTasksOfOneSession(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	const n = 350
	var want []script.TaskRef
	tasks := make([]wire.Task, n)
	for i := range tasks {
		tasks[i] = task(i)
		tasks[i].Payload = []byte(" re=" + replyID)
		switch i % 5 {
		case 2:
			tasks[i].Reply = replyID
		case 3:
			tasks[i].Reply = strings.Replace(replyID, "01B", "01C", 1)
		}
	}
	entries := q.store(t, tasks...)
	for i := 2; i < n; i += 5 {
		want = append(want, script.TaskRef{ID: id(i), Entry: entries[i]})
	}
	q.do(t, "xadd", q.keys.Tasks(), "*", "something", "else")
	var got []script.TaskRef
	pages := 0
	for next := "-"; next != ""; pages++ {
		some, after, err := q.Leftover(t.Context(), q.keys, replyID, next, "+")
		if err != nil {
			t.Fatal(err)
		}
		got, next = append(got, some...), after
	}
	if !slices.Equal(got, want) || pages != 4 {
		t.Errorf("got %v in %d pages, want %v", got, pages, want)
	}
}
