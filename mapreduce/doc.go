// Package mapreduce calls a function for each of many inputs, on workers, and brings the results back to the caller.
//
//	batch := mapreduce.Map(ctx, client, GetTitle, slices.Values(sites), mapreduce.Window(100))
//	for r := range batch.Results() {
//		fmt.Println(r.Input, r.Value, r.Err)
//	}
//	if err := batch.Err(); err != nil { ... }
//
// [Reduce] folds the results into one value instead of ranging over them. A batch survives the loss of workers, connections and
// of everything in Redis, as long as its caller lives; with [Durable] it survives its caller too.
//
// A [Job] groups by key: map tasks, a shuffle through Redis, and reduce tasks, all on the workers. It needs nobody who waits for it.
//
//	var WordCount = mapreduce.New("wordcount", eachWord, addUp)
//
//	WordCount.Handle(worker)                         // on the workers
//	run, err := WordCount.Submit(ctx, client, texts) // anywhere
//	for pair, err := range run.Results(ctx) { ... }  // keys in order
package mapreduce
