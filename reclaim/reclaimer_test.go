package reclaim_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
)

const (
	short = 300 * time.Millisecond // a lease that tests can wait for
	long  = time.Minute            // and one they cannot
	soon  = 10 * time.Second       // bounds what should take less than a second
)

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	_, err := reclaim.New(b.store, "{q}", "released", reclaim.Config{Lease: time.Microsecond})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, part := range []string{`queue name "{q}"`, `worker name "released"`, "lease of 1µs"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want %q in it", err, part)
		}
	}
	if _, err := reclaim.New(nil, queue, "me", reclaim.Config{}); err == nil {
		t.Error("without a store: got no error")
	}
}

func TestLookCountsByOwner(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	r := b.reclaimer(long)
	if found := b.look(r); found.OwnPending+found.OthersPending+found.Released != 0 {
		t.Fatalf("an idle queue: got %+v", found)
	}
	b.deliver("me", 3)
	handed := b.deliver("leaver", 5)
	b.deliver("other", 4)
	b.ok(b.store.Scripts().Release(t.Context(), b.keys, b.store.Group(), "leaver", handed))
	found := b.look(r)
	if found.OwnPending != 3 || found.OthersPending != 4 || found.Released != 5 || len(found.Dead) != 0 {
		t.Fatalf("got %+v, want 3 own, 4 of others, 5 released, none dead", found)
	}
}

func TestLookPassesErrorsOfRedisOn(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	b.ok(b.client.Del(t.Context(), b.keys.Tasks()).Err())
	_, err := b.reclaimer(long).Look(t.Context())
	if !redis.HasErrorPrefix(err, "NOGROUP") {
		t.Fatalf("got %v, want NOGROUP", err)
	}
}

func TestConsumerWithoutLeaseIsTakenOnlyOnceIdleForALease(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	want := b.deliver("bob", 3)
	patient, r := b.reclaimer(long), b.reclaimer(short)
	took := b.findDead(r, "bob", soon)
	if took < short/2 { // the entries were delivered a moment before the first look
		t.Errorf("found dead after %v, before it was idle for %v", took, short)
	}
	if found := b.look(patient); len(found.Dead) != 0 || found.OthersPending != 3 {
		t.Errorf("with a lease of %v: got %+v, want bob alive", long, found)
	}
	entries := b.take(r, 100)
	if !slices.Equal(ids(entries), want) {
		t.Fatalf("took %v, want %v", ids(entries), want)
	}
	if task, err := wire.Decode(entries[2].Fields); err != nil || string(task.Payload) != "2" {
		t.Errorf("the last entry: got %+v, %v, want payload 2", task, err)
	}
	if got := b.consumers(); len(got) != 1 || got["me"] != 3 {
		t.Errorf("consumers: got %v, want me with 3", got)
	}
}

func TestWorkerWhoseLeaseWasSeenIsTakenWhenItRunsOut(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	b.deliver("other", 2)
	b.beat("other", false, short)
	r := b.reclaimer(long) // so long that its idle time does not matter
	if found := b.look(r); len(found.Dead) != 0 {
		t.Fatalf("with a lease: got %+v", found)
	}
	b.findDead(r, "other", soon)
	if got := b.take(r, 10); len(got) != 2 || got[0].Crashes != 1 {
		t.Fatalf("took %+v, want 2 entries with a crash each", got)
	}
	told := b.logs.FilterMessageSnippet("dead worker").All()
	if len(told) != 1 {
		t.Fatalf("logged %d times, want once", len(told))
	}
	if fields := told[0].ContextMap(); fields["dead"] != "other" || fields["entries"] != int64(2) || fields["by"] != "lease" {
		t.Errorf("logged %v", fields)
	}
}

func TestLeaseRenewedAfterTheLookKeepsItsEntries(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	b.deliver("other", 2)
	r := b.reclaimer(short)
	b.findDead(r, "other", soon)
	b.beat("other", false, long) // it was frozen, and is back just in time
	if got := b.take(r, 10); len(got) != 0 {
		t.Fatalf("took %v from a worker with a lease", got)
	}
	if found := b.look(r); len(found.Dead) != 0 || b.consumers()["other"] != 2 {
		t.Errorf("got %+v, consumers %v, want other alive with 2", found, b.consumers())
	}
}

