package script_test

import (
	"slices"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

func (q *queue) reclaim(t testing.TB, mode script.ReclaimMode, limit int) script.Reclaimed {
	t.Helper()
	dead := "dead"
	if mode == script.ByRelease {
		dead = wire.ReleasedConsumer
	}
	got, err := q.Reclaim(t.Context(), script.ReclaimFrom{Keys: q.keys, Group: group, Me: "me", Dead: dead, Limit: limit, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReclaimTakesOverAndRemovesTheConsumerWhenItIsEmpty(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entries := q.running(t, "dead", 5)
	for i, want := range []struct {
		n    int
		more bool
	}{{2, true}, {2, true}, {1, false}, {0, false}} {
		got := q.reclaim(t, script.ByLease, 2)
		if len(got.Entries) != want.n || got.More != want.more || got.Alive || got.Lost != 0 {
			t.Fatalf("call %d: got %+v, want %+v", i, got, want)
		}
		if there := slices.Contains(q.consumers(t), "dead"); there != want.more {
			t.Errorf("call %d: consumer there: %v, want %v", i, there, want.more)
		}
		for j, entry := range got.Entries {
			task, err := wire.Decode(entry.Fields)
			if n := 2*i + j; err != nil || entry.ID != entries[n] || task.ID != id(n) || entry.Crashes != 1 || entry.Alone || task.Attempt != 1 {
				t.Errorf("entry %d: got %+v, %v", n, entry, err)
			}
		}
	}
	for _, entry := range entries {
		if owner := q.owner(t, entry); owner != "me" {
			t.Errorf("%s belongs to %q, want me", entry, owner)
		}
	}
	q.wantCount(t, "reclaimed", 5)
}

func TestReclaimModes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode    script.ReclaimMode
		lease   bool
		alive   bool
		crashes int
		counter string
	}{
		"by lease, which has run out":     {script.ByLease, false, false, 1, "reclaimed"},
		"by lease, which exists":          {script.ByLease, true, true, 0, "reclaimed"},
		"by presence ends the lease":      {script.ByPresence, true, false, 1, "reclaimed"},
		"by presence without lease":       {script.ByPresence, false, false, 1, "reclaimed"},
		"released entries count no crash": {script.ByRelease, false, false, 0, "handed over"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			entries := q.running(t, "dead", 1)
			if c.lease {
				q.fence(t, "dead")
			}
			if c.mode == script.ByRelease {
				if err := q.Release(t.Context(), q.keys, group, "dead", entries); err != nil {
					t.Fatal(err)
				}
			}
			got := q.reclaim(t, c.mode, 10)
			if got.Alive != c.alive || len(got.Entries) == 0 != c.alive {
				t.Fatalf("got %+v, want alive %v", got, c.alive)
			}
			if c.alive {
				if owner := q.owner(t, entries[0]); owner != "dead" {
					t.Errorf("it belongs to %s", owner)
				}
				return
			}
			if got.Entries[0].Crashes != c.crashes {
				t.Errorf("crashes: got %d, want %d", got.Entries[0].Crashes, c.crashes)
			}
			if n := q.rdb.Exists(t.Context(), q.keys.Lease("dead")).Val(); n != 0 {
				t.Error("the lease is still there")
			}
			q.wantCount(t, c.counter, 1)
		})
	}
}

func TestCrashesAddUpAndKnowWhatRanAlone(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entry := q.running(t, "dead", 1)[0]
	for n := 1; n <= 3; n++ {
		if n == 3 {
			if err := q.MarkAlone(t.Context(), q.keys, entry); err != nil {
				t.Fatal(err)
			}
		}
		got := q.reclaim(t, script.ByLease, 1)
		if len(got.Entries) != 1 || got.Entries[0].Crashes != n || got.Entries[0].Alone != (n == 3) {
			t.Fatalf("crash %d: got %+v", n, got)
		}
		q.do(t, "xclaim", q.keys.Tasks(), group, "dead", 0, entry) // and the next one dies with it
	}
	if err := q.Release(t.Context(), q.keys, group, "dead", []string{entry}); err != nil {
		t.Fatal(err)
	}
	if got := q.reclaim(t, script.ByRelease, 1); len(got.Entries) != 1 || got.Entries[0].Crashes != 3 || got.Entries[0].Alone {
		t.Errorf("released: got %+v, want three crashes remembered, none alone", got)
	}
}

func TestWhatIsEndedIsNotMarkedAsAlone(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entry := q.running(t, "dead", 1)[0]
	q.reclaim(t, script.ByLease, 1)
	q.mustCommit(t, q.batch(entry)) // by a worker that came back
	if err := q.MarkAlone(t.Context(), q.keys, entry); err != nil {
		t.Fatal(err)
	}
	if left := q.rdb.HGetAll(t.Context(), q.keys.Crashes()).Val(); len(left) != 0 {
		t.Errorf("left for ever: %v", left)
	}
}

func TestCommitForgetsCrashesOfWhatIsNowhere(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entry := q.running(t, "dead", 1)[0]
	q.reclaim(t, script.ByLease, 1)
	q.do(t, "xdel", q.keys.Tasks(), entry)
	q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "me")
	if late, err := q.Commit(t.Context(), q.batch(entry)); err != nil || len(late) != 1 {
		t.Fatal(late, err)
	}
	if left := q.rdb.HGetAll(t.Context(), q.keys.Crashes()).Val(); len(left) != 0 {
		t.Errorf("left for ever: %v", left)
	}
}

