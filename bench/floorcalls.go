package main

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

const (
	floorReplies = queueName + ":replies"
	floorWindow  = 10_000 // inputs of a map that are on their way
)

func addWithReply(payload []byte, to string) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: queueName, Values: []any{"p", payload, "r", to}}
}

// Call stores a task and waits for its answer in the same write.
func (f *floor) Call(ctx context.Context, who int, payload []byte) ([]byte, error) {
	to, from := floorReplies+strconv.Itoa(who), "0"
	if last, ok := f.last.Load(who); ok {
		from, _ = last.(string)
	} else if err := f.replies.Del(ctx, to).Err(); err != nil { // what a process before has left
		return nil, err
	}
	var read *redis.XStreamSliceCmd
	_, err := f.replies.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.XAdd(ctx, addWithReply(payload, to))
		read = p.XRead(ctx, &redis.XReadArgs{Streams: []string{to, from}, Count: 1, Block: 2 * time.Second})
		return nil
	})
	if err != nil {
		return nil, err
	}
	answer := read.Val()[0].Messages[0]
	f.last.Store(who, answer.ID)
	text, _ := answer.Values["p"].(string)
	return []byte(text), nil
}

// Map stores inputs in pipelines of fillBatch while it reads the answers to those before.
func (f *floor) Map(ctx context.Context, inputs iter.Seq[[]byte], result func([]byte)) error {
	if err := f.replies.Del(ctx, floorReplies).Err(); err != nil {
		return err
	}
	room, sent := semaphore.NewWeighted(floorWindow), make(chan int, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		n, err := f.sendAll(ctx, inputs, room)
		sent <- n
		return err
	})
	group.Go(func() error { return f.readAll(ctx, sent, room, result) })
	return group.Wait()
}

// sendAll says how many inputs there were.
func (f *floor) sendAll(ctx context.Context, inputs iter.Seq[[]byte], room *semaphore.Weighted) (n int, err error) {
	pipe := f.client.Pipeline()
	send := func() error {
		if pipe.Len() == 0 {
			return nil
		}
		if err := room.Acquire(ctx, int64(pipe.Len())); err != nil {
			return err
		}
		n += pipe.Len()
		_, err := pipe.Exec(ctx)
		return err
	}
	for payload := range inputs {
		pipe.XAdd(ctx, addWithReply(payload, floorReplies))
		if pipe.Len() == fillBatch {
			if err := send(); err != nil {
				return n, err
			}
		}
	}
	return n, send()
}

// readAll hands out answers until there are as many as inputs.
func (f *floor) readAll(ctx context.Context, sent <-chan int, room *semaphore.Weighted, result func([]byte)) error {
	last, total := "0", -1
	for got := 0; total < 0 || got < total; {
		streams, err := f.replies.XRead(ctx, &redis.XReadArgs{Streams: []string{floorReplies, last}, Count: fillBatch, Block: 50 * time.Millisecond}).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		for _, s := range streams {
			for _, m := range s.Messages {
				text, _ := m.Values["p"].(string)
				result([]byte(text))
				last = m.ID
			}
			got += len(s.Messages)
			room.Release(int64(len(s.Messages)))
			if err := f.replies.XTrimMinID(ctx, floorReplies, last).Err(); err != nil {
				return err
			}
		}
		select {
		case total = <-sent:
		default:
		}
	}
	return nil
}
