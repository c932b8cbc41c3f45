package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/redisurl"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// completePatience is how long the shell waits for names from Redis: a person who pressed tab does not wait longer.
const completePatience = 700 * time.Millisecond

// completeQueues completes names of queues.
func (a *app) completeQueues(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.fromRedis(cmd, args, begun, func(ctx context.Context, look *inspect.Inspector) ([]string, error) {
		return look.Store().Queues(ctx)
	})
}

// completeQueue completes the name of one queue.
func (a *app) completeQueue(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeQueues(cmd, args, begun)
}

// completeWorkers completes names of workers of --queue, or of all queues.
func (a *app) completeWorkers(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.ofWorkers(cmd, args, begun, func(w *inspect.Worker) []string { return []string{w.Name} })
}

// completeFunctions completes the functions that workers of --queue run, or those of all queues.
func (a *app) completeFunctions(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.ofWorkers(cmd, args, begun, func(w *inspect.Worker) []string { return w.Functions })
}

// ofWorkers completes what the first page of workers of each queue has.
func (a *app) ofWorkers(cmd *cobra.Command, args []string, begun string, names func(*inspect.Worker) []string) ([]string, cobra.ShellCompDirective) {
	return a.fromRedis(cmd, args, begun, func(ctx context.Context, look *inspect.Inspector) (found []string, err error) {
		queues, err := flagQueues(ctx, cmd, look)
		for _, queue := range queues {
			page, err := look.Workers(ctx, queue, "")
			if err != nil {
				return nil, err
			}
			for i := range page.Workers {
				found = append(found, names(&page.Workers[i])...)
			}
		}
		return found, err
	})
}

// flagQueues is the queue of --queue, or a few of those there are.
func flagQueues(ctx context.Context, cmd *cobra.Command, look *inspect.Inspector) ([]string, error) {
	if flag := cmd.Flags().Lookup("queue"); flag != nil && flag.Changed && wire.CheckName("queue", flag.Value.String()) == nil {
		return []string{flag.Value.String()}, nil
	}
	const few = 10
	queues, err := allQueues(ctx, look.Store())
	return queues[:min(len(queues), few)], err
}

// fromRedis asks Redis for names. It is silent when there is no answer: a shell has nowhere to say so.
func (a *app) fromRedis(cmd *cobra.Command, args []string, begun string, ask func(context.Context, *inspect.Inspector) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	const nothingElse = cobra.ShellCompDirectiveNoFileComp
	target, err := a.target()
	if err != nil || wire.CheckPrefix(a.prefix) != nil {
		return nil, nothingElse
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	client := target.Client(func(t *redisurl.Tuning) {
		t.MaxRetries, t.DialAttempts, t.DialTimeout, t.ReadTimeout = -1, 1, completePatience, completePatience
	})
	defer client.Close()
	store, err := stream.NewStore(client, stream.Config{Prefix: a.prefix})
	if err != nil {
		return nil, nothingElse
	}
	defer store.Close()
	names, err := ask(ctx, inspect.New(store))
	if err != nil {
		return nil, nothingElse
	}
	// What is in Redis may be anything; the shell gets names only.
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, begun) || slices.Contains(args, name) || wire.CheckName("name", name) != nil
	})
	slices.Sort(names)
	return slices.Compact(names), nothingElse
}