func TestReclaimCountsWhatWasTrimmedAway(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entries := q.running(t, "dead", 3)
	q.do(t, "hset", q.keys.Crashes(), entries[1], 1)
	q.do(t, "xdel", q.keys.Tasks(), entries[1])
	got := q.reclaim(t, script.ByLease, 10)
	if got.Lost != 1 || len(got.Entries) != 2 || got.Entries[1].ID != entries[2] {
		t.Errorf("got %+v, want two entries and one lost", got)
	}
	if owner := q.owner(t, entries[1]); owner != "" {
		t.Errorf("the lost entry is still pending with %s", owner)
	}
	if left := q.rdb.HKeys(t.Context(), q.keys.Crashes()).Val(); slices.Contains(left, entries[1]) {
		t.Errorf("crash counters: %v, want none of the lost entry", left)
	}
	q.wantCount(t, "lost", 1)
}

func TestGhostsAreFoundPageByPage(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entries := q.running(t, "gone", 7)
	q.store(t, task(7)) // not delivered: no ghost
	q.do(t, "xclaim", q.keys.Tasks(), group, "alive", 0, entries[2])
	q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "gone")
	var found []string
	pages := 0
	for start := "-"; start != ""; pages++ {
		got, next, err := q.Ghosts(t.Context(), q.keys, group, "me", script.Page{Start: start, Limit: 3})
		if err != nil || pages > 3 {
			t.Fatal(pages, err)
		}
		for _, entry := range got {
			if _, err := wire.Decode(entry.Fields); err != nil {
				t.Error(err)
			}
			found = append(found, entry.ID)
		}
		start = next
	}
	want := slices.Delete(slices.Clone(entries), 2, 3)
	if !slices.Equal(found, want) || pages != 3 {
		t.Errorf("found %v in %d pages, want %v in 3", found, pages, want)
	}
	if owner := q.owner(t, found[0]); owner != "me" {
		t.Errorf("a ghost belongs to %q, want me", owner)
	}
	q.wantCount(t, "ghosts", 6)
	if again, next, err := q.Ghosts(t.Context(), q.keys, group, "me", script.Page{Start: "-", Limit: 100}); err != nil || len(again) != 0 || next != "" {
		t.Errorf("again: got %v, %q, %v, want none", again, next, err)
	}
}

