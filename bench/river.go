package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type riverQueue struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
}

// riverArgs is a task; JSON makes base64 of its payload.
type riverArgs struct {
	Payload []byte `json:"p"`
}

// Kind names the function.
func (riverArgs) Kind() string { return queueName }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	handle func([]byte)
}

// Work runs one task.
func (w *riverWorker) Work(_ context.Context, job *river.Job[riverArgs]) error {
	w.handle(job.Args.Payload)
	return nil
}

// Timeout is none, for the row that kills a worker.
func (w *riverWorker) Timeout(*river.Job[riverArgs]) time.Duration { return -1 }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func migrateRiver(ctx context.Context, address string) error {
	pool, err := pgxpool.New(ctx, address)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet()})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func openRiver(ctx context.Context, address string) (queue, error) {
	pool, err := pgxpool.New(ctx, address)
	if err != nil {
		return nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: quiet()})
	return &riverQueue{pool: pool, client: client}, err
}

func (r *riverQueue) Close() error {
	r.pool.Close()
	return nil
}

func (r *riverQueue) Enqueue(ctx context.Context, payload []byte) error {
	_, err := r.client.Insert(ctx, riverArgs{Payload: payload}, nil)
	return err
}

func (r *riverQueue) EnqueueAfter(ctx context.Context, payload []byte, after time.Duration) error {
	_, err := r.client.Insert(ctx, riverArgs{Payload: payload}, &river.InsertOpts{ScheduledAt: time.Now().Add(after)})
	return err
}

func (r *riverQueue) EnqueueBatch(ctx context.Context, payloads [][]byte) error {
	params := make([]river.InsertManyParams, len(payloads))
	for i, payload := range payloads {
		params[i].Args = riverArgs{Payload: payload}
	}
	_, err := r.client.InsertManyFast(ctx, params)
	return err
}

func (r *riverQueue) Left(ctx context.Context) (n int64, err error) {
	err = r.pool.QueryRow(ctx, "select count(*) from river_job where state <> 'completed'").Scan(&n)
	return n, err
}

func (r *riverQueue) Work(ctx context.Context, o workOptions, handle func([]byte)) error {
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{handle: handle})
	client, err := river.NewClient(riverpgxv5.New(r.pool), &river.Config{
		Logger: quiet(), Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: o.Concurrency}},
	})
	if err != nil {
		return err
	}
	if err = client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	return client.StopAndCancel(ctx)
}
