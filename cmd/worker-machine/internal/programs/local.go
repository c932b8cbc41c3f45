package programs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/internal/shuffle"
)

// LocalConfig tunes a run in this process. The zero value is ready to use.
type LocalConfig struct {
	Partitions  int    // default 16
	Concurrency int    // programs at a time; default the CPUs
	Memory      int64  // bytes that lie between the programs, in all; what is more goes to temporary files. Default 512 MiB
	Dir         string // of the temporary files; default that of the system

	Mapped  func(done int)  // after each map task, one at a time; nil: skip
	Reduced func(done int)  // after each reduce task, likewise
	Mapping func(total int) // once the number of map tasks is known
}

const (
	defaultPartitions = 16
	defaultLocal      = 512 << 20
)

// RunLocal runs the programs on all splits in this process, without Redis, and hands each line of the result to out: the part of its
// key, and the rest with its tab; lines by key, those of equal keys by partition and then as they were printed. The first error
// ends it.
func (s *Set) RunLocal(ctx context.Context, splits iter.Seq2[Split, error], cfg LocalConfig, out func(key, rest []byte) error) (err error) {
	cfg.Partitions = cmp.Or(cfg.Partitions, defaultPartitions)
	cfg.Concurrency = cmp.Or(cfg.Concurrency, runtime.GOMAXPROCS(0))
	cfg.Memory = cmp.Or(cfg.Memory, defaultLocal)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l := &local{set: s, cfg: cfg, ctx: ctx, stop: stop}
	l.turn.L = &l.mu
	defer func() { err = errors.Join(err, l.close()) }()
	for range cfg.Partitions {
		l.mergers = append(l.mergers, shuffle.NewMerger(shuffle.MergerConfig{Memory: cfg.Memory / 2 / int64(cfg.Partitions), Dir: cfg.Dir}))
	}
	l.output = shuffle.NewMerger(shuffle.MergerConfig{Memory: cfg.Memory / 4, Dir: cfg.Dir})
	if err := l.mapAll(splits); err != nil {
		return err
	}
	if err := l.reduceAll(); err != nil {
		return err
	}
	for key, rests := range l.output.Groups() {
		for rest := range rests {
			if err := cmp.Or(ctx.Err(), out(key, rest)); err != nil {
				return err
			}
		}
	}
	return l.output.Err()
}

// local is one run of RunLocal.
type local struct {
	set     *Set
	cfg     LocalConfig
	ctx     context.Context
	stop    context.CancelCauseFunc
	mergers []*shuffle.Merger // by partition
	output  *shuffle.Merger

	mu    sync.Mutex
	turn  sync.Cond // next has changed, or the run is over
	next  int       // the task whose segments are taken: THE ORDER OF SPLITS IS THAT OF VALUES, whichever task is the first to end
	done  int
	early map[int][]shuffle.Segment // of tasks that ended before their turn
	held  int64                     // bytes of them
}

func (l *local) close() error {
	var errs []error
	for _, m := range l.mergers {
		errs = append(errs, m.Close())
	}
	if l.output != nil {
		errs = append(errs, l.output.Close())
	}
	return errors.Join(errs...)
}

// fail ends the run; the first cause counts.
func (l *local) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop(err)
	l.turn.Broadcast()
}

// mapAll runs all map tasks.
func (l *local) mapAll(splits iter.Seq2[Split, error]) error {
	type numbered struct {
		number int
		split  Split
	}
	tasks := make(chan numbered)
	var crew sync.WaitGroup
	for range l.cfg.Concurrency {
		crew.Go(func() {
			for task := range tasks {
				if err := l.mapOne(task.number, task.split); err != nil {
					l.fail(err)
				}
			}
		})
	}
	defer context.AfterFunc(l.ctx, func() { l.fail(nil) })() // wakes those who wait for their turn
	total := 0
	for split, err := range splits {
		if err != nil {
			l.fail(err)
			break
		}
		select {
		case tasks <- numbered{total, split}:
		case <-l.ctx.Done():
		}
		if l.ctx.Err() != nil {
			break
		}
		total++
	}
	close(tasks)
	if l.cfg.Mapping != nil {
		l.cfg.Mapping(total)
	}
	crew.Wait()
	return context.Cause(l.ctx)
}

func (l *local) mapOne(number int, split Split) error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	collector := shuffle.NewCollector(shuffle.CollectorConfig{
		Partitions: l.cfg.Partitions, Memory: max(l.cfg.Memory/4/int64(l.cfg.Concurrency), 1<<20),
		Spill: func(segments []shuffle.Segment) error { return l.take(number, segments) },
	})
	meta := localMeta("map", number)
	err := l.set.runMap(l.ctx, meta, split, collector.Add)
	if err == nil {
		err = collector.Close()
	}
	if err != nil {
		return fmt.Errorf("map task %d%s: %w", number, ofInput(split), err)
	}
	return l.end(number)
}

