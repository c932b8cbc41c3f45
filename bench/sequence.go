package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// sequence is reads and commits of whole batches in a fixed order, one after the other, so that Redis does the same each time. What a
// commit of a worker costs depends on how its results happen to be cut.
type sequence struct {
	key, title string
	hands      int  // consumers; all read, then all commit, the last one first
	told       bool // somebody waits for the outcomes
}

func sequences() []sequence {
	return []sequence{
		{"inorder", "Redis instructions per task, read and commit, in order", 1, false},
		{"outoforder", "Redis instructions per task, read and commit, out of order", 2, false},
		{"told", "Redis instructions per task, read and commit, in order, told", 1, true},
	}
}

const (
	sequenceRead = floorRead                    // tasks of a batch
	replyID      = "01ARZ3NDEKTSV4RRFFQ69G5FAV" // of whoever waits for outcomes
	taskID       = "01ARZ3NDEKTSV4RRFFQ69G5FAW" // of every task: nobody looks at it
)

// stepper is a system whose reads and commits can be made one at a time.
type stepper interface {
	// Stock stores tasks, and what answers to them go to.
	Stock(ctx context.Context, n int, told bool) error
	// Hand makes a consumer.
	Hand(ctx context.Context, name string) (hand, error)
}

// hand is one consumer.
type hand interface {
	Read(ctx context.Context) (int, error)
	Commit(ctx context.Context) error // of all that was read last
	Close() error
}

// measureSequence is the difference between many tasks and few, of as many as wait both times: what stores them does not count.
func (b *bench) measureSequence(ctx context.Context, s sequence) error {
	const few, many = 1000, 9000
	per, err := b.difference(ctx, s.key, few, many, func(n int) func(context.Context) error {
		return func(ctx context.Context) error {
			q, err := b.system.open(ctx, b.server.address)
			if err != nil {
				return err
			}
			return errors.Join(s.play(ctx, q, many, n), q.Close())
		}
	})
	b.values[s.key] = per
	return err
}

// play stores tasks, and reads and commits the first n.
func (s sequence) play(ctx context.Context, q queue, stored, n int) error {
	steps, ok := q.(stepper)
	if !ok {
		return errors.New("it cannot be led step by step")
	}
	if err := steps.Stock(ctx, stored, s.told); err != nil {
		return err
	}
	hands := make([]hand, s.hands)
	for i := range hands {
		var err error
		if hands[i], err = steps.Hand(ctx, fmt.Sprintf("c%d", i)); err != nil {
			return err
		}
		defer func() { _ = hands[i].Close() }()
	}
	for range n / sequenceRead / s.hands {
		if err := step(ctx, hands); err != nil {
			return err
		}
	}
	left, err := q.Left(ctx)
	if err == nil && left != int64(stored-n) {
		err = fmt.Errorf("%d tasks are left, not %d", left, stored-n)
	}
	return err
}

// step is one batch of each consumer.
func step(ctx context.Context, hands []hand) error {
	for _, h := range hands {
		if got, err := h.Read(ctx); err != nil || got != sequenceRead {
			return errors.Join(fmt.Errorf("a read brought %d tasks, not %d", got, sequenceRead), err)
		}
	}
	for _, h := range slices.Backward(hands) {
		if err := h.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stock stores the same entry n times, without a client whose packets differ from time to time. All have the same millisecond, as in a
// batch, and always the same one: how a stream lies in memory depends on its IDs.
func stock(ctx context.Context, client *redis.Client, key string, n int, fields ...any) error {
	const most = 500 // in a call: it must answer in time under callgrind too
	for ; n > 0; n -= most {
		err := client.Eval(ctx, "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '1700000000000-*', unpack(ARGV, 2)) end return 1",
			[]string{key}, append([]any{min(n, most)}, fields...)...).Err()
		if err != nil {
			return err
		}
	}
	return nil
}
