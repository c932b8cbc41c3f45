package script_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// read is what one XREADGROUP delivered.
type read struct {
	number  uint64
	entries []string
}

// neighbours is a commit of some of what a read delivered.
func (q *queue) neighbours(r read, places ...int) script.CommitBatch {
	b := script.CommitBatch{Keys: q.keys, Group: group, Worker: "me", Counter: "done"}
	for _, place := range places {
		b.Items = append(b.Items, script.CommitItem{
			Entry: r.entries[place], Read: r.number, Place: place, TaskID: id(place), Reply: replyID, Outcome: result("x"),
		})
	}
	return b
}

func places(from, to int) []int {
	all := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

// left is the IDs of all that lies in the queue.
func (q *queue) left(t testing.TB) []string {
	t.Helper()
	entries, err := q.rdb.XRange(t.Context(), q.keys.Tasks(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	return ids
}

// trims is how often the server was asked to trim a stream.
func (q *queue) trims(t testing.TB) int {
	t.Helper()
	_, rest, _ := strings.Cut(q.rdb.Info(t.Context(), "commandstats").Val(), "cmdstat_xtrim:calls=")
	calls, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.Atoi(calls)
	return n
}

// TestNeighboursAreRemovedAndNothingElse commits neighbours of one read after something has happened to the stream. Whatever that is, only
// what is committed goes, and each task has one outcome.
func TestNeighboursAreRemovedAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before func(t *testing.T, q *queue, entries []string)
		places []int // of 20 entries, delivered by one read; 5 more are stored behind them
		trims  bool
	}{
		"nothing happened":             {func(*testing.T, *queue, []string) {}, places(0, 20), true},
		"the end still runs":           {func(*testing.T, *queue, []string) {}, places(0, 15), true},
		"the first one still runs":     {func(*testing.T, *queue, []string) {}, places(1, 20), false},
		"one in the middle still runs": {func(*testing.T, *queue, []string) {}, append(places(0, 9), places(10, 20)...), true},
		"every other one":              {func(*testing.T, *queue, []string) {}, []int{0, 2, 4, 6, 8, 10}, false},
		"only three":                   {func(*testing.T, *queue, []string) {}, places(0, 3), false},
		"not in order":                 {func(*testing.T, *queue, []string) {}, []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, false},
		"others have the first": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xclaim", q.keys.Tasks(), group, "other", 0, entries[0], entries[1])
		}, places(2, 20), false},
		"the first are orphans of a consumer that an operator deleted": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xclaim", q.keys.Tasks(), group, "other", 0, entries[0], entries[1])
			q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "other")
		}, places(2, 20), false},
		"an orphan in the middle": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xclaim", q.keys.Tasks(), group, "other", 0, entries[9])
			q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "other")
		}, append(places(0, 9), places(10, 20)...), true},
		"all are orphans": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "delconsumer", q.keys.Tasks(), group, "me")
		}, places(0, 20), false},
		"an operator deleted the first by hand": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xdel", q.keys.Tasks(), entries[0])
		}, places(0, 20), true},
		"an operator deleted the last by hand": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xdel", q.keys.Tasks(), entries[19])
		}, places(0, 20), true},
		"an operator trimmed half": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "xtrim", q.keys.Tasks(), "minid", entries[10])
		}, places(0, 20), true},
		"the group was made anew, and all of it waits": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "destroy", q.keys.Tasks(), group)
			q.do(t, "xgroup", "create", q.keys.Tasks(), group, "0")
		}, places(0, 20), false},
		"the group was made anew, and others run some of it": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "destroy", q.keys.Tasks(), group)
			q.do(t, "xgroup", "create", q.keys.Tasks(), group, "0")
			q.deliver(t, "other", 10)
		}, places(5, 20), false},
		"the group was made anew, and others run all of it": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "destroy", q.keys.Tasks(), group)
			q.do(t, "xgroup", "create", q.keys.Tasks(), group, "0")
			q.deliver(t, "other", 25)
		}, places(0, 20), true},
		"the group was set back, and others run all of it": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "setid", q.keys.Tasks(), group, "0")
			q.deliver(t, "other", 25)
		}, places(3, 20), false},
		"the group was set to the end": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "xgroup", "setid", q.keys.Tasks(), group, "$")
		}, places(0, 20), true},
		"the stream was deleted, and filled again": {func(t *testing.T, q *queue, entries []string) {
			t.Helper()
			q.do(t, "del", q.keys.Tasks())
			ms, _, _ := strings.Cut(entries[0], "-")
			for i := range 4 { // by a clock that went back
				q.do(t, "xadd", q.keys.Tasks(), ms+"-"+strconv.Itoa(i), "v", "1")
			}
			q.do(t, "xgroup", "create", q.keys.Tasks(), group, "0")
			q.deliver(t, "me", 1)
		}, places(4, 20), false},
		"a zombie comes back": {func(t *testing.T, q *queue, _ []string) {
			t.Helper()
			q.do(t, "set", q.keys.Lease("me"), "0.0 host")
		}, places(0, 20), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			q.openReply(t)
			r := read{number: 1, entries: q.running(t, "me", 20)}
			q.store(t, task(20), task(21), task(22), task(23), task(24))
			b := q.neighbours(r, c.places...)
			b.Fence = q.fence(t, "me")
			c.before(t, q, r.entries)
			trims := q.trims(t)
			want := slices.DeleteFunc(q.left(t), func(entry string) bool {
				return slices.ContainsFunc(b.Items, func(item script.CommitItem) bool { return item.Entry == entry })
			})
			late, err := q.Commit(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			if got := q.left(t); !slices.Equal(got, want) {
				t.Errorf("left: got %v, want %v", got, want)
			}
			if got := q.trims(t) - trims; got > 0 != c.trims {
				t.Errorf("trimmed %d times, want it: %t", got, c.trims)
			}
			if again, err := q.Commit(t.Context(), b); err != nil || len(again) != len(b.Items) {
				t.Errorf("commit again: late %v, %v, want all", again, err)
			}
			texts, _ := q.replies(t)
			slices.Sort(texts)
			if len(texts) != len(b.Items)-len(late) || len(slices.Compact(texts)) != len(b.Items)-len(late) {
				t.Errorf("outcomes: got %d, want one of each of %d", len(texts), len(b.Items)-len(late))
			}
		})
	}
}

