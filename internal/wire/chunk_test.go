package wire_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

func TestItemsOfAChunkHaveIDsOfTheirOwn(t *testing.T) {
	t.Parallel()
	ids := wire.ItemIDs(chunkID, wire.MaxItems)
	before := chunkID
	for i := range wire.MaxItems {
		id := wire.IDAt(ids, i)
		if id != wire.ItemID(chunkID, i) || id <= before {
			t.Fatalf("item %d has the ID %s, by itself %s, after %s", i, id, wire.ItemID(chunkID, i), before)
		}
		before = id
		if chunk, item, ok := wire.ItemOf(id); !ok || chunk != chunkID || item != i {
			t.Fatalf("%s is item %d of %s", id, item, chunk)
		}
	}
	if _, _, ok := wire.ItemOf("x"); ok {
		t.Error("x is an item")
	}
	for id, want := range map[string]bool{chunkID: true, taskID: false, "01ARZ3NDEKTSV4RRFFQ69G1000": false, "01ARZ3NDEKTSV4RRFFQ69G2000": true, "x": false} {
		if wire.IsChunkID(id) != want {
			t.Errorf("%s may be a chunk: %v", id, !want)
		}
	}
}

func TestChunksHoldWhatWasPutIn(t *testing.T) {
	t.Parallel()
	payloads := [][]byte{[]byte("a"), {}, []byte(strings.Repeat("x", 200)), []byte("\x00\n"), []byte(strings.Repeat("y", 70_000))}
	var pack []byte
	for _, p := range payloads {
		pack = wire.AppendItem(pack, p)
	}
	chunk := wire.Task{ID: chunkID, Function: "f", Attempt: 1, Reply: replyID, Items: len(payloads), Payload: pack}
	got, err := chunk.SplitItems()
	if err != nil || !slices.EqualFunc(got, payloads, slices.Equal) {
		t.Fatalf("%q, %v", got, err)
	}
	single := chunk.Item(3, got[3])
	if single.ID != wire.ItemID(chunkID, 3) || single.Items != 0 || string(single.Payload) != "\x00\n" || single.Reply != replyID || single.Check() != nil {
		t.Errorf("item 3 by itself is %+v", single)
	}
	for name, edit := range map[string]func(*wire.Task){
		"one too few":   func(c *wire.Task) { c.Items-- },
		"one too many":  func(c *wire.Task) { c.Items++ },
		"none":          func(c *wire.Task) { c.Items = 0 },
		"far too many":  func(c *wire.Task) { c.Items = wire.MaxItems + 1 },
		"a wrong ID":    func(c *wire.Task) { c.ID = taskID },
		"cut":           func(c *wire.Task) { c.Payload = c.Payload[:len(c.Payload)-1] },
		"a long length": func(c *wire.Task) { c.Items, c.Payload = 1, []byte("\x80\x00") },
	} {
		bad := chunk
		edit(&bad)
		if _, err := bad.SplitItems(); !isMalformed(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func isMalformed(err error) bool {
	_, ok := errors.AsType[*wire.MalformedError](err)
	return ok
}

func TestPacksHoldWhatWasPutIn(t *testing.T) {
	t.Parallel()
	type item struct {
		kind wire.Kind
		data string
	}
	failure := wire.Failure{Function: "f", Attempt: 2, Reason: wire.ReasonDropped, Message: "no"}
	for name, items := range map[string][]item{
		"results":   {{wire.KindResult, "a"}, {wire.KindResult, ""}, {wire.KindResult, strings.Repeat("x", 300)}},
		"all kinds": {{wire.KindNone, ""}, {wire.KindFailure, string(failure.Encode())}, {wire.KindMoved, ""}, {wire.KindResult, "b"}},
	} {
		mixed := name == "all kinds"
		w := wire.NewPackWriter(len(items), 1500*time.Nanosecond, mixed, 0)
		for _, it := range items {
			w.Add(it.kind, []byte(it.data))
		}
		o, err := wire.DecodeOutcome(chunkID, string(w.Text()))
		if err != nil || o.Kind != wire.KindPack || o.Pack.Items != len(items) || o.Pack.Each != 1500*time.Nanosecond || o.Pack.Mixed() != mixed {
			t.Fatalf("%s: %+v, %v", name, o, err)
		}
		p := *o.Pack
		for i, want := range items {
			kind, data, ok := p.Next()
			if !ok || kind != want.kind || string(data) != want.data {
				t.Errorf("%s: item %d: %c %q, %v", name, i, kind, data, ok)
			}
			if kind == wire.KindFailure {
				if got, err := wire.DecodeFailure(data); err != nil || got != failure {
					t.Errorf("%+v, %v", got, err)
				}
			}
		}
		if _, _, ok := p.Next(); ok {
			t.Errorf("%s: there is more", name)
		}
	}
}

func TestSetsOfItems(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "0": 1, "199": 1, "0-199": 200, "0-4,7,64-127": 70, "0,2,4-5": 4} {
		s, err := wire.ParseItemSet(text, 200)
		if err != nil || s.Len() != want || s.String() != text {
			t.Errorf("%q: %d items, %q, %v", text, s.Len(), s.String(), err)
		}
	}
	for _, text := range []string{"200", "-1", "1-", "3-2", "2-2", "4,3", "3,3", "1,", "a", "0-200", ",", "1 "} {
		if _, err := wire.ParseItemSet(text, 200); !isMalformed(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzSplitItems(f *testing.F) {
	f.Add(3, []byte("\x01a\x00\x03\x00\n\xff"))
	f.Fuzz(func(t *testing.T, n int, payload []byte) {
		chunk := wire.Task{ID: chunkID, Items: n, Payload: payload}
		items, err := chunk.SplitItems()
		if err != nil {
			return
		}
		var again []byte
		for _, item := range items {
			again = wire.AppendItem(again, item)
		}
		if len(items) != n || string(again) != string(payload) {
			t.Errorf("%d of %q: %q", n, payload, items)
		}
	})
}

func FuzzItemSet(f *testing.F) {
	f.Add("0-4,7", 10)
	f.Fuzz(func(t *testing.T, text string, n int) {
		if n < 1 || n > wire.MaxItems {
			return
		}
		s, err := wire.ParseItemSet(text, n)
		if err != nil {
			return
		}
		if again, err := wire.ParseItemSet(s.String(), n); err != nil || again.String() != s.String() || again.Len() != s.Len() {
			t.Errorf("%q of %d: %q, %v", text, n, s.String(), err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	const n = 500
	b.ReportAllocs()
	for range b.N {
		w := wire.NewPackWriter(n, time.Microsecond, false, n*16)
		for range n {
			w.Add(wire.KindResult, []byte("0123456789abcdef"))
		}
		o, err := wire.DecodeOutcome(chunkID, string(w.Text()))
		if err != nil {
			b.Fatal(err)
		}
		for range n {
			if _, _, ok := o.Pack.Next(); !ok {
				b.Fatal("short")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/item")
}