func TestWorkerThatLosesItsChannelIsTakenAtOnce(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	checkPresence(t, b)
}

func TestPresenceOnACluster(t *testing.T) {
	t.Parallel()
	checkPresence(t, newBench(t, redistest.StartCluster(t, 3).Client(t)))
}

// checkPresence lets one of two workers lose its channel while both keep their leases.
func checkPresence(t *testing.T, b *bench) {
	t.Helper()
	b.deliver("gone", 100)
	b.deliver("here", 7)
	b.beat("gone", true, long)
	b.beat("here", true, long)
	b.subscribe("me")
	b.subscribe("here")
	die := b.subscribe("gone")
	r := b.reclaimer(long)
	b.staysAlive(t.Context(), r, time.Second)

	die()
	t.Logf("found dead after %v", b.findDead(r, "gone", soon))
	if got := len(b.take(r, 40)); got != 40 {
		t.Fatalf("took %d, want 40", got)
	}
	if got := len(b.take(r, 1000)); got != 60 {
		t.Fatalf("took %d more, want 60", got)
	}
	if got := b.consumers(); len(got) != 2 || got["me"] != 100 || got["here"] != 7 {
		t.Errorf("consumers: got %v, want 100 with me and 7 with here", got)
	}
	if n := b.client.Exists(t.Context(), b.keys.Lease("gone")).Val(); n != 0 {
		t.Error("the lease of the dead worker is still there: it could not learn that it lost it")
	}
	if got := b.count("reclaimed"); got != "100" {
		t.Errorf("counted %s reclaimed, want 100", got)
	}
}

func TestNobodyIsDeadByPresence(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*bench){
		"for an observer that is not subscribed itself": func(b *bench) { b.beat("other", true, long) },
		"whose lease does not promise a channel": func(b *bench) {
			b.beat("other", false, long)
			b.subscribe("me")
		},
		"whose lease was written by hand": func(b *bench) {
			b.ok(b.client.Set(b.t.Context(), b.keys.Lease("other"), "hello", long).Err())
			b.subscribe("me")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := localBench(t)
			b.deliver("other", 1)
			prepare(b)
			b.staysAlive(t.Context(), b.reclaimer(long), time.Second)
		})
	}
}

func TestReconnectOfEverybodyKillsNobody(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	b.deliver("other", 1)
	b.beat("other", true, long)
	leave := b.subscribe("me")
	depart := b.subscribe("other")
	r := b.reclaimer(long)
	b.staysAlive(t.Context(), r, 700*time.Millisecond)
	leave()
	depart()
	redistest.Eventually(t, soon, func() bool {
		return b.client.PubSubNumSub(t.Context(), b.keys.Presence("me")).Val()[b.keys.Presence("me")] == 0
	}, "own channel is gone")
	b.look(r)
	b.subscribe("me") // the other one comes back two seconds later
	b.staysAlive(t.Context(), r, 2*time.Second)
	back := b.subscribe("other")
	b.staysAlive(t.Context(), r, 1500*time.Millisecond)
	back()
	b.findDead(r, "other", soon)
}

func TestHandedBackEntriesAreTakenAtOnceAndCostNoCrash(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	want := b.deliver("leaver", 5)
	b.ok(b.store.Scripts().Release(t.Context(), b.keys, b.store.Group(), "leaver", want))
	r := b.reclaimer(long)
	b.look(r)
	got := b.take(r, 3)
	got = append(got, b.take(r, 3)...)
	if !slices.Equal(ids(got), want) {
		t.Fatalf("took %v, want %v", ids(got), want)
	}
	for _, e := range got {
		if e.Crashes != 0 || e.Alone {
			t.Errorf("%+v: a crash was counted", e)
		}
	}
	if left := b.look(r); left.Released != 0 || left.OwnPending != 5 {
		t.Errorf("afterwards: got %+v, want 5 own", left)
	}
}

func TestCrashesAddUp(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	entry := b.deliver("w1", 1)[0]
	for n := 1; n <= 3; n++ {
		r, err := reclaim.New(b.store, queue, "w"+string(rune('1'+n)), reclaim.Config{Lease: short})
		b.ok(err)
		b.findDead(r, "w"+string(rune('0'+n)), soon)
		got := b.take(r, 1)
		if len(got) != 1 || got[0].ID != entry || got[0].Crashes != n || got[0].Alone != (n == 3) {
			t.Fatalf("take %d: got %+v, want %d crashes", n, got, n)
		}
		if n == 2 {
			b.ok(b.store.Scripts().MarkAlone(t.Context(), b.keys, entry))
		}
	}
}

