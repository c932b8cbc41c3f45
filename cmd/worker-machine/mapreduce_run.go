package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/census"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/programs"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

// launch is a run of programs on workers, as one command sees it.
type launch struct {
	app    *app
	target *connection
	client *stream.Client
	job    *programs.Job
	id     string
	note   programs.Description
	secret *programs.Secret
	queue  string
}

// shipSlack is what a split takes besides its lines.
const shipSlack = 1 << 20

// dial connects. The client allows payloads as large as splits may be.
func (a *app) dial(ctx context.Context) (*connection, *stream.Client, func(), error) {
	target, err := a.connectPatiently(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	client, err := stream.NewClient(target.store, stream.ClientConfig{MaxPayload: programs.MostShipped + shipSlack})
	if err != nil {
		target.Close()
		return nil, nil, nil, err
	}
	return target, client, func() {
		_ = client.Close(context.WithoutCancel(ctx))
		target.Close()
	}, nil
}

// reduceOnWorkers submits a run, and waits for it unless it is to go on alone.
func (a *app) reduceOnWorkers(ctx context.Context, f *reduceFlags, paths []string, out *sink) error {
	secret, err := a.secret(&f.programs)
	if err != nil {
		return err
	}
	splits, _, err := f.splits(a.stdin, paths)
	if err != nil {
		return err
	}
	target, client, hangUp, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	l := &launch{app: a, target: target, client: client, id: stream.NewID(), secret: secret, queue: f.queue}
	l.note = programs.Description{Spec: f.programs.spec, Split: int64(f.split), PerFile: f.perFile, Ship: f.ship}
	if !f.stdin() {
		l.note.Inputs = f.inputs
	}
	if l.queue == "" {
		l.queue = queueOf(l.note.Spec, secret)
	}
	l.note.Attempts, l.note.Timeout = f.maxAttempts, f.timeout
	l.newJob(ctx, jobName(l.note.Spec, secret), f.partitions)
	run, err := l.submit(ctx, splits, f.runOptions()...)
	if err != nil {
		return err
	}
	if f.detach {
		if a.json {
			return a.printJSON(map[string]string{"run": l.id, "job": l.job.Name, "queue": l.queue})
		}
		return a.printf("%s\n", l.id)
	}
	if err := out.split(f.partitions); err != nil {
		return err
	}
	return l.await(ctx, run, f.progress, out)
}

func (f *reduceFlags) runOptions() []mapreduce.RunOption {
	options := []mapreduce.RunOption{mapreduce.Tolerate(f.tolerate)}
	if f.within > 0 {
		options = append(options, mapreduce.Within(f.within))
	}
	if f.limit > 0 {
		options = append(options, mapreduce.Limit(int64(f.limit)))
	}
	return options
}

// newJob makes the job, which runs no program here.
func (l *launch) newJob(ctx context.Context, name string, partitions int) {
	l.job = programs.NewJob(name, l.queue, nil, ctx)
	l.job.Partitions, l.job.MaxAttempts, l.job.Timeout = partitions, l.note.Attempts, l.note.Timeout
}

// inputError ends a Submit from within its inputs: returning from them would say that they are all.
type inputError struct{ cause error }

// submit stores the run. What was stored of one that was interrupted stays when its inputs can be read again.
func (l *launch) submit(ctx context.Context, splits iter.Seq2[programs.Split, error], options ...mapreduce.RunOption) (run *mapreduce.Run[string, []byte], err error) {
	if l.secret != nil {
		l.secret.Sign(l.job.Name, l.id, &l.note)
	}
	options = append(options, mapreduce.RunID(l.id), mapreduce.Note(l.note.Text()))
	n := 0
	defer func() {
		if value := recover(); value != nil {
			bad, ok := value.(inputError)
			if !ok {
				panic(value)
			}
			err = bad.cause
		}
		if err != nil {
			err = l.interrupted(ctx, err)
			return
		}
		l.app.note("run %s: %d map tasks, %d reduce tasks, on queue %s", l.id, n, l.job.Partitions, l.queue)
	}()
	run, err = l.job.Submit(ctx, l.client, func(yield func(programs.Split) bool) {
		for split, err := range splits {
			if err == nil && l.secret != nil {
				err = l.secret.SignSplit(l.id, &split)
			}
			if err != nil {
				panic(inputError{err})
			}
			if n++; !yield(split) {
				return
			}
		}
	}, options...)
	return run, err
}

// leavePatience is what cancelling a run may take that nobody can go on with.
const leavePatience = 3 * time.Second

// interrupted says what becomes of a run whose inputs are not all stored.
func (l *launch) interrupted(ctx context.Context, cause error) error {
	err := advise(taskText(cause))
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if len(l.note.Inputs) > 0 && (ctx.Err() != nil || errors.Is(cause, stream.ErrUnavailable) || errors.Is(cause, stream.ErrQueueFull)) {
		return fmt.Errorf("%w.\nNot all inputs of run %s are stored; go on with: worker-machine runs resume %[2]s", err, l.id)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leavePatience)
	defer cancel()
	if gone := mapreduce.CancelRun(ctx, l.target.store, l.id); gone != nil && !errors.Is(gone, mapreduce.ErrNoRun) {
		return fmt.Errorf("%w.\nRun %s could not be cancelled: worker-machine runs cancel %[2]s", err, l.id)
	}
	return err
}

const lookEvery = 200 * time.Millisecond

// await shows how far a run is, and prints its results.
func (l *launch) await(ctx context.Context, run *mapreduce.Run[string, []byte], progress string, out *sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watcher{launch: l, run: run, bars: l.app.newPhases(progress), giveUp: cancel}
	stop := w.start(ctx)
	defer stop()
	began := time.Now()
	for result, err := range run.Results(ctx) {
		stop()
		if err != nil {
			return l.failed(ctx, err)
		}
		if err := out.line([]byte(result.Key), result.Value); err != nil {
			return fmt.Errorf("%w.\nThe result is still there: worker-machine runs resume %s", err, l.id)
		}
	}
	stop()
	if err := out.finish(); err != nil {
		return err
	}
	p := w.last
	l.app.note("%d map tasks, %d reduce tasks, %d of them failed, %d lines in %v",
		p.Maps, p.Reduces, p.Failed, out.lines, max(p.Elapsed, time.Since(began)).Round(time.Millisecond))
	return nil
}

// failed says what became of a run whose results did not come.
func (l *launch) failed(ctx context.Context, err error) error {
	if stray := new(strayError); errors.As(context.Cause(ctx), &stray) {
		err = stray
	} else if ctx.Err() != nil {
		return fmt.Errorf("%w.\nRun %s goes on; come back with: worker-machine runs resume %[2]s, or end it with: worker-machine runs cancel %[2]s", context.Cause(ctx), l.id)
	}
	text := taskText(err)
	switch {
	case errors.Is(err, mapreduce.ErrTooMuchData):
		return fmt.Errorf("%w.\nLess is sent with --combine; or allow more with --limit", text)
	case isAny(err.Error(), wire.ReasonUnknown):
		return fmt.Errorf("%w.\nA worker of queue %s does not have the programs; all of its workers should be: %s\n"+
			"Then either: worker-machine dead replay --queue %[2]s --all; worker-machine runs resume %[4]s\n"+
			"or end it:   worker-machine runs cancel %[4]s", text, l.queue, l.app.workCommandFor(l.note.Spec, l.secret, l.queue), l.id)
	}
	return text
}

// watcher shows how far a run is, until its results come.
type watcher struct {
	*launch
	run  *mapreduce.Run[string, []byte]
	bars *phases
	last mapreduce.RunProgress

	lonely bool // told
	giveUp context.CancelCauseFunc
}

// strayError says that tasks of the run went to a worker that does not have their programs. Whoever was to notice that may be one of them.
type strayError struct{ letter reclaim.DeadLetter }

// Error tells of the dead letter.
func (e *strayError) Error() string {
	return fmt.Sprintf("task %s of the run is a dead letter: %s: %s", e.letter.TaskID, e.letter.Reason, e.letter.Error)
}

// start begins to look; the function it returns ends that, and may be called again.
func (w *watcher) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.watch(ctx)
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
		w.bars.finish()
	})
}

