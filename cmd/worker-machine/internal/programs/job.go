package programs

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// Names of jobs. That of programs which workers know carries their fingerprint; that of signed ones does not.
const (
	namePrefix = "programs-"
	SignedName = namePrefix + "signed"
)

// Name is the name of the job of these programs.
func (s Spec) Name() string { return namePrefix + s.Fingerprint() }

// Job is a map/reduce job of programs: keys, and what follows them in a line, tab included.
type Job = mapreduce.Job[Split, string, []byte, []byte]

// RunHeader names the header of a task with the ID of its run.
const RunHeader = "run"

// Finder finds the programs for the task of a handler's context; split is nil in a reduce task.
type Finder func(ctx context.Context, split *Split) (*Set, error)

// NewJob makes a job. find may be nil where no worker is. Whoever asks for programs to be killed ends quit: their tasks go to other
// workers then, at no cost of an attempt.
func NewJob(name, queue string, find Finder, quit context.Context) *Job {
	watched := func(ctx context.Context, run func(ctx context.Context) error) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(quit, func() { cancel(group.ErrDrain) })()
		if err := run(ctx); err != nil {
			if quit.Err() != nil {
				return group.Snooze(0)
			}
			return err
		}
		return nil
	}
	job := mapreduce.New[Split, string, []byte, []byte](name, func(ctx context.Context, split Split, emit func(string, []byte)) error {
		set, err := find(ctx, &split)
		if err != nil {
			return err
		}
		return watched(ctx, func(ctx context.Context) error {
			return set.runMap(ctx, metaOf(ctx), split, func(key, rest []byte) error {
				emit(string(key), rest)
				return nil
			})
		})
	}, nil)
	job.ReducePartition = func(ctx context.Context, groups iter.Seq2[string, iter.Seq[[]byte]], emit func(string, []byte)) error {
		set, err := find(ctx, nil)
		if err != nil {
			return err
		}
		return watched(ctx, func(ctx context.Context) error {
			return set.runReduce(ctx, metaOf(ctx), groups, func(key, rest []byte) error {
				emit(string(key), rest)
				return nil
			})
		})
	}
	job.Queue, job.InCodec, job.ValueCodec, job.OutCodec = queue, Codec, stream.Raw, stream.Raw
	job.Split = 1 // a Split is one already
	return job
}

// metaOf is what the programs of a task are told about it.
func metaOf(ctx context.Context) execute.Meta {
	m := group.Meta(ctx)
	return execute.Meta{TaskID: m.ID, Function: m.Function, Queue: m.Queue, Attempt: m.Attempt, MaxAttempts: m.MaxAttempts, Headers: m.Headers}
}

// Known finds one set for all tasks.
func Known(set *Set) Finder {
	return func(context.Context, *Split) (*Set, error) { return set, nil }
}

// trusted keeps the sets of runs that were checked.
type trusted struct {
	secret *Secret
	store  *stream.Store
	make   func(Spec) (*Set, error)

	mu   sync.Mutex
	sets map[string]*checked // by run
}

// checked is what came of a run.
type checked struct {
	set  *Set
	err  error
	when time.Time
}

const (
	keptRuns   = 100
	recheckErr = 10 * time.Second // after which a program that was missing is looked for again
)

// Signed finds the programs in the description of the task's run, when it is signed with secret, and makes sets of them with make.
// What is unsigned is dropped: no other attempt would help.
func Signed(store *stream.Store, secret *Secret, make func(Spec) (*Set, error)) Finder {
	t := &trusted{secret: secret, store: store, make: make, sets: map[string]*checked{}}
	return func(ctx context.Context, split *Split) (*Set, error) {
		run := group.Meta(ctx).Headers[RunHeader]
		if split != nil {
			if err := secret.CheckSplit(run, *split); err != nil {
				return nil, group.Drop(err)
			}
		}
		return t.find(ctx, run)
	}
}

func (t *trusted) find(ctx context.Context, run string) (*Set, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.sets[run]; c != nil && (c.err == nil || time.Since(c.when) < recheckErr) {
		return c.set, c.err
	}
	info, err := mapreduce.FindRun(ctx, t.store, run)
	if err != nil {
		return nil, err // Redis is away, or the run has gone: the next attempt will tell
	}
	d, ok := ParseDescription(info.Note)
	c := &checked{when: time.Now()}
	if err := t.secret.Check(info.Job, run, d); err != nil {
		c.err = group.Drop(err)
	} else if !ok {
		c.err = group.Drop(fmt.Errorf("the description of run %s names no programs", run))
	} else {
		c.set, c.err = t.make(d.Spec)
	}
	if len(t.sets) >= keptRuns {
		clear(t.sets)
	}
	t.sets[run] = c
	return c.set, c.err
}
