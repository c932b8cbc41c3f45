package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func instructionsRow() row {
	r := row{name: "instructions", run: instructions, only: []string{floorName, oursName}, rounds: 3, serves: true, varies: []string{"run"}, metrics: []metric{
		{"lone", "Redis instructions per task, enqueue alone", true},
		{"batch", "Redis instructions per task, enqueue by 1,000", true},
		{"run", "Redis instructions per task, read and commit, by a worker", true},
	}}
	for _, s := range sequences() {
		r.metrics = append(r.metrics, metric{s.key, s.title, true})
	}
	return r
}

// instructions counts what redis-server executes for a task, under callgrind: a figure that does not depend on the machine. Each
// count is the difference of two runs of a fixed number of tasks, so that start and end do not count.
func instructions(ctx context.Context, b *bench) error {
	if _, err := exec.LookPath("valgrind"); err != nil {
		return errors.New("valgrind is not installed")
	}
	const few, many, lone = 2000, 6000, 500
	var err error
	if b.values["lone"], err = b.difference(ctx, "lone", lone, 3*lone, b.enqueueAlone); err != nil {
		return err
	}
	if b.values["batch"], err = b.difference(ctx, "batch", few, many, b.enqueueMany); err != nil {
		return err
	}
	both, err := b.difference(ctx, "run", few, many, b.enqueueAndRun)
	if err != nil {
		return err
	}
	b.values["run"] = both - b.values["batch"]
	for _, s := range sequences() {
		if err := b.measureSequence(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// difference is what each task costs that many have more than few.
func (b *bench) difference(ctx context.Context, name string, few, many int, do func(n int) func(context.Context) error) (float64, error) {
	var totals [2]float64
	for i, n := range []int{few, many} {
		total, err := b.callgrind(ctx, name, do(n))
		if err != nil {
			return 0, err
		}
		totals[i] = total
	}
	return (totals[1] - totals[0]) / float64(many-few), nil
}

func (b *bench) enqueueAlone(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := b.produce(ctx, job{Action: "rate", Callers: 1, Tasks: n, Size: smallTask})
		return err
	}
}

func (b *bench) enqueueMany(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := b.produce(ctx, job{Action: "fill", Tasks: n, Size: smallTask, Batch: fillBatch})
		return err
	}
}

func (b *bench) enqueueAndRun(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := b.enqueueMany(n)(ctx); err != nil {
			return err
		}
		// With one CPU and few handlers commits come in nearly the same order each time, and what they cost depends on it.
		w, err := b.worker(ctx, job{CPUs: 1, Tasks: n, Poll: 50 * time.Millisecond, Work: workOptions{Concurrency: 10}})
		if err != nil {
			return err
		}
		r, err := w.await(ctx, "done")
		b.check(int64(n), r.Count, r.Twice)
		return err
	}
}

// callgrind counts the instructions of a server from its start to its end while something is done.
func (b *bench) callgrind(ctx context.Context, name string, do func(context.Context) error) (float64, error) {
	dir, err := os.MkdirTemp("", "wmbench")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "callgrind.out")
	if b.profiles != "" { // the last one stays, for callgrind_annotate
		file = filepath.Join(b.profiles, fmt.Sprintf("%s-%s-%s.callgrind", b.row, b.system.name, name))
	}
	// jemalloc, as Debian or as Redis builds it, gives pages back as time passes: more of them on a machine that has other work.
	const keep = "MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1"
	b.server, err = startRedis(ctx, place{dir: dir, unix: true}, 1, "env", keep, "JE_"+keep, "valgrind", "--tool=callgrind", "--callgrind-out-file="+file, "--quiet")
	if err != nil {
		return 0, err
	}
	// Under callgrind commands are slow, and more so on a machine that has other work: the log of slow ones would count.
	err = b.server.redis.ConfigSet(ctx, "slowlog-log-slower-than", "-1").Err()
	if err == nil {
		err = do(ctx)
	}
	for _, p := range b.all {
		p.kill() // an orderly leave would count
	}
	b.all = nil
	b.server.stop()
	if err != nil {
		return 0, err
	}
	return readTotal(file)
}

// readTotal finds the sum in what callgrind has written.
func readTotal(path string) (float64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, name := range []string{"totals:", "summary:"} {
			if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
				return strconv.ParseFloat(strings.TrimSpace(rest), 64)
			}
		}
	}
	return 0, errors.Join(fmt.Errorf("no total in %s", path), lines.Err())
}
