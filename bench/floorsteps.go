package main

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// floorHand reads and removes as the floor does, but for when.
type floorHand struct {
	floor   *floor
	name    string
	entries []redis.XMessage // of the last read
}

// Stock stores tasks as Enqueue and Map do.
func (f *floor) Stock(ctx context.Context, n int, told bool) error {
	fields := []any{"p", newPayload(smallTask, 0, time.Time{})}
	if told {
		fields = append(fields, "r", floorReplies)
	}
	return stock(ctx, f.client, queueName, n, fields...)
}

// Hand makes a consumer.
func (f *floor) Hand(ctx context.Context, name string) (hand, error) {
	err := f.client.XGroupCreateMkStream(ctx, queueName, floorGroup, "0").Err()
	if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
		return nil, err
	}
	return &floorHand{floor: f, name: name}, nil
}

// Close has nothing to close: the connections are those of the floor.
func (h *floorHand) Close() error { return nil }

// Read takes new tasks in hand.
func (h *floorHand) Read(ctx context.Context) (int, error) {
	streams, err := h.floor.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: floorGroup, Consumer: h.name, Streams: []string{queueName, ">"}, Count: sequenceRead, Block: 2 * time.Second,
	}).Result()
	if err != nil {
		return 0, err
	}
	h.entries = streams[0].Messages
	return len(h.entries), nil
}

// Commit removes them, and answers.
func (h *floorHand) Commit(ctx context.Context) error {
	return h.floor.run(ctx, queueName, h.entries, func([]byte) {})
}
