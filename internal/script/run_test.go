package script_test

import (
	"fmt"
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

const runID = "01BX5ZZKBKACTAV9WEVGEMMVS1"

// run is a run on a queue of its own.
type run struct {
	*queue
	k wire.RunKeys
}

// newRun opens a run of two partitions.
func newRun(t *testing.T, fields ...any) *run {
	t.Helper()
	q := newQueue(t)
	r := &run{queue: q, k: q.keys.Run(runID)}
	stored, err := r.open(t, fields...)
	if err != nil || stored.State != script.RunOpen || stored.Splits != 0 || stored.Spec != "spec" {
		t.Fatalf("open: %+v, %v", stored, err)
	}
	return r
}

func (r *run) open(t testing.TB, fields ...any) (script.RunStored, error) {
	t.Helper()
	return r.OpenRun(t.Context(), &script.RunOpening{
		Keys: r.k, TTL: time.Minute, Tend: []byte("tend"), Reducers: [][]byte{[]byte("r0"), []byte("r1")},
		Fields: append([]any{"spec", "spec", "partitions", 2}, fields...),
	})
}

func (r *run) feed(t testing.TB, first int, done bool, tasks ...string) (string, int, error) {
	t.Helper()
	f := script.RunFeed{Keys: r.k, First: first, Inputs: 10 * (first + len(tasks)), Digest: fmt.Sprint("d", first+len(tasks)), Bytes: 7, Close: done}
	for _, task := range tasks {
		f.Tasks = append(f.Tasks, []byte(task))
	}
	return r.FeedRun(t.Context(), &f)
}

// fed stores map tasks and closes the run.
func (r *run) fed(t testing.TB, tasks ...string) {
	t.Helper()
	if state, splits, err := r.feed(t, 0, true, tasks...); err != nil || state != script.RunMapping || splits != len(tasks) {
		t.Fatalf("feed: %s, %d, %v", state, splits, err)
	}
}

func (r *run) execution(phase script.Phase, number int, id string) *script.Execution {
	return &script.Execution{Keys: r.k, Phase: phase, Number: number, ID: id, Task: "task" + id, Entry: "1-1", Worker: "w-" + id}
}

func (r *run) begin(t testing.TB, e *script.Execution) string {
	t.Helper()
	verdict, _, err := r.BeginRun(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

func (r *run) finish(t testing.TB, e *script.Execution) (string, bool) {
	t.Helper()
	verdict, complete, err := r.FinishRun(t.Context(), e, script.Finished{Manifest: []byte{1, 2}, Took: time.Second, Bytes: 5, Pairs: 3})
	if err != nil {
		t.Fatal(err)
	}
	return verdict, complete
}

func (r *run) fail(t testing.TB, phase script.Phase, number int, reason string) (string, bool) {
	t.Helper()
	verdict, complete, err := r.FailRun(t.Context(), &script.RunFailure{Keys: r.k, Phase: phase, Number: number, Text: "why", Reason: reason})
	if err != nil {
		t.Fatal(err)
	}
	return verdict, complete
}

func (r *run) advance(t testing.TB) script.RunState {
	t.Helper()
	state, err := r.AdvanceRun(t.Context(), r.k, false)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func (r *run) field(t testing.TB, name string) string {
	t.Helper()
	return r.rdb.HGet(t.Context(), r.k.Hash(), name).Val()
}

// wantTTLs holds that every key of the run expires.
func (r *run) wantTTLs(t testing.TB) {
	t.Helper()
	for _, key := range r.rdb.Keys(t.Context(), "*").Val() {
		if strings.Contains(key, "run") || strings.Contains(key, "reply") || strings.Contains(key, "/") {
			if ttl := r.rdb.PTTL(t.Context(), key).Val(); ttl <= 0 {
				t.Errorf("%s has the ttl %v", key, ttl)
			}
		}
	}
}

// TestLifeOfARun takes a run from its beginning to its end, with every call made twice.
func TestLifeOfARun(t *testing.T) {
	t.Parallel()
	for _, f := range flavour.All(t) {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			rdb := f.Client(t)
			q := &queue{rdb: rdb, Runner: script.NewRunner(rdb), keys: wire.NewKeys("wm", "q"), next: 1}
			r := &run{queue: q, k: q.keys.Run(runID)}
			if stored, err := r.open(t); err != nil || stored.State != script.RunOpen {
				t.Fatalf("open: %+v, %v", stored, err)
			}
			r.live(t)
		})
	}
}

func (r *run) live(t testing.TB) {
	t.Helper()
	if again, err := r.open(t); err != nil || again.State != script.RunOpen {
		t.Errorf("open again: %+v, %v", again, err)
	}
	r.wantStored(t, 1) // who tends it
	for range 2 {
		if state, splits, err := r.feed(t, 0, false, "m0", "m1"); err != nil || state != script.RunOpen || splits != 2 {
			t.Errorf("feed: %s, %d, %v", state, splits, err)
		}
	}
	if state, splits, err := r.feed(t, 3, false, "m3"); err != nil || state != script.RunOpen || splits != 2 {
		t.Errorf("a gap: %s, %d, %v", state, splits, err)
	}
	r.wantStored(t, 3)
	if stored, err := r.open(t); err != nil || stored.Splits != 2 || stored.Inputs != 20 || stored.Digest != "d2" {
		t.Errorf("stored %+v, %v", stored, err)
	}
	m0, m1 := r.execution(script.Maps, 0, "a"), r.execution(script.Maps, 1, "b")
	for range 2 {
		if verdict := r.begin(t, m0); verdict != script.VerdictRun {
			t.Errorf("begin: %s", verdict)
		}
		if state, err := r.SpillRun(t.Context(), m0, 100); err != nil || state != script.RunOpen {
			t.Errorf("spill: %s, %v", state, err)
		}
	}
	if got := r.field(t, "bytes"); got != "100" {
		t.Errorf("bytes %s", got)
	}
	for range 2 {
		if verdict, complete := r.finish(t, m0); verdict != script.VerdictWon || complete {
			t.Errorf("finish: %s, %v", verdict, complete)
		}
	}
	late := r.execution(script.Maps, 0, "late")
	if _, err := r.SpillRun(t.Context(), late, 40); err != nil {
		t.Error(err)
	}
	if verdict, _ := r.finish(t, late); verdict != script.VerdictLost {
		t.Errorf("a late one: %s", verdict)
	}
	for range 2 {
		if _, err := r.SpillRun(t.Context(), late, 0); err != nil || r.field(t, "bytes") != "100" {
			t.Errorf("bytes %s, %v", r.field(t, "bytes"), err)
		}
	}
	if verdict := r.begin(t, late); verdict != script.VerdictDecided {
		t.Errorf("begin: %s", verdict)
	}
	if verdict, complete := r.finish(t, m1); verdict != script.VerdictWon || complete {
		t.Errorf("finish while it is open: %s, %v", verdict, complete)
	}
	if state := r.advance(t); state.State != script.RunOpen || state.Partitions != 2 {
		t.Errorf("advance while it is open: %+v", state)
	}
	for range 2 {
		if state, splits, err := r.feed(t, 2, true); err != nil || state != script.RunMapping || splits != 2 {
			t.Errorf("close: %s, %d, %v", state, splits, err)
		}
	}
	for range 2 {
		if state := r.advance(t); state.State != script.RunReducing {
			t.Errorf("advance: %+v", state)
		}
	}
	r.wantStored(t, 5)
	r.wantTTLs(t)
	for n, id := range []string{"c", "d"} {
		if verdict, complete := r.finish(t, r.execution(script.Reduces, n, id)); verdict != script.VerdictWon || complete != (n == 1) {
			t.Errorf("reduce %d: %s, %v", n, verdict, complete)
		}
	}
	for range 2 {
		if state := r.advance(t); state.State != script.RunDone {
			t.Errorf("advance: %+v", state)
		}
	}
	if verdict := r.begin(t, r.execution(script.Reduces, 0, "e")); verdict != script.VerdictOver {
		t.Errorf("begin: %s", verdict)
	}
	if states := r.rdb.XRange(t.Context(), r.k.Events(), "-", "+").Val(); len(states) != 4 {
		t.Errorf("events %v", states)
	}
	r.wantTTLs(t)
	for i := range 2 {
		if removed, err := r.RemoveRun(t.Context(), r.k); err != nil || removed != (i == 0) {
			t.Errorf("remove: %v, %v", removed, err)
		}
	}
	r.wantGone(t)
}

// wantGone holds that every call finds the run gone, and leaves no key of it.
func (r *run) wantGone(t testing.TB) {
	t.Helper()
	e := r.execution(script.Maps, 0, "a")
	if state, _, err := r.feed(t, 0, true, "m0"); err != nil || state != script.RunGone {
		t.Errorf("feed: %s, %v", state, err)
	}
	if verdict := r.begin(t, e); verdict != script.RunGone {
		t.Errorf("begin: %s", verdict)
	}
	if state, err := r.SpillRun(t.Context(), e, 1); err != nil || state != script.RunGone {
		t.Errorf("spill: %s, %v", state, err)
	}
	if verdict, _ := r.finish(t, e); verdict != script.RunGone {
		t.Errorf("finish: %s", verdict)
	}
	for _, reason := range []string{"", script.ReasonDataLost, script.ReasonCancelled} {
		if verdict, _ := r.fail(t, script.Maps, 0, reason); verdict != script.RunGone {
			t.Errorf("fail: %s", verdict)
		}
	}
	if state := r.advance(t); state.State != script.RunGone || !state.Over() {
		t.Errorf("advance: %+v", state)
	}
	if kept, err := r.RenewRun(t.Context(), r.k, time.Minute, true); err != nil || kept {
		t.Errorf("renew: %v, %v", kept, err)
	}
	if slow, err := r.SlowRun(t.Context(), r.k, 3, 0); err != nil || len(slow) != 0 {
		t.Errorf("slow: %v, %v", slow, err)
	}
	if copied, err := r.CopyRun(t.Context(), r.k, script.Maps, script.SlowTask{Number: "0"}, []byte("m")); err != nil || copied {
		t.Errorf("copy: %v, %v", copied, err)
	}
	if stored, err := r.PutParts(t.Context(), []script.Part{{Key: r.k.Shuffle(0), Field: "f", Data: []byte("x")}}); err != nil || stored {
		t.Errorf("put: %v, %v", stored, err)
	}
	for _, key := range r.rdb.Keys(t.Context(), "*").Val() {
		if strings.Contains(key, "run") || strings.Contains(key, "reply") || strings.Contains(key, "/") {
			t.Errorf("%s is there", key)
		}
	}
}

func TestFailuresOfARun(t *testing.T) {
	t.Parallel()
	r := newRun(t, "tolerate", 1)
	r.fed(t, "m0", "m1", "m2")
	r.begin(t, r.execution(script.Maps, 0, "a"))
	for i, want := range []string{script.RunMapping, script.VerdictDecided} {
		if verdict, complete := r.fail(t, script.Maps, 0, ""); verdict != want || complete {
			t.Errorf("fail %d: %s, %v", i, verdict, complete)
		}
	}
	if verdict, _ := r.finish(t, r.execution(script.Maps, 0, "a")); verdict != script.VerdictLost {
		t.Errorf("an execution that comes too late: %s", verdict)
	}
	r.finish(t, r.execution(script.Maps, 1, "b"))
	if verdict, _ := r.fail(t, script.Maps, 1, script.ReasonDataLost); verdict != script.VerdictDecided {
		t.Errorf("a loser that misses data: %s", verdict)
	}
	if verdict, _ := r.fail(t, script.Maps, 2, ""); verdict != script.RunFailed {
		t.Errorf("one too many: %s", verdict)
	}
	r.wantTTLs(t)
	if verdict, _ := r.finish(t, r.execution(script.Maps, 2, "c")); verdict != script.VerdictLost {
		t.Errorf("finish: %s", verdict)
	}
	if state := r.advance(t); state.State != script.RunFailed || state.Reason != script.ReasonTasks {
		t.Errorf("advance: %+v", state)
	}
	if got := r.rdb.HGetAll(t.Context(), r.k.Errors()).Val(); len(got) != 2 || got["m0"] != "why" || got["m2"] != "why" {
		t.Errorf("errors %v", got)
	}
	if verdict, _ := r.fail(t, "", 0, script.ReasonCancelled); verdict != script.RunFailed || r.field(t, "reason") != script.ReasonCancelled {
		t.Errorf("cancel: %s, %s", verdict, r.field(t, "reason"))
	}
}

func TestOtherEndsOfARun(t *testing.T) {
	t.Parallel()
	limited := newRun(t, "limit", 100)
	e := limited.execution(script.Maps, 0, "a")
	if state, err := limited.SpillRun(t.Context(), e, 100); err != nil || state != script.RunOpen {
		t.Errorf("at the limit: %s, %v", state, err)
	}
	if state, err := limited.SpillRun(t.Context(), limited.execution(script.Maps, 1, "b"), 1); err != nil || state != script.RunFailed {
		t.Errorf("above the limit: %s, %v", state, err)
	}
	if state := limited.advance(t); state.Reason != script.ReasonTooMuch {
		t.Errorf("got %+v", state)
	}
	late := newRun(t, "within", 1)
	deadline, err := late.rdb.HGet(t.Context(), late.k.Hash(), "deadline").Int64()
	if err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, 5*time.Second, func() bool { return late.rdb.Time(t.Context()).Val().UnixMilli() > deadline }, "the time is over")
	if state := late.advance(t); state.State != script.RunFailed || state.Reason != script.ReasonDeadline {
		t.Errorf("got %+v", state)
	}
	shared := newRun(t, "share", "0.4") // of 3 map and 2 reduce tasks
	for n := range 3 {
		if verdict, _ := shared.fail(t, script.Maps, n, ""); verdict != script.RunOpen {
			t.Errorf("while it is open: %s", verdict)
		}
	}
	shared.fed(t, "m0", "m1", "m2")
	if state := shared.advance(t); state.State != script.RunFailed || state.Reason != script.ReasonTasks {
		t.Errorf("three of five: %+v", state)
	}
}

func TestCopiesOfSlowTasks(t *testing.T) {
	t.Parallel()
	r := newRun(t)
	r.fed(t, "m0", "m1", "m2", "m3")
	slowOnes := func() []script.SlowTask {
		t.Helper()
		slow, err := r.SlowRun(t.Context(), r.k, 3, 0)
		if err != nil {
			t.Fatal(err)
		}
		return slow
	}
	for n, id := range []string{"a", "b", "c"} {
		r.begin(t, r.execution(script.Maps, n, id))
	}
	fast := func(n int, id string) {
		t.Helper()
		if _, _, err := r.FinishRun(t.Context(), r.execution(script.Maps, n, id), script.Finished{}); err != nil {
			t.Fatal(err)
		}
	}
	fast(0, "a")
	if slow := slowOnes(); len(slow) != 0 {
		t.Errorf("less than half: %v", slow)
	}
	fast(1, "b")
	if slow := slowOnes(); len(slow) != 0 {
		t.Errorf("one still waits: %v", slow)
	}
	r.begin(t, r.execution(script.Maps, 3, "d"))
	var slow []script.SlowTask
	redistest.Eventually(t, 5*time.Second, func() bool { slow = slowOnes(); return len(slow) == 2 }, "two are slow")
	slices.SortFunc(slow, func(a, b script.SlowTask) int { return strings.Compare(a.Number, b.Number) })
	if slow[0].Number != "2" || slow[0].Worker != "w-c" || slow[0].Entry != "1-1" {
		t.Fatalf("got %+v", slow)
	}
	if far, err := r.SlowRun(t.Context(), r.k, 3, time.Hour); err != nil || len(far) != 0 {
		t.Errorf("not for long enough: %v, %v", far, err)
	}
	old := slow[0]
	old.Record = "another"
	for i, c := range []struct {
		slow script.SlowTask
		want bool
	}{{old, false}, {slow[0], true}, {slow[0], false}} {
		if copied, err := r.CopyRun(t.Context(), r.k, script.Maps, c.slow, []byte("copy")); err != nil || copied != c.want {
			t.Errorf("copy %d: %v, %v", i, copied, err)
		}
	}
	if left := slowOnes(); len(left) != 1 || left[0].Number != "3" {
		t.Errorf("got %v", left)
	}
	again := r.execution(script.Maps, 2, "e")
	again.Avoid, again.Worker = "w-c", "w-c"
	for range 20 {
		if verdict := r.begin(t, again); verdict != script.VerdictElsewhere {
			t.Fatalf("on the worker that was slow: %s", verdict)
		}
	}
	if verdict := r.begin(t, again); verdict != script.VerdictRun {
		t.Errorf("where there is no other: %s", verdict)
	}
	if verdict, _ := r.finish(t, again); verdict != script.VerdictWon {
		t.Errorf("finish: %s", verdict)
	}
	if verdict, _ := r.finish(t, r.execution(script.Maps, 2, "c")); verdict != script.VerdictLost {
		t.Errorf("the slow one: %s", verdict)
	}
}

// TestARunIsTendedAgain lets time pass, by hand, without a look of whoever tends it.
func TestARunIsTendedAgain(t *testing.T) {
	t.Parallel()
	r := newRun(t)
	r.fed(t, "m0")
	old := func() { r.do(t, "hset", r.k.Hash(), "tended", 1) }
	r.wantStored(t, 2)
	old()
	for range 2 {
		r.begin(t, r.execution(script.Maps, 0, "a"))
	}
	r.wantStored(t, 3)
	old()
	for range 2 {
		r.advance(t)
	}
	r.wantStored(t, 4)
	old()
	if _, err := r.AdvanceRun(t.Context(), r.k, true); err != nil {
		t.Error(err)
	}
	if _, err := r.RenewRun(t.Context(), r.k, time.Minute, true); err != nil {
		t.Error(err)
	}
	old()
	r.advance(t)
	r.wantStored(t, 4) // all is tidy
}

func TestPartitionsOfARun(t *testing.T) {
	t.Parallel()
	r := newRun(t)
	part := script.Part{Key: r.k.Shuffle(1), Field: "f", Data: []byte("x")}
	if stored, err := r.PutParts(t.Context(), []script.Part{part}); err != nil || stored {
		t.Errorf("before it is open: %v, %v", stored, err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.KeepPartitions(t.Context(), r.k, 2, time.Minute, true))
	for range 2 {
		if stored, err := r.PutParts(t.Context(), []script.Part{part, {Key: r.k.Out(0), Field: "g", Data: []byte("y")}}); err != nil || !stored {
			t.Errorf("put: %v, %v", stored, err)
		}
	}
	must(r.KeepPartitions(t.Context(), r.k, 2, time.Hour, true))
	if got := r.rdb.HGetAll(t.Context(), part.Key).Val(); len(got) != 2 || got["f"] != "x" {
		t.Errorf("got %v", got)
	}
	if ttl := r.rdb.PTTL(t.Context(), part.Key).Val(); ttl < time.Minute {
		t.Errorf("ttl %v", ttl)
	}
	r.do(t, "del", part.Key)
	must(r.KeepPartitions(t.Context(), r.k, 2, time.Hour, false))
	if r.rdb.Exists(t.Context(), part.Key).Val() != 0 {
		t.Error("renewing made it again")
	}
}

// TestKeysOfRunsOfAWrongTypeLeaveNothingHalfDone puts something strange in the place of each key that a script is given.
func TestKeysOfRunsOfAWrongTypeLeaveNothingHalfDone(t *testing.T) {
	t.Parallel()
	k := wire.NewKeys("wm", "q").Run(runID)
	other := wire.NewKeys("wm", "q").Run("01BX5ZZKBKACTAV9WEVGEMMVS2")
	for name, c := range map[string]struct {
		act  func(t *testing.T, r *run) error
		keys []string
	}{
		"open": {func(t *testing.T, r *run) error {
			t.Helper()
			_, err := (&run{queue: r.queue, k: other}).open(t)
			return err
		}, []string{other.Hash(), k.Queue().Runs(), other.Reply(), other.Events(), other.Reducers(), k.Queue().Tasks()}},
		"feed": {func(t *testing.T, r *run) error {
			t.Helper()
			_, _, err := r.feed(t, 1, true, "m1")
			return err
		}, []string{k.Hash(), k.Queue().Tasks(), k.Events()}},
		"begin": {func(t *testing.T, r *run) error {
			t.Helper()
			_, _, err := r.BeginRun(t.Context(), r.execution(script.Maps, 0, "a"))
			return err
		}, []string{k.Hash(), k.Maps(), k.Running(), k.Queue().Tasks()}},
		"spill": {func(t *testing.T, r *run) error {
			t.Helper()
			_, err := r.SpillRun(t.Context(), r.execution(script.Maps, 0, "a"), 10)
			return err
		}, []string{k.Hash(), k.Running(), k.Events()}},
		"finish": {func(t *testing.T, r *run) error {
			t.Helper()
			_, _, err := r.FinishRun(t.Context(), r.execution(script.Maps, 0, "a"), script.Finished{})
			return err
		}, []string{k.Hash(), k.Maps(), k.Running(), k.Took()}},
		"fail": {func(t *testing.T, r *run) error {
			t.Helper()
			_, _, err := r.FailRun(t.Context(), &script.RunFailure{Keys: r.k, Phase: script.Maps})
			return err
		}, []string{k.Hash(), k.Maps(), k.Running(), k.Errors(), k.Events()}},
		"advance": {func(t *testing.T, r *run) error {
			t.Helper()
			r.do(t, "hset", k.Hash(), "state", script.RunMapping, "maps", 1)
			_, err := r.AdvanceRun(t.Context(), r.k, false)
			return err
		}, []string{k.Reducers(), k.Queue().Tasks(), k.Events()}},
		"keep": {func(t *testing.T, r *run) error {
			t.Helper()
			return r.KeepPartitions(t.Context(), r.k, 1, time.Minute, true)
		}, []string{k.Shuffle(0), k.Out(0)}},
		"put": {func(t *testing.T, r *run) error {
			t.Helper()
			_, err := r.PutParts(t.Context(), []script.Part{{Key: k.Out(1), Field: "f"}})
			return err
		}, []string{k.Out(1)}},
	} {
		for _, key := range c.keys {
			t.Run(name+" with a strange "+key, func(t *testing.T) {
				t.Parallel()
				r := newRun(t)
				if _, _, err := r.feed(t, 0, false, "m0"); err != nil {
					t.Fatal(err)
				}
				if name == "advance" {
					r.do(t, "hset", k.Hash(), "state", script.RunMapping, "maps", 1)
				}
				r.do(t, "del", key)
				r.do(t, "pfadd", key, "strange")
				before := r.dump(t)
				err := c.act(t, r)
				if !redis.HasErrorPrefix(err, "WRONGTYPE") {
					t.Errorf("got %v, want WRONGTYPE", err)
				}
				if after := r.dump(t); after != before {
					t.Errorf("it failed (%v) and changed\n%s\nto\n%s", err, before, after)
				}
			})
		}
	}
}

// TestSplitsThatAreStoredAreSkipped has two submitters whose calls overlap.
func TestSplitsThatAreStoredAreSkipped(t *testing.T) {
	t.Parallel()
	r := newRun(t)
	for _, c := range []struct {
		first int
		tasks []string
		want  int
	}{{0, []string{"m0", "m1"}, 2}, {1, []string{"m1", "m2", "m3"}, 4}, {0, []string{"m0"}, 4}} {
		if state, splits, err := r.feed(t, c.first, false, c.tasks...); err != nil || state != script.RunOpen || splits != c.want {
			t.Errorf("feed %+v: %s, %d, %v", c, state, splits, err)
		}
	}
	r.wantStored(t, 5)
	if inputs := r.field(t, "inputs"); inputs != "40" {
		t.Errorf("inputs %s", inputs)
	}
}
