package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const natsStream = "BENCH"

type natsQueue struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
}

func openNATS(ctx context.Context, address string) (queue, error) {
	conn, err := nats.Connect(address)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		return nil, err
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: natsStream, Subjects: []string{queueName}, Storage: jetstream.MemoryStorage, Retention: jetstream.WorkQueuePolicy,
	})
	return &natsQueue{conn: conn, js: js, stream: stream}, err
}

func (n *natsQueue) Close() error {
	n.conn.Close()
	return nil
}

func (n *natsQueue) Enqueue(ctx context.Context, payload []byte) error {
	_, err := n.js.Publish(ctx, queueName, payload)
	return err
}

func (n *natsQueue) EnqueueBatch(ctx context.Context, payloads [][]byte) error {
	acks := make([]jetstream.PubAckFuture, len(payloads))
	for i, payload := range payloads {
		ack, err := n.js.PublishAsync(queueName, payload)
		if err != nil {
			return err
		}
		acks[i] = ack
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Left is what the stream holds: a work queue removes what is acknowledged.
func (n *natsQueue) Left(ctx context.Context) (int64, error) {
	info, err := n.stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int64(info.State.Msgs), nil
}

func (n *natsQueue) Work(ctx context.Context, o workOptions, handle func([]byte)) error {
	consumer, err := n.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
	})
	if err != nil {
		return err
	}
	messages := make(chan jetstream.Msg, o.Concurrency)
	var handlers sync.WaitGroup
	for range o.Concurrency {
		handlers.Go(func() {
			for m := range messages {
				payload := m.Data()
				handle(payload)
				_ = m.Ack() // a lost one shows as a task that ran twice
			}
		})
	}
	// As with the other systems, one who runs tasks one at a time keeps the rest for others.
	options := []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(max(2, 10*o.Concurrency))}
	if o.Concurrency == 1 {
		options = []jetstream.PullConsumeOpt{jetstream.PullMaxMessages(1)}
	}
	consume, err := consumer.Consume(func(m jetstream.Msg) { messages <- m }, options...)
	if err != nil {
		return err
	}
	<-ctx.Done()
	consume.Stop()
	select {
	case <-consume.Closed():
	case <-time.After(time.Second):
		return errors.New("nats: the consumer does not stop")
	}
	close(messages)
	handlers.Wait()
	return nil
}
