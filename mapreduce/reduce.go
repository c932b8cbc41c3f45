package mapreduce

import (
	"context"
	"fmt"
)

// Reduce ranges over the results of batch, in the order the batch hands them out, and folds them into one value: it starts with
// init and calls fold with what it has and the next result. It holds one result at a time, so it suits endless inputs.
//
// An input that failed is handed to fold too, as r.Err: fold decides whether to skip it or to return the error. The first error of
// fold stops the batch (what has not started is cancelled) and is returned, wrapped. Otherwise Reduce returns [Batch.Err]: nil
// when every input was folded. Either way the first return value is what was folded so far.
//
// With [Durable] what was folded is saved now and then, and a later run goes on from there: see there.
//
// The batch ends when ctx or the context of [Map] is done, whichever comes first. fold is never called concurrently.
func Reduce[In, Out, Acc any](
	ctx context.Context, batch *Batch[In, Out], init Acc, fold func(acc Acc, r Result[In, Out]) (Acc, error),
) (Acc, error) {
	acc := init
	var failure error
	step := func(r Result[In, Out]) bool {
		next, err := fold(acc, r)
		if err != nil {
			failure = fmt.Errorf("mapreduce: fold result %d: %w", r.Index, err)
			return false
		}
		acc = next
		return true
	}
	if d := batch.durable; d == nil {
		batch.run(ctx, nil, step)
	} else {
		batch.run(ctx, accumulate(&acc), func(r Result[In, Out]) bool {
			return d.folding(r.Index, r.Err != nil, func() bool { return step(r) })
		})
	}
	if failure != nil {
		return acc, failure
	}
	return acc, batch.Err()
}
