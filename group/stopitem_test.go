package group

import (
	"errors"
	"testing"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// TestAnItemIsStoppedThatIsJustStarting has the word come when a slot has claimed the item and its context is not seen yet.
func TestAnItemIsStoppedThatIsJustStarting(t *testing.T) {
	t.Parallel()
	pack := wire.AppendItem(wire.AppendItem(nil, []byte("0")), []byte("1"))
	one := &flight{
		feed: &feed{worker: &Worker{life: t.Context()}},
		task: wire.Task{ID: stream.NewChunkID(), Function: "f", Items: 2, Payload: pack},
	}
	c, err := newChunk(one)
	if err != nil {
		t.Fatal(err)
	}
	if i := c.claim(); i != 0 {
		t.Fatal(i)
	}
	c.stop(0)
	r := &runner{chunk: c}
	if x := r.start(0); !errors.Is(x.real().context.endedBy(), ErrCancelled) {
		t.Errorf("the item goes on: %v", x.real().context.endedBy())
	}
	c.claim()
	if x := r.start(1); x.real().context.endedBy() != nil {
		t.Errorf("its neighbour is stopped: %v", x.real().context.endedBy())
	}
}
