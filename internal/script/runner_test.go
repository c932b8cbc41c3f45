package script_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/redistest/flavour"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// TestLifeOfTasksOnEveryServer runs each script once, with all scripts forgotten before each call: on Redis, Valkey and the embedded
// server, which does not know `#!lua`.
func TestLifeOfTasksOnEveryServer(t *testing.T) {
	t.Parallel()
	for _, f := range flavour.All(t) {
		for _, protocol := range []int{2, 3} {
			t.Run(f.Name+" RESP"+string(rune('0'+protocol)), func(t *testing.T) {
				t.Parallel()
				rdb := f.Client(t, func(o *redis.Options) { o.Protocol = protocol })
				q := &queue{rdb: rdb, Runner: script.NewRunner(rdb), keys: wire.NewKeys("wm", "q"), next: 1}
				q.live(t, func() { q.do(t, "script", "flush") })
			})
		}
	}
}

// live takes tasks through all that may happen to them.
func (q *queue) live(t testing.TB, between func()) {
	t.Helper()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		between()
	}
	_, err := q.MakeGroup(t.Context(), q.keys, group)
	must("make group", err)
	_, err = q.Session(t.Context(), script.SessionKeys{Keys: q.keys, ID: replyID, Lane: "lane"}, time.Minute)
	must("session", err)
	_, err = q.Share(t.Context(), q.keys, replyID, "a", []byte("b"))
	must("share", err)
	tasks := make([]wire.Task, 8)
	for i := range tasks {
		tasks[i] = task(i)
		tasks[i].Reply = replyID
	}
	entries := q.store(t, tasks...)
	between()
	q.delay(t, task(8), 1)
	between()
	if moved, next, err := q.Promote(t.Context(), q.keys, 10); err != nil || moved != 1 || next != -1 {
		t.Fatalf("promote: %d, %v, %v", moved, next, err)
	}
	q.deliver(t, "me", 6)
	fence, renewed, err := q.beat(t, "me", time.Minute, "host")
	must("heartbeat", err)
	if again, kept, err := q.beat(t, "me", time.Minute, "host"); err != nil || renewed || !kept || again != fence {
		t.Errorf("heartbeats: %q %v, %q %v, %v", fence, renewed, again, kept, err)
	}
	b := q.batch(entries[0], entries[1])
	b.Fence = fence
	between()
	q.mustCommit(t, b)
	between()
	if late, err := q.Commit(t.Context(), b); err != nil || !slices.Equal(late, []int{0, 1}) {
		t.Errorf("commit again: %v, %v", late, err)
	}
	again := q.retry(entries[2], time.Hour)
	again.Task.ID = id(2)
	must("retry", notOK(q.Retry(t.Context(), again)))
	must("bury", notOK(q.Bury(t.Context(), q.bury(entries[3]))))
	must("scatter", notAll(q.Scatter(t.Context(), q.scatter(entries[5]))))
	must("release", q.Release(t.Context(), q.keys, group, "me", []string{entries[4]}))
	got, err := q.Reclaim(t.Context(), script.ReclaimFrom{Keys: q.keys, Group: group, Me: "you", Dead: wire.ReleasedConsumer, Limit: 9, Mode: script.ByRelease})
	must("reclaim", err)
	if len(got.Entries) != 1 || got.Entries[0].ID != entries[4] || len(got.Entries[0].Fields) != 2 {
		t.Errorf("reclaimed %+v", got)
	}
	_, _, err = q.Ghosts(t.Context(), q.keys, group, "me", script.Page{Start: "-", Limit: 10})
	must("ghosts", err)
	must("alone", q.MarkAlone(t.Context(), q.keys, entries[4]))
	if removed, err := q.Cancel(t.Context(), q.keys, group, []script.TaskRef{{ID: id(6), Entry: entries[6]}, {ID: id(99)}}); err != nil || removed != 1 {
		t.Errorf("cancel: %d, %v", removed, err)
	}
	between()
	if noted, err := q.Cancelled(t.Context(), q.keys, []string{id(6), id(99)}); err != nil || !slices.Equal(noted, []bool{false, true}) {
		t.Errorf("cancelled: %v, %v", noted, err)
	}
	missing, err := q.Missing(t.Context(), q.keys, []script.TaskRef{{ID: id(0), Entry: entries[0]}, {ID: id(7), Entry: entries[7]}})
	must("missing", err)
	if !slices.Equal(missing, []int{0}) {
		t.Errorf("missing: %v", missing)
	}
	letter := q.rdb.XRange(t.Context(), q.keys.Dead(), "-", "+").Val()[0].ID
	must("replay", notOK(q.Replay(t.Context(), q.keys, letter, task(3))))
	for left := 1; left > 0; {
		left, err = q.Leave(t.Context(), q.keys, group, "me")
		must("leave", err)
	}
	q.wantStored(t, 5) // 4, 5, 7, 8 and 3 again
	if texts, _ := q.replies(t); len(texts) != 7 {
		t.Errorf("outcomes: %q", texts)
	}
}

func TestRunnersOnAnotherClientKnowWhatTheServerKnows(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.fence(t, "me")
	other := q.With(q.server.Client(t))
	q.do(t, "config", "resetstat")
	if leases, err := other.Heartbeat(t.Context(), []wire.Keys{q.keys}, "me", time.Minute, ""); err != nil || !leases[0].Renewed {
		t.Errorf("got %v, %v", leases, err)
	}
	if stats := q.rdb.Info(t.Context(), "commandstats").Val(); strings.Contains(stats, "cmdstat_eval:") {
		t.Errorf("it probed again: %s", stats)
	}
}

