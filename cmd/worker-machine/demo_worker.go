package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/site"
	"github.com/athoune/worker-machine/group"
)

// demoDrain is short: what runs is a page that takes its time, and nobody waits for it any more.
const demoDrain = 100 * time.Millisecond

func (a *app) demoWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    demoWorkerCmd,
		Short:  "A worker process of the demo; it ends with its stdin",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return a.demoWorker(cmd.Context()) },
	}
}

// errOrphaned is the cause of a worker's end when the demo closed its stdin, or died.
var errOrphaned = errors.New("the demo is over")

func (a *app) demoWorker(ctx context.Context) error {
	target, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		_, _ = io.Copy(io.Discard, a.stdin)
		cancel(errOrphaned)
	}()
	queues := []group.Queue{{Name: demoQueue}}
	worker, err := group.NewWorker(target.store, group.Config{Queues: queues, Concurrency: 1, Drain: demoDrain})
	if err != nil {
		return err
	}
	group.Handle(worker, getTitle(demoQueue), site.Title)
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		if awaitLease(ctx, target.store, queues, worker.Name()) == nil {
			_ = a.printf("%s\n", readyLine)
		}
	}()
	err = worker.Run(ctx)
	cancel(nil)
	<-ready
	return err
}
