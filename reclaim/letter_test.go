package reclaim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

// bury writes a dead letter as a worker does.
func (b *bench) bury(task wire.Task, reason, text string) string {
	b.t.Helper()
	fields := append(task.Fields(), "reason", reason, "error", text, "worker", "w1", "entry", "1-1")
	id, err := b.client.XAdd(b.t.Context(), &redis.XAddArgs{Stream: b.keys.Dead(), Values: fields}).Result()
	b.ok(err)
	return id
}

func (b *bench) buryMany(n int) []string {
	b.t.Helper()
	ids := make([]string, n)
	for i := range n {
		ids[i] = b.bury(wire.Task{ID: stream.NewID(), Function: "f", Attempt: 25, Payload: []byte(fmt.Sprint(i))}, wire.ReasonFailed, "boom")
	}
	return ids
}

func (b *bench) list(opts ...reclaim.ListOption) []reclaim.DeadLetter {
	b.t.Helper()
	var letters []reclaim.DeadLetter
	for letter, err := range reclaim.List(b.t.Context(), b.store, queue, opts...) {
		b.ok(err)
		letters = append(letters, letter)
	}
	return letters
}

func letterIDs(letters []reclaim.DeadLetter) []string {
	got := make([]string, len(letters))
	for i, letter := range letters {
		got[i] = letter.ID
	}
	return got
}

func TestListShowsWhatHappened(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	task := wire.Task{
		ID: stream.NewID(), Function: "getTitle", Attempt: 3, Payload: []byte(`"linuxfr.org"`),
		Headers: map[string]string{"trace": "a b"},
	}
	b.bury(task, wire.ReasonFailed, "no such host")
	b.ok(b.client.XAdd(t.Context(), &redis.XAddArgs{Stream: b.keys.Dead(), Values: []string{
		"raw", `"hello" "world"`, "reason", wire.ReasonMalformed, "error", "fields are needed", "worker", "w2", "entry", "2-1",
	}}).Err())
	letters := b.list()
	if len(letters) != 2 {
		t.Fatalf("got %d letters, want 2", len(letters))
	}
	got := letters[0]
	if got.TaskID != task.ID || got.Function != "getTitle" || got.Queue != queue || got.Attempt != 3 || got.Reason != "failed" ||
		got.Error != "no such host" || got.Worker != "w1" || got.Entry != "1-1" || string(got.Payload) != `"linuxfr.org"` ||
		got.Headers["trace"] != "a b" {
		t.Errorf("got %+v", got)
	}
	if age := time.Since(got.Time); age < -time.Minute || age > time.Minute {
		t.Errorf("time is %v", got.Time)
	}
	if bad := letters[1]; bad.TaskID != "" || bad.Reason != "malformed" || bad.Raw != `"hello" "world"` || bad.Worker != "w2" {
		t.Errorf("malformed: got %+v", bad)
	}
}

func TestListGoesThroughAllPages(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 31, 32, 33, 64, 100} {
		b := localBench(t)
		want := b.buryMany(n)
		if got := letterIDs(b.list()); !slices.Equal(got, want) {
			t.Errorf("%d letters, oldest first: got %v, want %v", n, got, want)
		}
		slices.Reverse(want)
		if got := letterIDs(b.list(reclaim.NewestFirst())); !slices.Equal(got, want) {
			t.Errorf("%d letters, newest first: got %v, want %v", n, got, want)
		}
	}
}

func TestListEndsThoughLettersKeepComing(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	b.buryMany(40)
	n := 0
	for letter, err := range reclaim.List(t.Context(), b.store, queue) {
		b.ok(err)
		if _, err := reclaim.Purge(t.Context(), b.store, queue, letter.ID); err != nil {
			t.Fatal(err)
		}
		b.buryMany(1) // it failed again at once
		if n++; n > 40 {
			t.Fatal("the list does not end")
		}
	}
	if n != 40 {
		t.Errorf("got %d letters, want 40", n)
	}
}

func TestListReportsErrors(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	b.buryMany(1)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, list := range map[string]func(func(reclaim.DeadLetter, error) bool){
		"queue name": reclaim.List(t.Context(), b.store, "no{good"),
		"context":    reclaim.List(cancelled, b.store, queue),
	} {
		var errs []error
		for _, err := range list {
			errs = append(errs, err)
		}
		if len(errs) != 1 || errs[0] == nil || !strings.HasPrefix(errs[0].Error(), "reclaim: list dead letters") {
			t.Errorf("%s: got %v, want one error", name, errs)
		}
	}
}

