// Package mapreduce calls a function for each of many inputs, on workers, and brings the results back to the caller.
//
//	batch := mapreduce.Map(ctx, client, GetTitle, slices.Values(sites), mapreduce.Window(100))
//	for r := range batch.Results() {
//		fmt.Println(r.Input, r.Value, r.Err)
//	}
//	if err := batch.Err(); err != nil { ... }
//
// [Reduce] folds the results into one value instead of ranging over them. A batch survives the loss of workers, connections and
// of everything in Redis, as long as its caller lives.
package mapreduce