func ofInput(split Split) string {
	switch path := split.input(); {
	case path != "":
		return " (" + path + ")"
	case len(split.Parts) > 0:
		return fmt.Sprintf(" (%s and %d more)", split.Parts[0].Path, len(split.Parts)-1)
	}
	return ""
}

func localMeta(phase string, number int) execute.Meta {
	return execute.Meta{TaskID: "local-" + phase + "-" + strconv.Itoa(number), Function: phase, Queue: "local", Attempt: 1, MaxAttempts: 1}
}

// take takes segments of a task: at once when it is its turn, otherwise to be held, as long as that is not much.
func (l *local) take(number int, segments []shuffle.Segment) error {
	var size int64
	for _, segment := range segments {
		size += int64(len(segment.Data))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for number != l.next && l.held+size > l.cfg.Memory/4 && l.ctx.Err() == nil {
		l.turn.Wait()
	}
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	if number == l.next {
		return l.merge(segments)
	}
	if l.early == nil {
		l.early = map[int][]shuffle.Segment{}
	}
	l.early[number] = append(l.early[number], segments...)
	l.held += size
	return nil
}

func (l *local) merge(segments []shuffle.Segment) error {
	for _, segment := range segments {
		if err := l.mergers[segment.Partition].Add(segment.Data); err != nil {
			return err
		}
	}
	return nil
}

// over marks a task in early that has ended.
var over = shuffle.Segment{Partition: -1}

// end notes that a task has ended. When it is its turn, the next ones come.
func (l *local) end(number int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done++
	if l.cfg.Mapped != nil {
		l.cfg.Mapped(l.done)
	}
	if number != l.next {
		if l.early == nil {
			l.early = map[int][]shuffle.Segment{}
		}
		l.early[number] = append(l.early[number], over)
		return nil
	}
	for ended := true; ended; {
		l.next++
		segments := l.early[l.next]
		delete(l.early, l.next)
		if ended = len(segments) > 0 && segments[len(segments)-1].Partition == over.Partition; ended {
			segments = segments[:len(segments)-1]
		}
		for _, segment := range segments {
			l.held -= int64(len(segment.Data))
		}
		if err := l.merge(segments); err != nil {
			return err
		}
	}
	l.turn.Broadcast()
	return nil
}

// reduceAll runs all reduce tasks. Their output is taken in the order of the partitions.
func (l *local) reduceAll() error {
	var crew sync.WaitGroup
	var next atomic.Int64
	outputs := make([]chan []shuffle.Segment, l.cfg.Partitions)
	for p := range outputs {
		outputs[p] = make(chan []shuffle.Segment, 1)
	}
	for range min(l.cfg.Concurrency, l.cfg.Partitions) {
		crew.Go(func() {
			for p := next.Add(1) - 1; p < int64(l.cfg.Partitions); p = next.Add(1) - 1 {
				if err := l.reduceOne(int(p), outputs[p]); err != nil {
					l.fail(fmt.Errorf("reduce task %d: %w", p, err))
				}
				close(outputs[p])
			}
		})
	}
	for p, output := range outputs {
		for segments := range output {
			for _, segment := range segments {
				if err := l.output.Add(segment.Data); err != nil {
					l.fail(err)
				}
			}
		}
		if l.cfg.Reduced != nil {
			l.cfg.Reduced(p + 1)
		}
	}
	crew.Wait()
	return context.Cause(l.ctx)
}

func (l *local) reduceOne(partition int, output chan<- []shuffle.Segment) error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	merger := l.mergers[partition]
	collector := shuffle.NewCollector(shuffle.CollectorConfig{
		Memory: max(l.cfg.Memory/8/int64(l.cfg.Concurrency), 1<<20),
		Spill: func(segments []shuffle.Segment) error {
			select {
			case output <- segments:
				return nil
			case <-l.ctx.Done():
				return context.Cause(l.ctx)
			}
		},
	})
	groups := func(yield func(string, iter.Seq[[]byte]) bool) {
		for key, values := range merger.Groups() {
			if !yield(string(key), values) {
				return
			}
		}
	}
	err := l.set.runReduce(l.ctx, localMeta("reduce", partition), groups, collector.Add)
	if err = cmp.Or(merger.Err(), err); err != nil {
		return err
	}
	return errors.Join(collector.Close(), merger.Close())
}
