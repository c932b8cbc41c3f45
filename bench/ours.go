package main

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// echo is the function of every row; only a call or a map sees its result.
var echo = stream.Func[[]byte, []byte]{Name: "echo", Queue: queueName, Codec: stream.Raw}

// ours is worker-machine with its defaults.
type ours struct {
	redis  *redis.Client
	store  *stream.Store
	client *stream.Client
	echoes []stream.Func[[]byte, []byte] // one for each queue
	leave  context.Context               // what Close may use
}

func openOurs(ctx context.Context, address string) (queue, error) {
	o := &ours{redis: newRedis(address, 0), echoes: []stream.Func[[]byte, []byte]{echo}, leave: context.WithoutCancel(ctx)}
	var err error
	if o.store, err = stream.NewStore(o.redis, stream.Config{}); err != nil {
		return nil, err
	}
	o.client, err = stream.NewClient(o.store, stream.ClientConfig{})
	return o, err
}

func (o *ours) Close() error {
	ctx, cancel := context.WithTimeout(o.leave, 5*time.Second)
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
	left := int64(0)
	for _, echo := range o.echoes {
		keys := o.store.Keys(echo.Queue)
		waiting, err := o.redis.XLen(ctx, keys.Tasks()).Result()
		if err != nil {
			return 0, err
		}
		delayed, err := o.redis.ZCard(ctx, keys.Due()).Result()
		if err != nil {
			return 0, err
		}
		left += waiting + delayed
	}
	return left, nil
}

func (o *ours) Spread(queues int) {
	for i := 1; i < queues; i++ {
		one := echo
		one.Queue = queueNamed(i)
		o.echoes = append(o.echoes, one)
	}
}

func (o *ours) EnqueueTo(ctx context.Context, queue int, payload []byte) error {
	_, err := o.echoes[queue].Enqueue(ctx, o.client, payload)
	return err
}

func (o *ours) Call(ctx context.Context, _ int, payload []byte) ([]byte, error) {
	return echo.Call(ctx, o.client, payload)
}

func (o *ours) Map(ctx context.Context, inputs iter.Seq[[]byte], result func([]byte)) error {
	batch := mapreduce.Map(ctx, o.client, echo, inputs)
	for r := range batch.Results() {
		if r.Err != nil {
			return r.Err
		}
		result(r.Value)
	}
	return batch.Err()
}

func (o *ours) Work(ctx context.Context, w workOptions, handle func([]byte)) error {
	config := group.Config{Concurrency: w.Concurrency, Drain: time.Second}
	for _, echo := range o.echoes {
		config.Queues = append(config.Queues, group.Queue{Name: echo.Queue})
	}
	worker, err := group.NewWorker(o.store, config)
	if err != nil {
		return err
	}
	group.Handle(worker, echo, func(_ context.Context, payload []byte) ([]byte, error) {
		handle(payload)
		return payload, nil
	})
	group.Handle(worker, words, countWords)
	return worker.Run(ctx)
}