func TestErrorsNameTheScript(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "secret")
	run := script.NewRunner(server.Client(t))
	_, err := run.MakeGroup(t.Context(), wire.NewKeys("wm", "q"), group)
	if err == nil || !strings.HasPrefix(err.Error(), "script: group: NOAUTH") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	server.Kill()
	if _, _, err = run.Promote(t.Context(), wire.NewKeys("wm", "q"), 1); err == nil || !strings.HasPrefix(err.Error(), "script: promote: ") {
		t.Errorf("got %v", err)
	}
}

// TestKeysOfAWrongTypeLeaveNothingHalfDone puts a string, or a list, where a script expects something else: it must fail and change
// nothing, or do its work but for what the strange key is for.
func TestKeysOfAWrongTypeLeaveNothingHalfDone(t *testing.T) {
	t.Parallel()
	actions := map[string]func(q *queue, entries []string) error{
		"enqueue": func(q *queue, _ []string) error {
			unique, delayed := task(11), laneTask(task(12))
			unique.Unique, delayed.After = "hash", time.Hour
			stored, err := q.enqueue(t, laneTask(task(10)), delayed, laneTask(unique))
			q.next = max(q.next, stored.Last+1)
			return err
		},
		"commit": func(q *queue, entries []string) error {
			b := q.batch(entries...)
			b.Items[1].Unique = "hash"
			_, err := q.Commit(t.Context(), b)
			return err
		},
		"retry": func(q *queue, entries []string) error {
			item := q.retry(entries[0], time.Hour)
			item.Task.Reply = replyID
			return notOK(q.Retry(t.Context(), item))
		},
		"bury": func(q *queue, entries []string) error {
			item := q.bury(entries[0])
			item.Unique = "hash"
			return notOK(q.Bury(t.Context(), item))
		},
		"scatter": func(q *queue, entries []string) error {
			return notAll(q.Scatter(t.Context(), q.scatter(entries[0])))
		},
		"promote": func(q *queue, _ []string) error {
			_, _, err := q.Promote(t.Context(), q.keys, 10)
			return err
		},
		"replay": func(q *queue, _ []string) error {
			return notOK(q.Replay(t.Context(), q.keys, "1-1", task(20)))
		},
		"cancel": func(q *queue, _ []string) error {
			_, err := q.Cancel(t.Context(), q.keys, group, []script.TaskRef{{ID: id(30)}})
			return err
		},
	}
	keys := wire.NewKeys("wm", "q")
	// What must work all the same, since the strange key is beside the point: an action and its key.
	despite := map[string][]string{
		keys.Counts():       {"enqueue", "commit", "retry", "bury", "scatter", "promote", "replay", "cancel"},
		keys.Crashes():      {"enqueue", "commit", "retry", "bury", "scatter", "promote", "replay", "cancel"},
		keys.Reply(replyID): {"enqueue", "commit", "retry", "bury", "scatter", "promote", "replay", "cancel"},
		keys.Unique("hash"): {"commit", "retry", "bury", "scatter", "promote", "replay", "cancel"},
		keys.Dead():         {"enqueue", "commit", "retry", "promote", "cancel"},
		keys.Due():          {"commit", "bury", "replay"},
		keys.Body():         {"commit", "bury", "replay"},
		keys.Tasks():        {"cancel"},
	}
	for key, fine := range despite {
		for name, act := range actions {
			t.Run(name+" with a strange "+key, func(t *testing.T) {
				t.Parallel()
				q := newQueue(t)
				q.openReply(t)
				entries := q.running(t, "me", 3)
				due := task(30)
				due.Reply = replyID
				q.delay(t, due, 1)
				q.do(t, "xadd", q.keys.Dead(), "1-1", "v", "1")
				q.do(t, "del", key)
				q.do(t, "rpush", key, "strange")
				before := q.dump(t)
				err := act(q, entries)
				if works := slices.Contains(fine, name); works != (err == nil) {
					t.Fatalf("got %v, want it to work: %v", err, works)
				}
				if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
					t.Errorf("got %v, want WRONGTYPE", err)
				}
				if after := q.dump(t); err != nil && after != before {
					t.Errorf("it failed (%v) and changed\n%s\nto\n%s", err, before, after)
				}
				if err == nil {
					q.wantCompleted(t, name)
				}
			})
		}
	}
}

// wantCompleted holds that an action did what it is for.
func (q *queue) wantCompleted(t testing.TB, action string) {
	t.Helper()
	gone := map[string]int{"enqueue": 5, "commit": 0, "retry": 2, "bury": 2, "scatter": 3, "promote": 4, "replay": 4, "cancel": 3}
	if q.rdb.Type(t.Context(), q.keys.Tasks()).Val() == "stream" {
		q.wantStored(t, gone[action])
	}
	if action == "retry" {
		if q.rdb.HExists(t.Context(), q.keys.Body(), id(0)).Val() != (q.rdb.ZScore(t.Context(), q.keys.Due(), id(0)).Err() == nil) {
			t.Error("the retried task is half there")
		}
	}
	if kind := q.rdb.Type(t.Context(), q.keys.Reply(replyID)).Val(); kind == "stream" && (action == "commit" || action == "bury") {
		if texts, _ := q.replies(t); len(texts) == 0 {
			t.Error("no outcome")
		}
	}
}
