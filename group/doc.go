// Package group runs tasks: a [Worker] reads queues through their consumer group and calls the handler of each task's function.
//
//	worker, err := group.NewWorker(store, group.Config{Queues: []group.Queue{{Name: "web"}}, Concurrency: 32})
//	group.Handle(worker, GetTitle, func(ctx context.Context, url string) (string, error) { ... })
//	err = worker.Run(ctx) // until ctx is done; then drains
//
// A task runs at least once and has exactly one outcome. It runs a second time when its worker died, froze or was cut off from
// Redis; the outcome that is recorded first counts, and a late one is refused.
package group
