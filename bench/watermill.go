package main

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const watermillGroup = "workers"

type watermillQueue struct {
	client    *redis.Client
	address   string
	publisher *redisstream.Publisher
}

func openWatermill(_ context.Context, address string) (queue, error) {
	client := newRedis(address, 0)
	publisher, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: client}, watermill.NopLogger{})
	return &watermillQueue{client: client, address: address, publisher: publisher}, err
}

func (w *watermillQueue) Close() error {
	return errors.Join(w.publisher.Close(), ignoreClosed(w.client.Close()))
}

// ignoreClosed drops the error of a client that somebody else has closed.
func ignoreClosed(err error) error {
	if errors.Is(err, redis.ErrClosed) {
		return nil
	}
	return err
}

func (w *watermillQueue) Enqueue(_ context.Context, payload []byte) error {
	return w.publisher.Publish(queueName, message.NewMessage(watermill.NewUUID(), payload))
}

func (w *watermillQueue) EnqueueBatch(_ context.Context, payloads [][]byte) error {
	messages := make([]*message.Message, len(payloads))
	for i, payload := range payloads {
		messages[i] = message.NewMessage(watermill.NewUUID(), payload)
	}
	return w.publisher.Publish(queueName, messages...)
}

// Left counts what no consumer has acknowledged: entries stay in the stream.
func (w *watermillQueue) Left(ctx context.Context) (int64, error) {
	groups, err := w.client.XInfoGroups(ctx, queueName).Result()
	if redis.HasErrorPrefix(err, "ERR no such key") || err == nil && len(groups) == 0 {
		return w.client.XLen(ctx, queueName).Result()
	}
	if err != nil {
		return 0, err
	}
	return groups[0].Pending + groups[0].Lag, nil
}

// Work subscribes once for each handler: a subscription gives out one message at a time.
func (w *watermillQueue) Work(ctx context.Context, o workOptions, handle func([]byte)) error {
	client := newRedis(w.address, 2*o.Concurrency+4)
	defer func() { _ = client.Close() }()
	group, ctx := errgroup.WithContext(ctx)
	for range o.Concurrency {
		subscriber, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{
			Client: client, ConsumerGroup: watermillGroup, DisableIndefiniteInitialBlock: true, BlockTime: 500 * time.Millisecond,
		}, watermill.NopLogger{})
		if err != nil {
			return err
		}
		messages, err := subscriber.Subscribe(ctx, queueName)
		if err != nil {
			return err
		}
		group.Go(func() error {
			for m := range messages {
				handle(m.Payload)
				m.Ack()
			}
			return nil
		})
	}
	return group.Wait()
}
