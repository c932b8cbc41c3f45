package board

import (
	"context"

	"github.com/athoune/worker-machine/inspect"
)

// batchesBody lists the batches of a queue.
type batchesBody struct {
	Queue   string
	Pills   part[[]pill]
	Batches part[[]inspect.Batch]
	More    bool
}

func (b *board) batches(ctx context.Context, a args) (content, error) {
	var body batchesBody
	body.Queue, body.Pills = b.pick(ctx, a, "batches", func(q inspect.Queue) inspect.Count { return q.Running })
	if body.Queue != "" {
		body.Batches = try(ctx, b, func(ctx context.Context) (batches []inspect.Batch, err error) {
			batches, body.More, err = b.look.Batches(ctx, body.Queue)
			return batches, err
		})
	}
	for i := range body.Pills.V {
		body.Pills.V[i].N = "" // how many batches each has is not counted
	}
	return content{Title: "Batches", Body: body, Live: true}, nil
}
