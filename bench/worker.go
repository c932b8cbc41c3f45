package main

import (
	"context"
	"errors"
	"math/bits"
	"sync/atomic"
	"time"
)

// tally counts the tasks that a worker runs, each by its number.
type tally struct {
	job   job
	voice *voice
	seen  []uint64 // a bit for each task
	ran   atomic.Int64
	twice atomic.Int64
	first atomic.Int64 // when the first handler started
	all   chan struct{}
}

func newTally(j job, v *voice) *tally {
	return &tally{job: j, voice: v, seen: make([]uint64, max(j.Tasks, 1<<16)/64+1), all: make(chan struct{})}
}

// handle is the handler of every task.
func (t *tally) handle(payload []byte) {
	if t.first.Load() == 0 {
		t.first.CompareAndSwap(0, time.Now().UnixNano())
	}
	index, at, ok := readPayload(payload)
	if t.job.Tell {
		now := time.Now().UnixNano()
		t.voice.say(report{Event: "start", At: now, Since: now - at, Index: index})
	}
	if t.job.Sleep > 0 {
		time.Sleep(t.job.Sleep)
		t.voice.say(report{Event: "end", At: time.Now().UnixNano(), Index: index})
	}
	word, bit := index/64, uint64(1)<<(index%64)
	if !ok || word >= uint64(len(t.seen)) || atomic.OrUint64(&t.seen[word], bit)&bit != 0 {
		t.twice.Add(1)
		return
	}
	if t.ran.Add(1) == int64(t.job.Tasks) {
		close(t.all)
	}
}

// count is how many different tasks ran.
func (t *tally) count() (n int64) {
	for i := range t.seen {
		n += int64(bits.OnesCount64(atomic.LoadUint64(&t.seen[i])))
	}
	return n
}

// work is the worker process.
func work(ctx context.Context, j job, v *voice, words <-chan string) error {
	s, err := systemNamed(j.System)
	if err != nil {
		return err
	}
	q, err := s.open(ctx, j.Address)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	t := newTally(j, v)
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	cpu := ownCPU()
	go func() { ended <- q.Work(running, j.Work, t.handle) }()
	v.say(report{Event: "ready"})
	for all := t.all; ; {
		select {
		case <-all:
			all = nil
			if err := drained(ctx, q, max(j.Poll, time.Millisecond)); err != nil {
				return err
			}
			now := time.Now().UnixNano()
			v.say(report{
				Event: "done", Count: t.count(), Twice: t.twice.Load(), CPU: ownCPU() - cpu,
				Seconds: time.Duration(now - t.first.Load()).Seconds(),
			})
		case word, ok := <-words:
			if ok && word == "cpu" {
				v.say(report{Event: "cpu", CPU: ownCPU()})
				continue
			}
			cancel()
			select {
			case err = <-ended:
			case <-time.After(leaveTime / 2):
				err = errors.New("the worker does not stop")
			}
			v.say(report{Event: "bye", Count: t.count(), Twice: t.twice.Load()})
			return err
		case err := <-ended:
			return errors.Join(errors.New("the worker ended by itself"), err)
		}
	}
}

// drained waits until the server has no task left.
func drained(ctx context.Context, q queue, poll time.Duration) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		left, err := q.Left(ctx)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