func TestTrimmedEntriesAreCountedAsLost(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	all := b.deliver("bob", 5)
	b.ok(b.client.XDel(t.Context(), b.keys.Tasks(), all[1], all[3]).Err())
	r := b.reclaimer(short)
	b.findDead(r, "bob", soon)
	if got := ids(b.take(r, 10)); !slices.Equal(got, []string{all[0], all[2], all[4]}) {
		t.Errorf("took %v of %v, want the first, third and fifth", got, all)
	}
	if got := b.count("lost"); got != "2" {
		t.Errorf("counted %q lost, want 2", got)
	}
	if got := b.consumers(); len(got) != 1 || got["me"] != 3 {
		t.Errorf("consumers: got %v, want me with 3", got)
	}
	if b.logs.FilterMessageSnippet("gone from the stream").Len() != 1 {
		t.Error("the loss was not logged")
	}
}

func TestLostReplyOfTakeLosesNoEntry(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	b := newBench(t, proxy.Client(t, func(o *redis.Options) { o.MaxRetries = -1 }))
	b.deliver("bob", 10)
	r := b.reclaimer(short)
	b.findDead(r, "bob", soon)
	proxy.CutAfterRequest(func(request []byte) bool { return bytes.Contains(bytes.ToUpper(request), []byte("EVAL")) })
	if _, err := r.Take(t.Context(), 4); err == nil {
		t.Fatal("got no error")
	}
	proxy.CutAfterRequest(nil)
	if got := len(b.take(r, 100)); got != 10 && got != 6 { // 10: the script was not known, and EVALSHA did nothing
		t.Fatalf("took %d, want the other 6", got)
	}
	if found := b.look(r); found.OwnPending != 10 || found.OthersPending != 0 {
		t.Errorf("got %+v, want 10 own: what Take did not see shows as own pending", found)
	}
}

func TestRedisThatWasAwayHoldsVerdictsByLease(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	b := newBench(t, proxy.Client(t, func(o *redis.Options) { o.MaxRetries = -1 }))
	b.deliver("bob", 1)
	r := b.reclaimer(2 * time.Second)
	b.findDead(r, "bob", soon)
	proxy.Refuse(true)
	proxy.ResetAll()
	if _, err := r.Look(t.Context()); err == nil {
		t.Fatal("got no error")
	}
	proxy.Refuse(false)
	b.staysAlive(t.Context(), r, 500*time.Millisecond)
	b.findDead(r, "bob", soon)
}

func TestAuditTakesGhosts(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	b.deliver("here", 300) // more than a page
	want := b.deliver("bob", 3)
	b.add(2)
	b.ok(b.client.XGroupDelConsumer(t.Context(), b.keys.Tasks(), b.store.Group(), "bob").Err())
	r := b.reclaimer(long)
	var got []string
	for range 3 { // of at most 256 entries each
		entries, err := r.Audit(t.Context(), 1000)
		b.ok(err)
		got = append(got, ids(entries)...)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if b.consumers()["me"] != 3 || b.consumers()["here"] != 300 {
		t.Errorf("consumers: got %v", b.consumers())
	}
}

func TestAuditRemovesOnlyEmptyIdleConsumersWithoutLease(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	for _, name := range []string{"empty", "leased", "me"} {
		b.ok(b.client.XGroupCreateConsumer(t.Context(), b.keys.Tasks(), b.store.Group(), name).Err())
	}
	b.deliver("busy", 1)
	b.beat("leased", false, long)
	r := b.reclaimer(long)
	audit := func() map[string]int64 {
		_, err := r.Audit(t.Context(), 10)
		b.ok(err)
		return b.consumers()
	}
	if got := audit(); len(got) != 4 {
		t.Fatalf("before they were idle: got %v, want all 4", got)
	}
	r.RemoveEmptyAfter(100 * time.Millisecond)
	redistest.Eventually(t, soon, func() bool { return len(audit()) == 3 }, "one consumer is removed")
	got := audit()
	for _, name := range []string{"leased", "me", "busy"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s was removed; left: %v", name, got)
		}
	}
}