// TestOnlyWhatOneReadDeliveredAreNeighbours commits the start of one read and the end of another; what lies between is with others.
func TestOnlyWhatOneReadDeliveredAreNeighbours(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	first := read{number: 1, entries: q.running(t, "me", 5)}
	others := q.running(t, "other", 5)
	second := read{number: 2, entries: q.running(t, "me", 10)}
	b := q.neighbours(first, places(0, 5)...)
	b.Items = append(b.Items, q.neighbours(second, places(5, 10)...).Items...)
	b.Fence = q.fence(t, "me")
	q.mustCommit(t, b)
	if got, want := q.left(t), append(others, second.entries[:5]...); !slices.Equal(got, want) {
		t.Errorf("left: got %v, want %v", got, want)
	}
}

// TestWithoutTheRightToTrimEntriesAreDeleted is for users whose rights were granted before commits trimmed.
func TestWithoutTheRightToTrimEntriesAreDeleted(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	r := read{number: 1, entries: q.running(t, "me", 20)}
	b := q.neighbours(r, places(0, 20)...)
	b.Fence = q.fence(t, "me")
	q.do(t, "acl", "setuser", "default", "-xtrim")
	q.mustCommit(t, b)
	q.wantStored(t, 0)
}

// twin is one of two streams to which the same happens; only one is told what was delivered by one read.
type twin struct {
	*queue
	keys  wire.Keys
	tells bool
}

// history is what happens to twins.
type history struct {
	t      *testing.T
	rand   *rand.Rand
	twins  []*twin
	reads  uint64
	last   int64
	trims  int                            // by hand
	inHand map[string][]script.CommitItem // by consumer
	fences map[string][]string            // of each twin
}

// TestRandomHistoriesLeaveTheSameWithAndWithoutNeighbours does the same at random to two streams: several consumers, commits in any order,
// an operator with a heavy hand. What is left and what is pending must be the same after each step.
func TestRandomHistoriesLeaveTheSameWithAndWithoutNeighbours(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, seed)
			for step := range 300 {
				what := h.step()
				if got, want := h.twins[0].look(t), h.twins[1].look(t); got != want {
					t.Fatalf("after step %d, %s:\nwith neighbours %s\nwithout         %s", step, what, got, want)
				}
			}
			if all := h.twins[0].trims(t); all-h.trims < 10 {
				t.Errorf("commits trimmed %d times: these histories hold nothing", all-h.trims)
			}
		})
	}
}

func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	h := &history{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), inHand: map[string][]script.CommitItem{}, fences: map[string][]string{}, //nolint:gosec // a test
	}
	q := newQueue(t)
	for i, name := range []string{"tells", "keeps silent"} {
		h.twins = append(h.twins, &twin{queue: q, keys: wire.NewKeys("wm", fmt.Sprint("q", i)), tells: name == "tells"})
		q.do(t, "xgroup", "create", h.twins[i].keys.Tasks(), group, "0", "mkstream")
	}
	for _, consumer := range []string{"a", "b", "c"} {
		for _, w := range h.twins {
			leases, err := w.Heartbeat(t.Context(), []wire.Keys{w.keys}, consumer, time.Hour, "host")
			if err != nil {
				t.Fatal(err)
			}
			h.fences[consumer] = append(h.fences[consumer], leases[0].Fence)
		}
	}
	return h
}

