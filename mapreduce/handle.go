package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/shuffle"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// Handle makes a worker run the map and reduce tasks of the job, and tend its runs. What is wrong with the job is returned by the
// worker's Run. A task holds up to twice Job.Memory, so a worker up to that times its Concurrency. All workers of the queue should handle the
// job: one that does not know it costs each task that it gets an attempt.
func (j *Job[In, K, V, Out]) Handle(w *group.Worker) {
	full, err := j.filled()
	if err != nil {
		w.Refuse(err)
		return
	}
	on := func(suffix string, handler func(ctx context.Context, payload []byte) error) {
		fn := stream.Func[[]byte, []byte]{Name: full.Name + suffix, Queue: full.Queue, Codec: stream.Raw}
		group.Handle(w, fn, func(ctx context.Context, payload []byte) ([]byte, error) { return nil, handler(ctx, payload) })
	}
	on(suffixMap, func(ctx context.Context, payload []byte) error {
		return execute(ctx, w, script.Maps, func(ctx context.Context, x *execution) error { return full.runMap(ctx, x, payload) })
	})
	on(suffixReduce, func(ctx context.Context, _ []byte) error {
		return execute(ctx, w, script.Reduces, full.runReduce)
	})
	on(suffixTend, func(ctx context.Context, _ []byte) error { return tend(ctx, w) })
}

// taskPatience is how long a task waits for Redis before it is put off.
const taskPatience = 5 * time.Second

// newExecution reads what the task of a handler's context is.
func newExecution(ctx context.Context, w *group.Worker, phase script.Phase) (*execution, error) {
	meta := group.Meta(ctx)
	id := meta.Headers[headerRun]
	probe := wire.Task{ID: id, Function: "f"}
	number, err := strconv.Atoi(meta.Headers[headerSplit])
	if err = errors.Join(probe.Check(), err); err != nil {
		return nil, group.Drop(fmt.Errorf("mapreduce: the headers %s and %s of a task name its run and its number: %w", headerRun, headerSplit, err))
	}
	first, _ := strconv.Atoi(meta.Headers[headerFirst]) // for messages only
	keys := w.Store().Keys(meta.Queue).Run(id)
	return &execution{
		Execution: script.Execution{
			Keys: keys, Phase: phase, Number: number, ID: stream.NewID(),
			Task: meta.ID, Entry: meta.Entry, Worker: w.Name(), Avoid: meta.Headers[headerCopy],
		},
		at: &place{store: w.Store(), keys: keys, within: taskPatience}, meta: meta, first: first, began: time.Now(),
	}, nil
}

// runMap is a map task.
func (j *Job[In, K, V, Out]) runMap(ctx context.Context, x *execution, payload []byte) error {
	job := *j
	job.Partitions = x.partitions // those of the run: a worker of another version of the job may have others
	_ = unpack(payload, func(int, []byte) error { x.inputs++; return nil })
	counts := make([]uint64, x.partitions)
	var pairs int64
	err := job.mapSplit(ctx, payload, x.first, func(segments []shuffle.Segment) error {
		parts := make([]script.Part, len(segments))
		for i, s := range segments {
			parts[i] = script.Part{Key: x.Keys.Shuffle(s.Partition), Field: segmentField(x.Number, x.ID, counts[s.Partition]), Data: s.Data}
			counts[s.Partition]++
			pairs += int64(s.Pairs)
		}
		if err := x.account(ctx, parts); err != nil {
			return err
		}
		return x.put(ctx, parts)
	})
	if err != nil {
		return err
	}
	return x.finish(ctx, appendCounts(nil, counts), pairs)
}

// runReduce is a reduce task.
func (j *Job[In, K, V, Out]) runReduce(ctx context.Context, x *execution) (err error) {
	job := *j
	winners, err := x.winners(ctx)
	if err != nil {
		return err
	}
	merger := shuffle.NewMerger(shuffle.MergerConfig{Memory: j.Memory})
	defer func() { err = errors.Join(err, merger.Close()) }()
	if err = x.gather(ctx, winners, merger); err != nil {
		return err
	}
	var counts []uint64
	var written uint64
	var results int64
	err = job.reduceAll(ctx, merger, func(fresh bool, pieces [][]byte, pairs int) error {
		if fresh {
			counts = append(counts, 0)
		}
		parts := make([]script.Part, len(pieces))
		for i, piece := range pieces {
			parts[i] = script.Part{Key: x.Keys.Out(x.Number), Field: pieceField(x.ID, written), Data: piece}
			written++
		}
		counts[len(counts)-1] += uint64(len(pieces))
		results += int64(pairs)
		return x.put(ctx, parts)
	})
	if err != nil {
		return err
	}
	return x.finish(ctx, appendCounts(nil, counts), results)
}
