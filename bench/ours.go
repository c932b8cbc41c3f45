package main

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/stream"
)

// echo is the function of every row; only a call or a map sees its result.
var echo = stream.Func[[]byte, []byte]{Name: "echo", Queue: queueName, Codec: stream.Raw}

// ours is worker-machine with its defaults.
type ours struct {
	redis  *redis.Client
	store  *stream.Store
	client *stream.Client
}

func openOurs(_ context.Context, address string) (queue, error) {
	o := &ours{redis: newRedis(address, 0)}
	var err error
	if o.store, err = stream.NewStore(o.redis, stream.Config{}); err != nil {
		return nil, err
	}
	o.client, err = stream.NewClient(o.store, stream.ClientConfig{})
	return o, err
}

func (o *ours) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = o.client.Close(ctx) // the process ends with it
	_ = o.store.Close()
	return o.redis.Close()
}

func (o *ours) Enqueue(ctx context.Context, payload []byte) error {
	_, err := echo.Enqueue(ctx, o.client, payload)
	return err
}

func (o *ours) EnqueueBatch(ctx context.Context, payloads [][]byte) error {
	_, err := echo.EnqueueAll(ctx, o.client, slices.Values(payloads))
	return err
}

func (o *ours) EnqueueAfter(ctx context.Context, payload []byte, after time.Duration) error {
	_, err := echo.Enqueue(ctx, o.client, payload, stream.After(after))
	return err
}

func (o *ours) Left(ctx context.Context) (int64, error) {
	keys := o.store.Keys(queueName)
	waiting, err := o.redis.XLen(ctx, keys.Tasks()).Result()
	if err != nil {
		return 0, err
	}
	delayed, err := o.redis.ZCard(ctx, keys.Due()).Result()
	return waiting + delayed, err
}

func (o *ours) Work(ctx context.Context, w workOptions, handle func([]byte)) error {
	worker, err := group.NewWorker(o.store, group.Config{Concurrency: w.Concurrency, Drain: time.Second})
	if err != nil {
		return err
	}
	group.Handle(worker, echo, func(_ context.Context, payload []byte) ([]byte, error) {
		handle(payload)
		return payload, nil
	})
	return worker.Run(ctx)
}