func (w *watcher) watch(ctx context.Context) {
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	next, wait := time.Now().Add(hintPatience), hintPatience
	for {
		if p, err := w.run.Progress(ctx); err == nil {
			w.last = p
			w.show(p)
		}
		if time.Now().After(next) {
			w.hint(ctx)
			wait = min(2*wait, hintSeldom)
			next = time.Now().Add(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

func (w *watcher) show(p mapreduce.RunProgress) {
	switch p.State {
	case mapreduce.RunOpen:
		w.bars.show("map", p.MapsDone, -1)
	case mapreduce.RunMapping:
		w.bars.show("map", p.MapsDone, p.Maps)
	default:
		w.bars.show("reduce", p.ReducesDone, p.Reduces)
	}
}

// hint tells once how to start a worker when there is none, and gives up when those there are have other programs.
func (w *watcher) hint(ctx context.Context) {
	if !w.target.trouble.calm(returnOfCrew) {
		return
	}
	switch n, err := census.Workers(ctx, w.target.store, w.queue); {
	case err != nil:
	case n > 0:
		w.seekStray(ctx)
	case !w.lonely:
		w.lonely = true
		w.bars.hide()
		w.app.note("no worker has the programs of this run yet; start one: %s", w.app.workCommandFor(w.note.Spec, w.secret, w.queue))
	}
}

const strayLetters = 100 // dead letters that are looked at

func (w *watcher) seekStray(ctx context.Context) {
	n := 0
	for letter, err := range reclaim.List(ctx, w.target.store, w.queue, reclaim.NewestFirst()) {
		if n++; err != nil || n > strayLetters {
			return
		}
		if letter.Reason == wire.ReasonUnknown && letter.Headers[programs.RunHeader] == w.id {
			w.giveUp(&strayError{letter})
			return
		}
	}
}
