package main

import (
	"context"
	"fmt"
	"time"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// ourHand reads and commits as a worker does, but for when.
type ourHand struct {
	ours   *ours
	name   string
	fence  string
	reader *conn.Reader
	reads  uint64
	items  []script.CommitItem // of the last read
}

// ourBlock is how long a read of a worker blocks.
const ourBlock = 2 * time.Second

func (o *ours) keys() wire.Keys { return o.store.Keys(echo.Queue) }

// Stock stores tasks as a client does.
func (o *ours) Stock(ctx context.Context, n int, told bool) error {
	task := wire.Task{ID: taskID, Function: echo.Name, Attempt: 1, Payload: newPayload(smallTask, 0, time.Time{})}
	if told {
		task.Reply = replyID
		if err := stock(ctx, o.redis, o.keys().Reply(replyID), 1, "open", ""); err != nil {
			return err
		}
	}
	return stock(ctx, o.redis, o.keys().Tasks(), n, wire.Field, task.Encode())
}

// Hand makes a consumer with a lease.
func (o *ours) Hand(ctx context.Context, name string) (hand, error) {
	if _, err := o.store.Scripts().MakeGroup(ctx, o.keys(), o.store.Group()); err != nil {
		return nil, err
	}
	leases, err := o.store.Scripts().Heartbeat(ctx, []wire.Keys{o.keys()}, name, time.Hour, "bench")
	if err != nil {
		return nil, err
	}
	reader, err := conn.NewReader(o.redis, ourBlock)
	if err != nil {
		return nil, err
	}
	return &ourHand{ours: o, name: name, fence: leases[0].Fence, reader: reader}, nil
}

// Close ends the connection of the reads.
func (h *ourHand) Close() error { return h.reader.Close() }

// Read takes new tasks in hand.
func (h *ourHand) Read(ctx context.Context) (int, error) {
	streams, err := h.reader.ReadGroup(ctx, conn.GroupRead{
		Group: h.ours.store.Group(), Consumer: h.name, Count: sequenceRead, Block: ourBlock, Keys: []string{h.ours.keys().Tasks()}, IDs: []string{">"},
	})
	h.items = h.items[:0]
	h.reads++
	for _, s := range streams {
		for place, e := range s.Entries {
			task, err := wire.Decode(e.Fields)
			if err != nil {
				return 0, err
			}
			outcome := wire.Outcome{Kind: wire.KindResult, Payload: task.Payload}
			h.items = append(h.items, script.CommitItem{
				Entry: e.ID, Read: h.reads, Place: place, TaskID: task.ID, Reply: task.Reply, Outcome: outcome.Encode(),
			})
		}
	}
	return len(h.items), err
}

// Commit records results of all of them.
func (h *ourHand) Commit(ctx context.Context) error {
	late, err := h.ours.store.Scripts().Commit(ctx, script.CommitBatch{
		Keys: h.ours.keys(), Group: h.ours.store.Group(), Worker: h.name, Fence: h.fence, Counter: "done", Items: h.items,
	})
	if err == nil && len(late) > 0 {
		err = fmt.Errorf("%d tasks were done elsewhere", len(late))
	}
	return err
}