func TestGhostsAreTakenAsFarAsTheyAreWanted(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entries := q.running(t, "gone", 5)
	q.do(t, "xclaim", q.keys.Tasks(), group, "alive", 0, entries[0])
	q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "gone")
	start := "-"
	for _, want := range [][]string{entries[1:3], entries[3:5], nil} {
		got, next, err := q.Ghosts(t.Context(), q.keys, group, "me", script.Page{Start: start, Limit: 100, Want: 2})
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, entry := range got {
			found = append(found, entry.ID)
		}
		if !slices.Equal(found, want) {
			t.Errorf("from %s: found %v, want %v", start, found, want)
		}
		if start = next; next == "" {
			start = "-"
		}
	}
}

func TestReleaseHandsBackOnlyWhatIsOurs(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entries := q.running(t, "me", 4)
	q.do(t, "xclaim", q.keys.Tasks(), group, "other", 0, entries[1])
	q.mustCommit(t, q.batch(entries[2]))
	heard := q.listen(t)
	if err := q.Release(t.Context(), q.keys, group, "me", entries); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{wire.ReleasedConsumer, "other", "", wire.ReleasedConsumer} {
		if got := q.owner(t, entries[i]); got != want {
			t.Errorf("entry %d belongs to %q, want %q", i, got, want)
		}
	}
	if got := heard(); got != "released" {
		t.Errorf("heard %q", got)
	}
	if got := q.reclaim(t, script.ByRelease, 10); len(got.Entries) != 2 || slices.Contains(q.consumers(t), wire.ReleasedConsumer) {
		t.Errorf("got %+v, consumers %v", got, q.consumers(t))
	}
}

func TestLeaveHandsOverAllAndTakesTheWorkerOffTheGroup(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entries := q.running(t, "me", 300)
	q.fence(t, "me")
	heard := q.listen(t)
	calls := 0
	for left := 1; left > 0; calls++ {
		var err error
		if left, err = q.Leave(t.Context(), q.keys, group, "me"); err != nil || calls > 3 {
			t.Fatal(left, err)
		}
	}
	if calls != 2 || heard() != "released" {
		t.Errorf("%d calls, want 2", calls)
	}
	if got := q.consumers(t); !slices.Equal(got, []string{wire.ReleasedConsumer}) {
		t.Errorf("consumers: %v", got)
	}
	if n := q.rdb.Exists(t.Context(), q.keys.Lease("me")).Val(); n != 0 {
		t.Error("the lease is still there")
	}
	if left, err := q.Leave(t.Context(), q.keys, group, "me"); err != nil || left != 0 {
		t.Errorf("leave again: %d, %v", left, err)
	}
	if got := q.reclaim(t, script.ByRelease, 1000); len(got.Entries) != len(entries) || got.Entries[299].ID != entries[299] || got.Entries[0].Crashes != 0 {
		t.Errorf("reclaimed %d of %d", len(got.Entries), len(entries))
	}
}

func TestHeartbeatsKeepTheFenceUntilTheLeaseIsLost(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	beat := func() (string, bool) {
		fence, renewed, err := q.beat(t, "me", time.Minute, "host 1")
		if err != nil {
			t.Fatal(err)
		}
		return fence, renewed
	}
	first, renewed := beat()
	if renewed {
		t.Error("the first one says renewed")
	}
	q.do(t, "pexpire", q.keys.Lease("me"), 10000)
	if again, renewed := beat(); !renewed || again != first {
		t.Errorf("got %s, %v, want %s renewed", again, renewed, first)
	}
	if left := q.rdb.PTTL(t.Context(), q.keys.Lease("me")).Val(); left < 50*time.Second {
		t.Errorf("lives for %v, want a minute", left)
	}
	if _, value := wire.ParseLease(q.rdb.Get(t.Context(), q.keys.Lease("me")).Val()); value != "host 1" {
		t.Errorf("value %q", value)
	}
	q.do(t, "del", q.keys.Lease("me"))
	if other, renewed := beat(); renewed || other == first {
		t.Errorf("after a loss: got %s, %v, want a new fence", other, renewed)
	}
}

func TestReplayTurnsALetterIntoATaskOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entry := q.running(t, "me", 1)[0]
	if ok, err := q.Bury(t.Context(), q.bury(entry)); err != nil || !ok {
		t.Fatal(ok, err)
	}
	letter := q.rdb.XRange(t.Context(), q.keys.Dead(), "-", "+").Val()[0].ID
	for i, want := range []bool{true, false} {
		if ok, err := q.Replay(t.Context(), q.keys, letter, task(0)); err != nil || ok != want {
			t.Errorf("replay %d: got %v, %v, want %v", i, ok, err, want)
		}
	}
	if tasks, _ := q.stored(t); len(tasks) != 1 || tasks[0].ID != id(0) || string(tasks[0].Payload) != "p0" {
		t.Errorf("stored: %+v", tasks)
	}
	if n := q.length(t, q.keys.Dead()); n != 0 {
		t.Errorf("letters left: %d", n)
	}
	q.wantCount(t, "replayed", 1)
}

func TestMakeGroupStartsAtTheBeginning(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.do(t, "del", q.keys.Tasks())
	q.store(t, task(0))
	for i, want := range []bool{true, false} {
		if made, err := q.MakeGroup(t.Context(), q.keys, group); err != nil || made != want {
			t.Errorf("call %d: got %v, %v, want %v", i, made, err, want)
		}
	}
	if got := q.deliver(t, "me", 10); len(got) != 1 {
		t.Errorf("delivered %v, want what was stored before", got)
	}
}

func TestSessionTellsWhatWasLost(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	session := script.SessionKeys{Keys: q.keys, ID: replyID, Lane: "lane"}
	step := func(what string, want script.SessionState) {
		t.Helper()
		if got, err := q.Session(t.Context(), session, time.Minute); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", what, got, err, want)
		}
		if left := q.rdb.PTTL(t.Context(), q.keys.Reply(replyID)).Val(); left < 50*time.Second {
			t.Errorf("%s: the reply stream lives for %v", what, left)
		}
	}
	step("at first", script.SessionState{Last: -1})
	step("again", script.SessionState{Kept: true, Last: -1})
	q.store(t, task(0), task(1))
	q.do(t, "hset", q.keys.Context(replyID), "a", 1)
	step("with tasks", script.SessionState{Kept: true, Last: 2})
	if left := q.rdb.PTTL(t.Context(), q.keys.Context(replyID)).Val(); left < 50*time.Second {
		t.Errorf("the shared values live for %v", left)
	}
	q.do(t, "flushall")
	step("after a loss", script.SessionState{Last: -1})
	if n := q.length(t, q.keys.Reply(replyID)); n != 0 {
		t.Errorf("the new reply stream has %d entries", n)
	}
}

func TestShareNeedsALiveBatch(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	share := func() bool {
		ok, err := q.Share(t.Context(), q.keys, replyID, "name", []byte("value"))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if share() {
		t.Error("shared without a reply stream")
	}
	q.openReply(t)
	if !share() || q.rdb.HGet(t.Context(), q.keys.Context(replyID), "name").Val() != "value" {
		t.Error("not shared")
	}
	if left := q.rdb.PTTL(t.Context(), q.keys.Context(replyID)).Val(); left <= 0 {
		t.Errorf("the value lives for %v, want as long as the reply stream", left)
	}
}

func TestMissingLooksAtEntriesAndAtWhatIsDue(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	entries := q.running(t, "me", 3)
	q.do(t, "xdel", q.keys.Tasks(), entries[1])
	q.delay(t, task(7), 1)
	refs := []script.TaskRef{{ID: id(0), Entry: entries[0]}, {ID: id(1), Entry: entries[1]}, {ID: id(7)}, {ID: id(8)}, {ID: id(2), Entry: entries[2]}}
	for range 300 { // more than one call
		refs = append(refs, script.TaskRef{ID: id(0), Entry: entries[0]})
	}
	refs = append(refs, script.TaskRef{ID: id(9)})
	missing, err := q.Missing(t.Context(), q.keys, refs)
	if want := []int{1, 3, len(refs) - 1}; err != nil || !slices.Equal(missing, want) {
		t.Errorf("got %v, %v, want %v", missing, err, want)
	}
}
