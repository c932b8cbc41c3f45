package script_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

const chunkID = "01ARZ3NDEKTSV4RRFFQ69G0000"

// scatter is a last step of a chunk of four at an entry: a result, a retry, a dead letter, and one for others to run.
func (q *queue) scatter(entry string) script.ScatterBatch {
	item := func(i int) wire.Task {
		return wire.Task{ID: wire.ItemID(chunkID, i), Function: "f", Attempt: 1, Reply: replyID, Payload: []byte("x")}
	}
	dead := item(2)
	return script.ScatterBatch{Keys: q.keys, Group: group, Consumer: "me", Chunks: []script.ScatterChunk{{
		Entry: entry, ID: chunkID, Reply: replyID, Own: true, Outcome: []byte("=4 1 m\n+\x01r~\x00-\x02{}~\x00"),
		Totals: []script.Total{{Name: "done", N: 1}, {Name: "retried", N: 1}, {Name: "dead", N: 1}, {Name: "handed over", N: 1}},
		Steps:  []script.ScatterStep{script.DueStep(item(1), time.Hour), script.DeadStep(dead.ID, dead.Fields()), script.TaskStep(item(3))},
	}}}
}

// notAll makes an error of chunks that were not recorded.
func notAll(answers []script.Scattered, err error) error {
	for _, answer := range answers {
		if !answer.Done && err == nil {
			err = errors.New("refused, kept is " + answer.Kept)
		}
	}
	return err
}

func TestScatterDoesAllInOneStep(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.openReply(t)
	entries := q.running(t, "me", 2)
	q.do(t, "hset", q.keys.Crashes(), entries[0], "1")
	b := q.scatter(entries[0])
	results := script.ScatterChunk{
		Entry: entries[1], ID: "01ARZ3NDEKTSV4RRFFQ69G2000", Reply: replyID, Outcome: []byte("=1 1\n\x01s"), Totals: []script.Total{{Name: "done", N: 1}},
	}
	b.Chunks = append(b.Chunks, results)
	if err := notAll(q.Scatter(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
	q.wantStored(t, 1) // the item for others
	if n := q.rdb.Exists(t.Context(), q.keys.Crashes(), q.keys.Chunks()).Val(); n != 0 {
		t.Error("notes are left")
	}
	id := func(i int) string { return wire.ItemID(chunkID, i) }
	if q.rdb.ZCard(t.Context(), q.keys.Due()).Val() != 1 || !strings.HasPrefix(q.rdb.HGet(t.Context(), q.keys.Body(), id(1)).Val(), "v1 "+id(1)) {
		t.Error("the retry is not due")
	}
	if letters := q.rdb.XRange(t.Context(), q.keys.Dead(), "-", "+").Val(); len(letters) != 1 || !strings.HasPrefix(letters[0].Values["v1"].(string), id(2)) {
		t.Errorf("dead letters: %v", letters)
	}
	totals := q.rdb.HGetAll(t.Context(), q.keys.Counts()).Val()
	if totals["done"] != "2" || totals["retried"] != "1" || totals["dead"] != "1" || totals["handed over"] != "1" {
		t.Errorf("totals: %v", totals)
	}
	fields := q.do(t, "xrange", q.keys.Reply(replyID), "-", "+").([]any)
	var told []string
	for _, entry := range fields {
		for _, field := range entry.([]any)[1].([]any) {
			told = append(told, field.(string))
		}
	}
	moved := q.rdb.XRange(t.Context(), q.keys.Tasks(), "-", "+").Val()[0].ID
	want := []string{chunkID, string(b.Chunks[0].Outcome), id(1), "~due", id(3), "~" + moved, results.ID, string(results.Outcome)}
	if !slices.Equal(told[len(told)-len(want):], want) {
		t.Errorf("told %q, want %q", told, want)
	}
	before := q.dump(t)
	answers, err := q.Scatter(t.Context(), b)
	if err != nil || answers[0] != (script.Scattered{}) || answers[1] != (script.Scattered{}) || q.dump(t) != before {
		t.Errorf("again: %+v, %v", answers, err)
	}
}

// TestScatterMakesNoTaskForASessionThatIsClosed is a caller that has cancelled what it knew of: nobody could cancel what comes after.
func TestScatterMakesNoTaskForASessionThatIsClosed(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.openReply(t)
	entries := q.running(t, "me", 1)
	if _, err := q.Cancel(t.Context(), q.keys, "workers", []script.TaskRef{{ID: replyID}}); err != nil {
		t.Fatal(err)
	}
	if err := notAll(q.Scatter(t.Context(), q.scatter(entries[0]))); err != nil {
		t.Fatal(err)
	}
	q.wantStored(t, 0)
	if n := q.rdb.Exists(t.Context(), q.keys.Due(), q.keys.Body()).Val(); n != 0 {
		t.Error("a retry is due")
	}
	totals := q.rdb.HGetAll(t.Context(), q.keys.Counts()).Val()
	if totals["cancelled"] != "2" || totals["dead"] != "1" || q.rdb.XLen(t.Context(), q.keys.Dead()).Val() != 1 {
		t.Errorf("totals: %v, want 2 cancelled, and the dead letter", totals)
	}
}

func TestScatterKeepsANoteOfAChunkThatRuns(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.openReply(t)
	entry := q.running(t, "me", 1)[0]
	step := func(edit func(*script.ScatterChunk)) script.Scattered {
		t.Helper()
		b := script.ScatterBatch{Keys: q.keys, Group: group, Consumer: "me", Chunks: []script.ScatterChunk{{
			Entry: entry, ID: chunkID, Reply: replyID, Outcome: []byte("=4 1 m\n+\x01r.\x00.\x00.\x00"), Totals: []script.Total{{Name: "done", N: 1}},
		}}}
		edit(&b.Chunks[0])
		answers, err := q.Scatter(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		return answers[0]
	}
	first := func(c *script.ScatterChunk) { c.Own, c.Settled = true, "0" }
	stranger := func(c *script.ScatterChunk) { c.Own, c.Known, c.Settled = true, "0", "0-1" }
	for _, s := range []struct {
		name string
		edit func(*script.ScatterChunk)
		want script.Scattered
	}{
		{"the first step", first, script.Scattered{Done: true}},
		{"the same again", first, script.Scattered{Done: true}},
		{"the end by one that knows nothing", func(*script.ScatterChunk) {}, script.Scattered{Kept: "0"}},
		{"another step by one that knows nothing", func(c *script.ScatterChunk) { c.Own, c.Settled = true, "1" }, script.Scattered{Kept: "0"}},
	} {
		if got := step(s.edit); got != s.want {
			t.Errorf("%s: got %+v, want %+v", s.name, got, s.want)
		}
	}
	if n := q.rdb.XLen(t.Context(), q.keys.Reply(replyID)).Val(); n != 1 {
		t.Errorf("%d reply entries", n)
	}
	q.do(t, "xclaim", q.keys.Tasks(), group, "you", 0, entry)
	if got := step(stranger); got != (script.Scattered{}) {
		t.Errorf("a step of one that has lost the entry: %+v", got)
	}
	if got := step(func(c *script.ScatterChunk) { c.Own, c.Known = true, "0" }); got != (script.Scattered{}) {
		t.Errorf("the end with a failure by one that has lost the entry: %+v", got)
	}
	if got := step(func(c *script.ScatterChunk) { c.Known = "0" }); !got.Done {
		t.Errorf("the end with results by one that has lost the entry: %+v", got)
	}
	if n := q.rdb.Exists(t.Context(), q.keys.Chunks()).Val(); n != 0 {
		t.Error("the note is left")
	}
	q.wantStored(t, 0)
}
