package simulation

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// What outlives the process that began it: durable batches, and runs of jobs.

// lasting is a durable batch or a run.
type lasting struct {
	run    bool
	at     time.Duration
	orders []order
	ends   time.Duration // after which its owner is killed or frozen, from when it began
	frozen bool
	next   time.Duration // after which the next owner comes, from the end of the first
	split  int
}

func (p *plan) drawLasting(rng *rand.Rand, add func(way) order) {
	for range max(rng.IntN(5)-2, 0) {
		l := lasting{
			run: rng.IntN(2) == 0, at: below(rng, p.lasts), ends: spread(rng, time.Millisecond, 2*time.Second),
			frozen: rng.IntN(3) == 0, next: spread(rng, time.Millisecond, 2*time.Second), split: 1 + rng.IntN(4),
		}
		l.run = l.run && !p.lossy // a run is lost with the data
		for range 1 + rng.IntN(20) {
			l.orders = append(l.orders, add(lasts))
		}
		p.lasting = append(p.lasting, l)
	}
}

// folded is the accumulator of a durable batch.
type folded struct {
	Sum  int   `json:"sum"`
	Seen []int `json:"seen"` // numbers, as they came
}

// last runs a durable batch or a run: by one owner, and by another one when something has happened to that.
func (w *world) last(ctx context.Context, l *lasting, number int) {
	<-time.After(l.at)
	act := func(ctx context.Context, c *stream.Client) error {
		return w.fold(ctx, c, l, fmt.Sprintf("batch-%d", number))
	}
	if l.run {
		id := stream.NewID()
		act = func(ctx context.Context, c *stream.Client) error { return w.reduce(ctx, c, l, id) }
	}
	for i := range l.orders {
		w.ledger.ordered(&l.orders[i])
	}
	first := make(chan error, 1)
	owner, client, err := w.open(fmt.Sprintf("owner %d", number))
	if err != nil {
		w.complain("%v", err)
		return
	}
	own, stop := context.WithCancel(ctx)
	owner.stop = stop
	go func() {
		first <- act(own, client)
		_ = client.Close(own) // of a process that may be dead
		owner.close()
	}()
	select {
	case err = <-first:
		w.finished(err, "the first owner")
		return
	case <-time.After(l.ends):
	}
	if l.frozen {
		w.tell("%s is frozen", owner.name)
		owner.stall(4 * w.plan.lease)
	} else {
		w.tell("%s is killed", owner.name)
		owner.kill()
	}
	<-time.After(l.next)
	next := w.succeed(ctx, act, number)
	if !l.frozen && isOther(next) { // the claim of the dead one has come late, and nobody can tell it from one that lives
		next = w.succeed(ctx, act, number)
	}
	err = <-first
	switch {
	case !l.frozen:
		w.finished(next, "the next owner")
	case err == nil && isOther(next), next == nil && isOther(err), err == nil && next == nil: // the last to claim is to end it
	default:
		w.finished(errors.Join(err, next), "a frozen owner, or the next one,")
	}
}

// succeed is the second owner.
func (w *world) succeed(ctx context.Context, act func(context.Context, *stream.Client) error, number int) error {
	p, client, err := w.open(fmt.Sprintf("next owner %d", number))
	if err == nil {
		err = act(ctx, client)
	}
	_ = client.Close(ctx) // what it could not remove expires
	p.close()
	return err
}

// isOther tells whether an owner has ended because another one did what was to be done.
func isOther(err error) bool {
	return errors.Is(err, mapreduce.ErrTakenOver) || errors.Is(err, mapreduce.ErrNoRun)
}

func (w *world) finished(err error, who string) {
	if err != nil {
		w.complain("%s of what lasts has ended with %v", who, err)
	}
}

// fold is a durable batch: each input is folded once.
func (w *world) fold(ctx context.Context, c *stream.Client, l *lasting, name string) error {
	batch := mapreduce.Map(ctx, c, work, slices.Values(l.orders), mapreduce.Durable(name, mapreduce.CheckpointEvery(100*time.Millisecond)), mapreduce.Window(4))
	got, err := mapreduce.Reduce(ctx, batch, folded{}, func(acc folded, r mapreduce.Result[order, int]) (folded, error) {
		if wrong := r.Input.right(r.Value, r.Err); wrong != "" {
			w.complain("task %d of batch %s %s", r.Input.N, name, wrong)
		}
		return folded{Sum: acc.Sum + r.Value, Seen: append(slices.Clone(acc.Seen), r.Input.N)}, nil
	})
	if err != nil {
		return err
	}
	want := folded{}
	for _, o := range l.orders {
		want.Seen = append(want.Seen, o.N)
		if !o.Drops {
			want.Sum += o.value()
		}
	}
	slices.Sort(got.Seen)
	if got.Sum != want.Sum || !slices.Equal(got.Seen, want.Seen) {
		w.complain("batch %s has folded %+v, want %+v", name, got, want)
	}
	return nil
}

// runs is the queue of runs.
const runs = "runs"

// remainder is a job: the sum of the numbers, by what is left of them when they are divided by three.
func (w *world) remainder(split int) *mapreduce.Job[order, int, int, int] {
	sum := func(_ context.Context, _ int, values iter.Seq[int]) (sum int, err error) {
		for v := range values {
			sum += v
		}
		return sum, nil
	}
	job := mapreduce.New("remainder", func(ctx context.Context, o order, emit func(int, int)) error {
		select {
		case <-time.After(o.Takes):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		emit(o.N%3, o.N)
		return nil
	}, sum)
	job.Queue, job.Partitions, job.Split, job.Combine = runs, 2, split, sum
	return job
}

// reduce is a run: its results are those of the same job without any of this.
func (w *world) reduce(ctx context.Context, c *stream.Client, l *lasting, id string) error {
	job := w.remainder(l.split)
	want, err := job.RunLocal(ctx, slices.Values(l.orders))
	if err != nil {
		return err
	}
	run, err := job.Submit(ctx, c, slices.Values(l.orders), mapreduce.RunID(id))
	if err != nil {
		return err
	}
	if err = run.Wait(ctx); err != nil {
		return err
	}
	var got []mapreduce.Pair[int, int]
	for pair, err := range run.Results(ctx) {
		if err != nil {
			return err
		}
		got = append(got, pair)
	}
	if !slices.Equal(got, want) {
		w.complain("a run has the results %v, want %v", got, want)
	}
	return nil
}
