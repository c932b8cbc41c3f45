package main

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
)

const asynqQueue = "default"

type asynqQueueClient struct {
	client    *asynq.Client
	inspector *asynq.Inspector
	option    asynq.RedisClientOpt
}

func openAsynq(_ context.Context, address string) (queue, error) {
	option := asynq.RedisClientOpt{Network: network(address), Addr: address}
	return &asynqQueueClient{client: asynq.NewClient(option), inspector: asynq.NewInspector(option), option: option}, nil
}

func (a *asynqQueueClient) Close() error { return errors.Join(a.client.Close(), a.inspector.Close()) }

func (a *asynqQueueClient) Enqueue(ctx context.Context, payload []byte) error {
	_, err := a.client.EnqueueContext(ctx, asynq.NewTask(queueName, payload))
	return err
}

func (a *asynqQueueClient) EnqueueAfter(ctx context.Context, payload []byte, after time.Duration) error {
	_, err := a.client.EnqueueContext(ctx, asynq.NewTask(queueName, payload), asynq.ProcessIn(after))
	return err
}

func (a *asynqQueueClient) Left(context.Context) (int64, error) {
	info, err := a.inspector.GetQueueInfo(asynqQueue)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return int64(info.Pending + info.Active + info.Scheduled + info.Retry), nil
}

func (a *asynqQueueClient) Work(ctx context.Context, o workOptions, handle func([]byte)) error {
	server := asynq.NewServer(a.option, asynq.Config{Concurrency: o.Concurrency, LogLevel: asynq.FatalLevel, ShutdownTimeout: time.Second})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		handle(task.Payload())
		return nil
	}))
	if err != nil {
		return err
	}
	<-ctx.Done()
	server.Shutdown()
	return nil
}
