package stream_test

import (
	"fmt"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// TestASessionHearsOfEachItemOnce tells it of items twice, in packs and one by one, as workers may after a loss of data.
func TestASessionHearsOfEachItemOnce(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client(t)
	session := openSession(t, newClient(t, rdb, stream.ClientConfig{}))
	chunk := stream.Task{ID: stream.NewChunkID(), Function: "f", Items: 5}
	for i := range chunk.Items {
		chunk.Payload = stream.AppendItem(chunk.Payload, fmt.Append(nil, i))
	}
	if n, err := session.Send(t.Context(), chunk); n != 1 || err != nil {
		t.Fatalf("sent %d, %v", n, err)
	}
	if n := session.Outstanding(); n != 5 {
		t.Errorf("%d are outstanding", n)
	}
	pack := func(items ...string) string {
		w := wire.NewPackWriter(len(items), 0, true, 0)
		for _, item := range items {
			w.Add(wire.Kind(item[0]), []byte(item[1:]))
		}
		return string(w.Text())
	}
	id := func(i int) string { return wire.ItemID(chunk.ID, i) }
	for _, fields := range [][]any{
		{chunk.ID, pack("+0", ".", ".", "~", "."), id(3), "~1-1"},
		{chunk.ID, pack("+again", `-{"reason":"dropped"}`, ".", "+again", ".")},
		{id(1), "+unknown"},
		{chunk.ID, pack("+of", "+another", "+chunk")},
		{id(3), "+3"},
		{id(3), "+again"},
		{chunk.ID, `-{"reason":"cancelled"}`},
		{chunk.ID, pack("+again", "+again", "+again", "+again", "+again")},
	} {
		if err := rdb.Do(t.Context(), append([]any{"XADD", "wm:{q}:reply:" + session.ID(), "*"}, fields...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for len(got) < 5 {
		outcomes, err := session.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			if o.Kind != wire.KindPack {
				got[o.TaskID] += string(o.Payload)
				continue
			}
			for i := range o.Pack.Items {
				if kind, data, _ := o.Pack.Next(); kind == wire.KindResult {
					got[id(i)] += string(data)
				} else if kind == wire.KindFailure {
					failure, _ := wire.DecodeFailure(data)
					got[id(i)] += failure.Reason
				}
			}
		}
	}
	for i, want := range []string{"0", "dropped", "cancelled", "3", "cancelled"} {
		if got[id(i)] != want {
			t.Errorf("item %d: %q, want %q", i, got[id(i)], want)
		}
	}
	eventually(t, func() bool { return length(t, rdb, "wm:{q}:reply:"+session.ID()) == 0 }, "all is read")
	if n := session.Outstanding(); n != 0 {
		t.Errorf("%d are outstanding", n)
	}
}
