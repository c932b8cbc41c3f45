// Package workermachine is the root of Worker Machine, background work on Redis Streams: fire and forget, call and wait,
// map and reduce. It holds documentation and the tests of the whole module; the code is in the packages below.
//
//   - [github.com/athoune/worker-machine/stream]: what both sides share: Store, Func, and the Client that enqueues and calls.
//   - [github.com/athoune/worker-machine/group]: the Worker that runs tasks.
//   - [github.com/athoune/worker-machine/mapreduce]: many tasks at once, and their results.
//   - [github.com/athoune/worker-machine/reclaim]: the work of dead workers, and dead letters.
//   - [github.com/athoune/worker-machine/cmd/worker-machine]: the program.
//
// A worker and a client, in five lines each:
//
//	var GetTitle = stream.Func[string, string]{Name: "getTitle", Queue: "web"} // both sides share this
//
//	worker, err := group.NewWorker(store, group.Config{Queues: []group.Queue{{Name: "web"}}})
//	group.Handle(worker, GetTitle, func(ctx context.Context, url string) (string, error) { ... })
//	err = worker.Run(ctx)
//
//	client, err := stream.NewClient(store, stream.ClientConfig{})
//	title, err := GetTitle.Call(ctx, client, "linuxfr.org")
//
// README.md is where to start, DESIGN.md says why things are as they are, PROTOCOL.md what lies in Redis.
package workermachine
