package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	floorGroup = "workers"
	floorDue   = queueName + ":due"
	floorRead  = 100              // COUNT
	floorLease = 10 * time.Second // XAUTOCLAIM's idle time
)

// floor is the least a program can do: no envelope, no retries, no fencing.
type floor struct {
	client  *redis.Client
	address string
	queues  []string
	replies *redis.Client // for who waits for answers
	last    sync.Map      // the last answer of each caller
	commits sync.RWMutex  // held to read while tasks run and are removed
}

// newRedis is the client of every system that takes one: all with the same options, but for the size of the pool.
func newRedis(address string, pool int) *redis.Client {
	return redis.NewClient(&redis.Options{Network: network(address), Addr: address, PoolSize: pool})
}

// network tells a socket's path from a TCP address.
func network(address string) string {
	if strings.HasPrefix(address, "/") {
		return "unix"
	}
	return "tcp"
}

func openFloor(_ context.Context, address string) (queue, error) {
	return &floor{
		client: newRedis(address, 0), address: address, queues: []string{queueName}, replies: newRedis(address, floorRead),
	}, nil
}

func (f *floor) Close() error { return errors.Join(f.client.Close(), f.replies.Close()) }

func (f *floor) Spread(queues int) {
	for i := 1; i < queues; i++ {
		f.queues = append(f.queues, queueNamed(i))
	}
}

func add(payload []byte) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: queueName, Values: []any{"p", payload}}
}

func (f *floor) EnqueueTo(ctx context.Context, queue int, payload []byte) error {
	return f.client.XAdd(ctx, &redis.XAddArgs{Stream: f.queues[queue], Values: []any{"p", payload}}).Err()
}

func (f *floor) Enqueue(ctx context.Context, payload []byte) error {
	return f.client.XAdd(ctx, add(payload)).Err()
}

func (f *floor) EnqueueBatch(ctx context.Context, payloads [][]byte) error {
	_, err := f.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, payload := range payloads {
			p.XAdd(ctx, add(payload))
		}
		return nil
	})
	return err
}

func (f *floor) EnqueueAfter(ctx context.Context, payload []byte, after time.Duration) error {
	due := float64(time.Now().Add(after).UnixMicro()) / 1000
	return f.client.ZAdd(ctx, floorDue, redis.Z{Score: due, Member: payload}).Err()
}

func (f *floor) Left(ctx context.Context) (int64, error) {
	left, err := f.client.ZCard(ctx, floorDue).Result()
	for _, name := range f.queues {
		if err == nil {
			var waiting int64
			waiting, err = f.client.XLen(ctx, name).Result()
			left += waiting
		}
	}
	return left, err
}

// Work reads with two consumers, or with one when tasks are to run one at a time.
func (f *floor) Work(ctx context.Context, o workOptions, handle func([]byte)) error {
	for _, name := range f.queues {
		err := f.client.XGroupCreateMkStream(ctx, name, floorGroup, "0").Err()
		if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
			return err
		}
	}
	consumers, count := 2, floorRead
	switch {
	case o.Concurrency == 1:
		consumers, count = 1, 1
	case o.Few:
		count = 2
	}
	// Closing the client is what ends a blocked read at once; what was read is removed before.
	reader := &floor{client: newRedis(f.address, 0), queues: f.queues}
	defer context.AfterFunc(ctx, func() {
		reader.commits.Lock()
		defer reader.commits.Unlock()
		_ = reader.client.Close()
	})()
	group, groupCtx := errgroup.WithContext(ctx)
	if o.Delayed {
		group.Go(func() error { return f.promote(groupCtx) })
	}
	for i := range consumers {
		consumer := "c" + strconv.FormatUint(rand.Uint64(), 36) + strconv.Itoa(i)
		group.Go(func() error { return reader.consume(groupCtx, consumer, count, handle) })
		if o.Reclaim && i == 0 {
			group.Go(func() error { return f.reclaim(groupCtx, consumer, handle) })
		}
	}
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

func (f *floor) consume(ctx context.Context, consumer string, count int, handle func([]byte)) error {
	from := slices.Clone(f.queues)
	for range f.queues {
		from = append(from, ">")
	}
	for ctx.Err() == nil {
		streams, err := f.client.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: floorGroup, Consumer: consumer, Streams: from, Count: int64(count), Block: 2 * time.Second,
		}).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return err
		}
		if err := f.runAll(ctx, streams, handle); err != nil {
			return err
		}
	}
	return nil
}

func (f *floor) runAll(ctx context.Context, streams []redis.XStream, handle func([]byte)) error {
	f.commits.RLock()
	defer f.commits.RUnlock()
	if ctx.Err() != nil {
		return nil // the connection to remove them may be closed
	}
	for _, s := range streams {
		if err := f.run(context.WithoutCancel(ctx), s.Stream, s.Messages, handle); err != nil {
			return err
		}
	}
	return nil
}

// run handles tasks, removes them, and answers to those who wait for an answer.
func (f *floor) run(ctx context.Context, name string, entries []redis.XMessage, handle func([]byte)) error {
	if len(entries) == 0 {
		return nil
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		payload, _ := e.Values["p"].(string)
		handle([]byte(payload))
		ids[i] = e.ID
	}
	_, err := f.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.XAck(ctx, name, floorGroup, ids...)
		p.XDel(ctx, name, ids...)
		for _, e := range entries {
			if to, ok := e.Values["r"].(string); ok {
				p.XAdd(ctx, &redis.XAddArgs{Stream: to, Values: []any{"p", e.Values["p"]}})
			}
		}
		return nil
	})
	return err
}

// reclaim takes over what a consumer has held for longer than the lease.
func (f *floor) reclaim(ctx context.Context, consumer string, handle func([]byte)) error {
	return every(ctx, 200*time.Millisecond, func() error {
		entries, _, err := f.client.XAutoClaim(ctx, &redis.XAutoClaimArgs{
			Stream: queueName, Group: floorGroup, Consumer: consumer, MinIdle: floorLease, Start: "0", Count: floorRead,
		}).Result()
		if err != nil {
			return err
		}
		return f.run(ctx, queueName, entries, handle)
	})
}

// promote looks for due tasks each millisecond.
func (f *floor) promote(ctx context.Context) error {
	return every(ctx, time.Millisecond, func() error {
		now := strconv.FormatFloat(float64(time.Now().UnixMicro())/1000, 'f', 3, 64)
		due, err := f.client.ZRangeArgs(ctx, redis.ZRangeArgs{Key: floorDue, Start: "-inf", Stop: now, ByScore: true}).Result()
		if err != nil || len(due) == 0 {
			return err
		}
		_, err = f.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
			for _, payload := range due {
				p.XAdd(ctx, add([]byte(payload)))
				p.ZRem(ctx, floorDue, payload)
			}
			return nil
		})
		return err
	})
}

// every calls do at once and then each period, until it fails or ctx is done.
func every(ctx context.Context, period time.Duration, do func() error) error {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		if err := do(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