func TestReplayStartsATaskAnew(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	task := wire.Task{
		ID: stream.NewID(), Function: "f", Attempt: 25, MaxAttempts: 25, Timeout: time.Second, Reply: stream.NewID(), Unique: "abc",
		Promoted: true, LastError: "boom", Headers: map[string]string{"a": "b"}, Payload: []byte("x\x00y"),
	}
	id := b.bury(task, wire.ReasonFailed, "boom")
	n, err := reclaim.Replay(t.Context(), b.store, queue, id)
	if n != 1 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	entries, err := b.client.XRange(t.Context(), b.keys.Tasks(), "-", "+").Result()
	b.ok(err)
	if len(entries) != 1 || len(b.list()) != 0 {
		t.Fatalf("got %d tasks, %d dead letters, want 1 and none", len(entries), len(b.list()))
	}
	var fields []string
	for name, value := range entries[0].Values {
		fields = append(fields, name, value.(string))
	}
	got, err := wire.Decode(fields)
	b.ok(err)
	want := task
	want.Attempt, want.LastError, want.Reply, want.Unique, want.Promoted = 1, "", "", "", false
	if got.Header() != want.Header() || string(got.Payload) != string(task.Payload) {
		t.Errorf("got %s %q, want %s %q", got.Header(), got.Payload, want.Header(), task.Payload)
	}
}

func TestLetterOfANewerVersionWaitsForTheUpgrade(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	task := wire.Task{ID: stream.NewID(), Function: "f", Attempt: 1, Payload: []byte("x")}
	fields := append(task.Fields(), "reason", wire.ReasonNewer, "error", "upgrade")
	fields[0] = "v2"
	id, err := b.client.XAdd(t.Context(), &redis.XAddArgs{Stream: b.keys.Dead(), Values: fields}).Result()
	b.ok(err)
	if got := b.list(); len(got) != 1 || !strings.Contains(got[0].Raw, task.ID) {
		t.Errorf("got %+v, want its fields as Raw", got)
	}
	n, err := reclaim.Replay(t.Context(), b.store, queue, id)
	if n != 0 || !errors.Is(err, reclaim.ErrNotReplayable) || !errors.Is(err, wire.ErrNewer) || len(b.list()) != 1 {
		t.Errorf("replay: got %d, %v, %d letters left", n, err, len(b.list()))
	}
}

func TestReplayGoesOnPastWhatCannotBeReplayed(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	good := b.buryMany(2)
	malformed, err := b.client.XAdd(t.Context(), &redis.XAddArgs{
		Stream: b.keys.Dead(), Values: []string{"raw", `"a" "b"`, "reason", "malformed"},
	}).Result()
	b.ok(err)
	n, err := reclaim.Replay(t.Context(), b.store, queue, good[0], malformed, "1-1", "-", "all", good[1])
	if n != 2 {
		t.Errorf("replayed %d, want 2", n)
	}
	if !errors.Is(err, reclaim.ErrNotReplayable) || !errors.Is(err, reclaim.ErrNoLetter) {
		t.Fatalf("got %v", err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], malformed) || !strings.Contains(lines[0], "malformed") {
		t.Errorf("got %d lines, want one for each:\n%v", len(lines), err)
	}
	if left := letterIDs(b.list()); !slices.Equal(left, []string{malformed}) {
		t.Errorf("left: %v, want %v", left, malformed)
	}
	if again, err := reclaim.Replay(t.Context(), b.store, queue, good...); again != 0 || !errors.Is(err, reclaim.ErrNoLetter) {
		t.Errorf("again: got %d, %v, want none", again, err)
	}
}

func TestInterruptedReplayLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	b := newBench(t, proxy.Client(t))
	want := b.buryMany(60)
	lost := 0
	proxy.CutAfterRequest(func(request []byte) bool {
		if !bytes.Contains(bytes.ToUpper(request), []byte("EVAL")) {
			return false
		}
		lost++
		return lost%3 == 0
	})
	for len(b.list()) > 0 {
		if _, err := reclaim.Replay(t.Context(), b.store, queue, letterIDs(b.list())...); err != nil {
			t.Logf("interrupted: %v", err)
		}
	}
	if got := b.client.XLen(t.Context(), b.keys.Tasks()).Val(); got != int64(len(want)) {
		t.Errorf("%d tasks, want %d (replies lost: %d)", got, len(want), proxy.Dropped())
	}
	if proxy.Dropped() < 10 {
		t.Errorf("only %d replies were lost", proxy.Dropped())
	}
}

func TestPurgeRemovesForGood(t *testing.T) {
	t.Parallel()
	b := localBench(t)
	all := b.buryMany(600)
	n, err := reclaim.Purge(t.Context(), b.store, queue, append(all[1:], "1-1")...)
	if n != 599 || err != nil {
		t.Fatalf("got %d, %v, want 599", n, err)
	}
	if left := letterIDs(b.list()); !slices.Equal(left, all[:1]) {
		t.Errorf("left: %v, want %v", left, all[:1])
	}
	if _, err := reclaim.Purge(t.Context(), b.store, queue, "all"); err == nil {
		t.Error("no ID: got no error")
	}
	if _, err := reclaim.Purge(t.Context(), b.store, "no{good", all[0]); err == nil {
		t.Error("no queue: got no error")
	}
}
