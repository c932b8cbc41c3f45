package board

import (
	"context"

	"github.com/athoune/worker-machine/inspect"
)

// workersBody lists the workers of a queue.
type workersBody struct {
	Queue   string
	Pills   part[[]pill]
	Workers part[inspect.WorkerPage]
	First   string
	Next    string
}

func (b *board) workers(ctx context.Context, a args) (content, error) {
	var body workersBody
	body.Queue, body.Pills = b.pick(ctx, a, "workers", func(q inspect.Queue) inspect.Count { return q.Workers })
	if body.Queue != "" {
		body.Workers = try(ctx, b, func(ctx context.Context) (inspect.WorkerPage, error) {
			return b.look.Workers(ctx, body.Queue, a.Get("after"))
		})
	}
	here := b.cfg.Base + "/workers"
	if a.Get("after") != "" {
		body.First = query(here, "queue", body.Queue)
	}
	if next := body.Workers.V.Next; next != "" {
		body.Next = query(here, "queue", body.Queue, "after", next)
	}
	return content{Title: "Workers", Body: body, Live: true}, nil
}

// workerBody is the page of a worker.
type workerBody struct {
	inspect.Worker
	More int64 // tasks that it has besides those listed
}

func (b *board) worker(ctx context.Context, a args) (content, error) {
	worker, err := b.look.Worker(ctx, a.Get("queue"), a.Get("name"))
	if err != nil {
		return content{}, err
	}
	body := workerBody{Worker: worker, More: max(worker.Pending-int64(len(worker.Tasks)), 0)}
	return content{Title: worker.Name, Body: body, Live: true}, nil
}