// look is all that matters about a twin.
func (w *twin) look(t *testing.T) string {
	t.Helper()
	entries, err := w.rdb.XRange(t.Context(), w.keys.Tasks(), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.ID + " ")
	}
	pending, err := w.rdb.XPendingExt(t.Context(), &redis.XPendingExtArgs{
		Stream: w.keys.Tasks(), Group: group, Start: "-", End: "+", Count: 10_000,
	}).Result()
	if err != nil && !strings.Contains(err.Error(), "NOGROUP") {
		t.Fatal(err)
	}
	for _, row := range pending {
		b.WriteString(row.ID + "=" + row.Consumer + " ")
	}
	return b.String()
}

// all does a command to both twins.
func (h *history) all(args ...any) {
	for _, w := range h.twins {
		own := slices.Clone(args)
		for i := range own {
			if own[i] == "KEY" {
				own[i] = w.keys.Tasks()
			}
		}
		_ = w.rdb.Do(h.t.Context(), own...).Err() // what an operator does may fail; it fails for both
	}
}

// step is one step; it tells what it did.
func (h *history) step() string {
	consumer := string(rune('a' + h.rand.IntN(3)))
	switch n := h.rand.IntN(100); {
	case n < 25:
		for range 1 + h.rand.IntN(20) {
			h.last += 1 + h.rand.Int64N(3)
			h.all("xadd", "KEY", fmt.Sprintf("%d-%d", h.last/5, h.last%5+1), "v", "1")
		}
		return "add"
	case n < 50:
		h.read(consumer, 1+h.rand.IntN(40))
		return "read by " + consumer
	case n < 95:
		return "commit by " + consumer + h.commit(consumer)
	default:
		return h.byHand(consumer)
	}
}

func (h *history) read(consumer string, count int) {
	h.reads++
	for i, w := range h.twins {
		streams, _ := w.rdb.XReadGroup(h.t.Context(), &redis.XReadGroupArgs{
			Group: group, Consumer: consumer, Streams: []string{w.keys.Tasks(), ">"}, Count: int64(count), Block: -1,
		}).Result()
		if i > 0 || len(streams) == 0 {
			continue
		}
		for place, m := range streams[0].Messages {
			h.inHand[consumer] = append(h.inHand[consumer], script.CommitItem{Entry: m.ID, Read: h.reads, Place: place, TaskID: id(0)})
		}
	}
}

// commit records some of what a consumer has, most of the time in the order in which it came.
func (h *history) commit(consumer string) string {
	var chosen, rest []script.CommitItem
	keep := max(0, h.rand.IntN(12)-8)
	for _, item := range h.inHand[consumer] {
		if h.rand.IntN(20) < keep {
			rest = append(rest, item)
		} else {
			chosen = append(chosen, item)
		}
	}
	h.inHand[consumer] = rest
	if h.rand.IntN(8) == 0 {
		h.rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	}
	if len(chosen) == 0 {
		return ", of nothing"
	}
	var lates [2][]int
	for i, w := range h.twins {
		b := script.CommitBatch{Keys: w.keys, Group: group, Worker: consumer, Fence: h.fences[consumer][i], Counter: "done", Items: slices.Clone(chosen)}
		for i := range b.Items {
			if !w.tells {
				b.Items[i].Read = 0
			}
		}
		late, err := w.Commit(h.t.Context(), b)
		if err != nil {
			h.t.Fatal(err)
		}
		lates[i] = late
	}
	if !slices.Equal(lates[0], lates[1]) {
		h.t.Fatalf("late: %v with neighbours, %v without", lates[0], lates[1])
	}
	return fmt.Sprint(" of ", len(chosen))
}

// byHand is what an operator does.
func (h *history) byHand(consumer string) string {
	some := "0-1"
	if held := h.inHand[consumer]; len(held) > 0 {
		some = held[h.rand.IntN(len(held))].Entry
	}
	for _, w := range h.twins[:1] {
		if entries := w.rdb.XRange(h.t.Context(), w.keys.Tasks(), "-", "+").Val(); len(entries) > 0 && h.rand.IntN(2) == 0 {
			some = entries[h.rand.IntN(len(entries))].ID
		}
	}
	command := [][]any{
		{"xdel", "KEY", some},
		{"xtrim", "KEY", "minid", some},
		{"xgroup", "delconsumer", "KEY", group, consumer},
		{"xgroup", "setid", "KEY", group, some},
		{"xgroup", "destroy", "KEY", group},
		{"xclaim", "KEY", group, "c", "0", some},
		{"xclaim", "KEY", group, "b", "0", some, "force"},
		{"xgroup", "destroy", "KEY", group}, // also what ends orphans
	}[h.rand.IntN(8)]
	h.all(command...)
	if command[0] == "xtrim" {
		h.trims += len(h.twins)
	}
	if command[1] == "destroy" {
		h.all("xgroup", "create", "KEY", group, "0")
	}
	return fmt.Sprint(command...)
}
