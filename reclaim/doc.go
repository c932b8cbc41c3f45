// Package reclaim finds the work of dead workers and takes it over, and keeps the dead letters of a queue.
//
//	r, err := reclaim.New(store, "web", worker, reclaim.Config{})
//	found, err := r.Look(ctx)                 // who is dead, and how much waits
//	entries, err := r.Take(ctx, 100)          // now pending with this worker
//	entries, err = r.Audit(ctx, 100)          // what nobody has pending any more
//	for letter, err := range reclaim.List(ctx, store, "web") { ... }
//
// A worker is dead when its lease ran out, or when it lost the channel it keeps subscribed while others kept theirs. Being
// wrong about it costs a second execution, never a second outcome: the first commit of an entry wins.
package reclaim
