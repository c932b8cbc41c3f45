package inspect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// three kinds of failures, one letter of each in turn.
func three(n int) (function, reason, failure string) {
	switch n % 3 {
	case 0:
		return "f", "failed", fmt.Sprintf("dial tcp 10.0.%d.7:%d: connect: connection refused", n%200, 1000+n)
	case 1:
		return "f", "dropped", fmt.Sprintf("user %s: not found", stream.NewID())
	default:
		return "g", "failed", fmt.Sprintf(`get "https://example.com/%d": timeout`, n)
	}
}

func TestLettersComeInPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	empty := must(r.Letters(t.Context(), queue, inspect.LetterFilter{}))(t)
	if len(empty.Letters) != 0 || empty.Next != "" || empty.Total != (inspect.Count{Exact: true}) {
		t.Errorf("without any: got %+v", empty)
	}
	r.bury(700, three)
	for name, c := range map[string]struct {
		filter inspect.LetterFilter
		want   int
	}{
		"all":                    {inspect.LetterFilter{}, 700},
		"small pages":            {inspect.LetterFilter{Limit: 7}, 700},
		"pages that end even":    {inspect.LetterFilter{Limit: 100}, 700},
		"by reason":              {inspect.LetterFilter{Reason: "failed", Limit: 200}, 467},
		"by function":            {inspect.LetterFilter{Function: "g"}, 233},
		"by both":                {inspect.LetterFilter{Function: "f", Reason: "failed"}, 234},
		"of a group":             {inspect.LetterFilter{Group: r.group("not found")}, 233},
		"of a group and another": {inspect.LetterFilter{Group: r.group("not found"), Function: "g"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, last, pages := 0, "", 0
			for filter := c.filter; pages == 0 || filter.After != ""; pages++ {
				page := must(r.Letters(t.Context(), queue, filter))(t)
				if most := max(filter.Limit, 50*btoi(filter.Limit == 0)); len(page.Letters) > most || page.Total.N != 700 {
					t.Fatalf("%d letters, total %v", len(page.Letters), page.Total)
				}
				if page.Next != "" && len(page.Letters) == 0 && c.want > 0 {
					t.Errorf("an empty page that is not the last one")
				}
				for _, letter := range page.Letters {
					if last != "" && letter.Time.After(timeOfID(last)) {
						t.Fatalf("%s comes after %s: want the newest first", letter.ID, last)
					}
					if !strings.HasPrefix(string(letter.Payload), "payload ") || letter.Size != len(letter.Payload) || letter.TaskID == "" || letter.Attempt != 3 {
						t.Fatalf("got %+v", letter)
					}
					found, last = found+1, letter.ID
				}
				filter.After = page.Next
			}
			if found != c.want {
				t.Errorf("found %d in %d pages, want %d", found, pages, c.want)
			}
		})
	}
}

// group is the ID of the group whose error has a text.
func (r *rig) group(text string) string {
	r.t.Helper()
	groups, _, err := r.LetterGroups(r.t.Context(), queue)
	ok(r.t, err)
	for _, g := range groups {
		if strings.Contains(g.Error, text) {
			return g.ID
		}
	}
	r.t.Fatalf("no group has %q: %+v", text, groups)
	return ""
}

func TestLettersOfAnyKindAreListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	large := wire.Task{ID: stream.NewID(), Function: "f", Attempt: 1, Payload: []byte(strings.Repeat("x", 1<<20))}
	for range 70 { // 70 MB, which no page may hold at once
		ok(t, r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Dead(), Values: append(large.Fields(), "reason", "failed", "error", "too large")}).Err())
	}
	ok(t, r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Dead(), Values: []string{"raw", `"by" "hand"`, "reason", "malformed", "error", "no task"}}).Err())
	ok(t, r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Dead(), Values: []string{"v9", "01 x", "reason", "newer version", "error", "v9"}}).Err())
	page := must(r.Letters(t.Context(), queue, inspect.LetterFilter{Limit: 3}))(t)
	newer, malformed, cut := page.Letters[0], page.Letters[1], page.Letters[2]
	if newer.Raw == "" || malformed.Raw != `"by" "hand"` || newer.Function+malformed.Function != "" {
		t.Errorf("got %+v and %+v", newer, malformed)
	}
	if len(cut.Payload) != 4096 || cut.Size != 1<<20 {
		t.Errorf("got %d bytes of %d, want 4096 of a megabyte", len(cut.Payload), cut.Size)
	}
	whole := must(r.Letter(t.Context(), queue, cut.ID))(t)
	if len(whole.Payload) != 1<<20 {
		t.Errorf("the letter itself has %d bytes", len(whole.Payload))
	}
	groups, seen, err := r.LetterGroups(t.Context(), queue)
	if err != nil || len(groups) != 3 || groups[0].N != 70 || seen != (inspect.Count{N: 72, Exact: true}) {
		t.Errorf("got %+v, %v, %v", groups, seen, err)
	}
	if _, err := r.Letter(t.Context(), queue, "1-1"); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("one that is not there: got %v", err)
	}
}

