package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// lab runs rows. Each run has a server, a directory and processes of its own, and leaves none of them.
type lab struct {
	scale    float64       // of the numbers of tasks
	window   time.Duration // how long a rate is measured
	timeout  time.Duration // of one run
	unix     bool          // reach Redis through a socket, not through TCP
	slow     bool          // also what takes minutes
	progress io.Writer
	profiles string // where CPU profiles go, "" for none
}

// outcome is what one run of one row has measured.
type outcome struct {
	values  map[string]float64 // by key of the metric
	trouble []string           // tasks that were lost or ran twice, and the like
}

func newOutcome() *outcome { return &outcome{values: map[string]float64{}} }

func (o *outcome) complain(format string, args ...any) {
	o.trouble = append(o.trouble, fmt.Sprintf(format, args...))
}

// bench is one run of one row for one system.
type bench struct {
	*lab
	*outcome
	row    string
	system system
	server *server
	all    []*process
}

// run measures a row for a system once.
func (l *lab) run(ctx context.Context, r row, s system) (*outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	b := &bench{lab: l, outcome: newOutcome(), row: r.name, system: s}
	if r.serves {
		return b.outcome, r.run(ctx, b)
	}
	dir, err := os.MkdirTemp("", "wmbench")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if b.server, err = s.backend(ctx, place{dir: dir, unix: l.unix, aof: r.aof}); err != nil {
		return nil, err
	}
	defer b.server.stop()
	if s.prepare != nil {
		if err := s.prepare(ctx, b.server.address); err != nil {
			return nil, err
		}
	}
	defer b.stopAll()
	return b.outcome, errors.Join(r.run(ctx, b), b.keepStats(ctx))
}

// keepStats writes what Redis says of its commands beside the profiles.
func (b *bench) keepStats(ctx context.Context) error {
	if b.profiles == "" || b.server.redis == nil {
		return nil
	}
	text, err := b.server.redis.Info(ctx, "commandstats").Result()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.profiles, b.row+"-"+b.system.name+".commandstats"), []byte(text), 0o644)
}

// spawn starts a process that ends with the run.
func (b *bench) spawn(ctx context.Context, j job) (*process, error) {
	j.System, j.Address = b.system.name, b.server.address
	if b.profiles != "" {
		j.Profile = filepath.Join(b.profiles, fmt.Sprintf("%s-%s-%s-%s.pprof", b.row, j.System, j.Role, j.Action))
	}
	p, err := spawn(ctx, j)
	if err == nil {
		b.all = append(b.all, p)
	}
	return p, err
}

// worker starts a worker and waits until it reads.
func (b *bench) worker(ctx context.Context, j job) (*process, error) {
	j.Role = "work"
	p, err := b.spawn(ctx, j)
	if err != nil {
		return nil, err
	}
	_, err = p.await(ctx, "ready")
	return p, err
}

// produce runs a producer to its end.
func (b *bench) produce(ctx context.Context, j job) (report, error) {
	j.Role = "produce"
	p, err := b.spawn(ctx, j)
	if err != nil {
		return report{}, err
	}
	defer p.stop()
	return p.await(ctx, "done")
}

func (b *bench) stopAll() {
	var group sync.WaitGroup
	for _, p := range b.all {
		group.Go(p.stop)
	}
	group.Wait()
}

// tasks scales a number of tasks for the system.
func (b *bench) tasks(n int) int { return max(100, int(float64(n)*b.scale*b.system.scale)) }

// check complains unless all tasks ran exactly once.
func (b *bench) check(sent, ran, twice int64) {
	if ran != sent {
		b.complain("%d of %d tasks ran", ran, sent)
	}
	if twice != 0 {
		b.complain("%d tasks ran twice", twice)
	}
}

// gather waits for n events of a kind from any of some processes.
func gather(ctx context.Context, from []*process, event string, n int) ([]report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan report)
	failed := make(chan error, len(from))
	for _, p := range from {
		go func() {
			for {
				r, err := p.await(ctx, event)
				if err != nil {
					failed <- err
					return
				}
				select {
				case found <- r:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	all := make([]report, 0, n)
	for len(all) < n {
		select {
		case r := <-found:
			all = append(all, r)
		case err := <-failed:
			return all, err
		case <-ctx.Done():
			return all, errors.Join(fmt.Errorf("%d of %d tasks ran", len(all), n), ctx.Err())
		}
	}
	return all, nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
