package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/stream"
)

// runSpec is what a child process is to do for a map/reduce run.
type runSpec struct {
	Seed   uint64        // of a random job, unless Root is set
	Root   string        // of the files whose words are counted
	Split  int           // of that job
	Slow   time.Duration // pause before an input is submitted, and before a file or some hundred words are counted
	ID     string        // of the run
	Faults []fault
}

// job is the one that the processes of a test share.
func (r *runSpec) job(slow bool) runnable {
	if r.Root != "" {
		return wordsIn(r.Root, r.Split, r.Slow)
	}
	return stormJob(r.Seed, slow)
}

// openRun is the beginning of a role that has to do with a run.
func openRun() (s spec, store *stream.Store, report func(format string, args ...any), err error) {
	if err = json.Unmarshal([]byte(os.Getenv(specVariable)), &s); err != nil {
		return s, nil, nil, fmt.Errorf("%s: %w", specVariable, err)
	}
	report = reporter()
	trouble, err := newSaboteur(s.Run.Faults, report)
	if err != nil {
		return s, nil, nil, err
	}
	client := redis.NewClient(&redis.Options{Network: s.Network, Addr: s.Addr, Dialer: trouble.dial})
	store, err = stream.NewStore(client, stream.Config{})
	return s, store, report, err
}

// playRunWorker is a worker process for one job.
func playRunWorker() error {
	s, store, report, err := openRun()
	if err != nil {
		return err
	}
	defer store.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // the main of a process
	defer stop()
	go followInput(make(chan struct{}), stop)
	worker, err := newWorker(s, store, report)
	if err != nil {
		return err
	}
	s.Run.job(true).Handle(worker)
	report("name %s 0 0", worker.Name())
	return worker.Run(ctx)
}

// playRunSubmitter submits a run, tells that all is stored, and waits to be killed.
func playRunSubmitter() error {
	s, store, report, err := openRun()
	if err != nil {
		return err
	}
	client, err := stream.NewClient(store, stream.ClientConfig{})
	if err != nil {
		return err
	}
	ctx := context.Background() //nolint:forbidigo // the main of a process
	if err = s.Run.job(false).submit(ctx, client, s.Run.ID, s.Run.Slow); err != nil {
		fmt.Fprintln(os.Stderr, "submitter:", err)
		report("failed - 0 0")
		return err
	}
	report("stored - 0 0")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}