func TestLetterFiltersAreChecked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, c := range map[string]struct {
		queue  string
		filter inspect.LetterFilter
		want   string
	}{
		"queue":    {"a}b", inspect.LetterFilter{}, "queue name"},
		"function": {"q", inspect.LetterFilter{Function: "a b"}, "function name"},
		"group":    {"q", inspect.LetterFilter{Group: "xyz"}, "16 hex digits"},
		"after":    {"q", inspect.LetterFilter{After: "-"}, "two numbers and a dash"},
		"limit":    {"q", inspect.LetterFilter{Limit: 201}, "limit 201"},
	} {
		if _, err := r.Letters(t.Context(), c.queue, c.filter); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
	}
}

func TestErrorsThatAreAlikeAreOneGroup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b string
		same bool
	}{
		"numbers":               {"row 17 of 20", "row 3 of 4", true},
		"durations":             {"gave up after 1.5s", "gave up after 12m30.2s", true},
		"hex and pointers":      {"at 0xc0001234: fault", "at 0x1: fault", true},
		"hex without digits":    {"commit deadbeef is gone", "commit 0123abcd is gone", true},
		"ULIDs":                 {"task 01JD4Z6T4Q8W2V5K9X3Y7B1C0D", "task 01BX5ZZKBKACTAV9WEVGEMMVRZ", true},
		"UUIDs":                 {"id 550e8400-e29b-41d4-a716-446655440000", "id deadbeef-cafe-4bad-face-feedfacebeef", true},
		"addresses":             {"dial tcp 10.0.0.1:80: refused", "dial tcp 192.168.7.8:6379: refused", true},
		"addresses of both":     {"dial tcp 10.0.0.1:80: refused", "dial tcp [2001:db8::ff]:80: refused", false},
		"addresses of IPv6":     {"dial tcp [fe80::dead:beef]:80: refused", "dial tcp [2001:db8::ff]:443: refused", true},
		"mail":                  {"no user bob@example.com", "no user alice.w+x@example.org", true},
		"URLs":                  {"get https://a.example/x?y=1: EOF", "get http://b.example/: EOF", true},
		"names that are sought": {"lookup a.example: no such host", "lookup b.example: no such host", true},
		"quoted text":           {`open "a.txt": denied`, `open "/b c/d": denied`, true},
		"text in apostrophes":   {"can't open 'a b'", "can't open 'c'", true},
		"only the first line":   {"panic: boom\ngoroutine 1", "panic: boom\nother", true},
		"other words":           {"connection refused", "connection reset", false},
		"words beside quotes":   {`read "a": denied`, `open "a": denied`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.bury(2, func(n int) (string, string, string) { return "f", "failed", []string{c.a, c.b}[n] })
			groups, seen, err := r.LetterGroups(t.Context(), queue)
			ok(t, err)
			if (len(groups) == 1) != c.same || seen.N != 2 {
				t.Errorf("%q and %q: got %d groups, same is %v", c.a, c.b, len(groups), c.same)
			}
		})
	}
}

func TestTenThousandLettersAreGroupedWithFewCommands(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.bury(10_000, three)
	var groups []inspect.LetterGroup
	var seen inspect.Count
	_, _, err := r.LetterGroups(t.Context(), queue) // loads the script
	ok(t, err)
	began := time.Now()
	n := r.commands(func() { groups, seen, err = r.LetterGroups(t.Context(), queue) })
	took := time.Since(began)
	ok(t, err)
	t.Logf("10,000 letters: %d commands, %v", n, took)
	if n > 50 || len(groups) != 3 || seen != (inspect.Count{N: 10_000, Exact: true}) {
		t.Errorf("got %d groups of %v with %d commands, want 3 of 10,000 with at most 50", len(groups), seen, n)
	}
	for i, want := range []int64{3334, 3333, 3333} {
		g := groups[i]
		if g.N != want || g.Example == "" || g.First.After(g.Last) || g.First.IsZero() {
			t.Errorf("got %+v, want %d letters", g, want)
		}
	}
	if most := 2 * time.Second; took > most {
		t.Errorf("took %v, at most %v even on a busy machine", took, most)
	}
	n = r.commands(func() {
		page := must(r.Letters(t.Context(), queue, inspect.LetterFilter{Group: groups[0].ID}))(t)
		if len(page.Letters) != 50 || page.Next == "" {
			t.Errorf("got %d letters, next %q", len(page.Letters), page.Next)
		}
	})
	if n > 20 {
		t.Errorf("a page of a group took %d commands", n)
	}
}

func TestReplayByGroupEndsAtWhatWasThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.bury(300, three)
	ok(t, r.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: r.keys.Dead(), Values: []string{"raw", "x", "reason", "malformed", "error", "no task"}}).Err())
	var ran atomic.Int64
	r.start(group.Config{MaxAttempts: 1}, func(context.Context, group.Task) ([]byte, error) { // each fails again at once
		ran.Add(1)
		return nil, errors.New("user 5: not found")
	})
	var last int
	more := sync.OnceFunc(func() { r.bury(3, three) }) // meanwhile
	n := must(r.Replay(t.Context(), queue, inspect.LetterFilter{Group: r.group("not found")}, func(n int) { more(); last = n }))(t)
	if n != 100 || last != 100 {
		t.Errorf("replayed %d, told %d, want 100", n, last)
	}
	redistest.Eventually(t, longer, func() bool { return ran.Load() == 100 && r.redis.XLen(t.Context(), r.keys.Dead()).Val() == 304 },
		"all ran once, and failed again")

	n = must(r.Replay(t.Context(), queue, inspect.LetterFilter{Reason: "malformed"}, nil))(t)
	if n != 0 {
		t.Errorf("replayed %d letters without a task", n)
	}
	n = must(r.PurgeLetters(t.Context(), queue, inspect.LetterFilter{Function: "g"}, func(n int) { last = n }))(t)
	if n != 101 || last != 101 || r.redis.XLen(t.Context(), r.keys.Dead()).Val() != 203 {
		t.Errorf("purged %d, told %d, want 101", n, last)
	}
}

// TestReplayThatIsCutOffGoesOn loses the answer of a replay now and then, and ends its context: called again it finds the rest.
func TestReplayThatIsCutOffGoesOn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	r := rigOn(t, server, proxy.Client(t))
	const all = 400
	r.bury(all, func(int) (string, string, string) { return "f", "failed", "boom" })
	told, calls := 0, 0
	for ; calls < 100 && r.redis.XLen(t.Context(), r.keys.Dead()).Val() > 0; calls++ {
		ctx, cancel := context.WithCancel(t.Context())
		replays := 0
		proxy.CutAfterRequest(func(request []byte) bool {
			if calls%2 == 0 && bytes.Contains(request, []byte(":tasks\r")) {
				replays++
			}
			return replays == 1+calls*7%20
		})
		n, err := r.Replay(ctx, queue, inspect.LetterFilter{}, func(n int) {
			if n >= 30 {
				cancel()
			}
		})
		cancel()
		if err == nil && r.redis.XLen(t.Context(), r.keys.Dead()).Val() > 0 {
			t.Errorf("no error, though letters are left")
		}
		told += n
	}
	tasks := must(r.redis.XRange(t.Context(), r.keys.Tasks(), "-", "+").Result())(t)
	seen := map[string]int{}
	for _, entry := range tasks {
		task := must(wire.Decode([]string{"v1", fmt.Sprint(entry.Values["v1"])}))(t)
		seen[string(task.Payload)]++
		if task.Attempt != 1 {
			t.Errorf("attempt %d, want the first", task.Attempt)
		}
	}
	if len(tasks) != all || len(seen) != all {
		t.Errorf("%d entries of %d tasks, want %d of each: %d calls", len(tasks), len(seen), all, calls)
	}
	if calls < 3 || proxy.Dropped() == 0 {
		t.Errorf("%d calls, %d answers lost: nothing was cut off", calls, proxy.Dropped())
	}
	if told > all {
		t.Errorf("%d were told to be back, of %d", told, all)
	}
}

// TestTwoReplaysAtOnceDoubleNothing: each letter is a task once, and counted by one of them.
func TestTwoReplaysAtOnceDoubleNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const all = 500
	r.bury(all, three)
	replayed := make(chan int, 2)
	for range 2 {
		go func() {
			n, err := r.Replay(t.Context(), queue, inspect.LetterFilter{}, nil)
			if err != nil {
				t.Error(err)
			}
			replayed <- n
		}()
	}
	n := receive(t, replayed) + receive(t, replayed)
	if tasks := r.redis.XLen(t.Context(), r.keys.Tasks()).Val(); tasks != all || n != all {
		t.Errorf("%d tasks, %d told, want %d", tasks, n, all)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// timeOfID reads the time from the ID of an entry.
func timeOfID(id string) time.Time {
	var ms, n int64
	_, _ = fmt.Sscanf(id, "%d-%d", &ms, &n)
	return time.UnixMilli(ms)
}
