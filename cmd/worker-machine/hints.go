package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/census"
	"github.com/athoune/worker-machine/stream"
)

// hints tell a waiting person, once each, why there may be no result yet.
type hints struct {
	store    *stream.Store
	trouble  *trouble
	queue    string
	batch    bool  // it waits for room, where other commands end with an error
	maxQueue int64 // 0: no limit

	lonely, full bool  // told
	done         int64 // tasks, at the last look
}

const (
	hintPatience  = 2 * time.Second  // how long a command waits before it looks whether anybody works
	hintSeldom    = 30 * time.Second // the longest time between two looks
	returnOfCrew  = 5 * time.Second  // for workers to come back to a Redis that was away
	lookPatience  = time.Second      // of a look when the command is to end
	lonelyAdvice  = "no worker reads queue %[1]s yet; start one: worker-machine work --queue %[1]s --handle 'NAME=PROGRAM ARGS'"
	lonelyOutcome = "%w; no worker reads queue %s"
)

// startHints begins to look; the function it returns ends that.
func (a *app) startHints(ctx context.Context, h *hints) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait := hintPatience; !h.lonely || h.batch && !h.full; wait = min(2*wait, hintSeldom) {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			a.look(ctx, h)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// look tells what there is to tell. While Redis is away, or was so a moment ago, nobody knows who works.
func (a *app) look(ctx context.Context, h *hints) {
	if !h.trouble.calm(returnOfCrew) {
		return
	}
	queue, err := census.Count(ctx, h.store, h.queue)
	if err != nil || !h.trouble.calm(returnOfCrew) {
		return
	}
	if queue.Workers == 0 && !h.lonely {
		h.lonely = true
		a.note(lonelyAdvice, h.queue)
	}
	stuck := queue.Workers == 0 || queue.Counts["done"] == h.done // while tasks get done, a full queue is as it should be
	h.done = queue.Counts["done"]
	if h.batch && stuck && !h.full {
		a.lookForRoom(ctx, h, queue)
	}
}

// lookForRoom tells when a batch waits for room in the queue or in Redis.
func (a *app) lookForRoom(ctx context.Context, h *hints, queue census.Queue) {
	switch {
	case h.maxQueue > 0 && queue.Backlog+queue.Running+queue.Delayed >= h.maxQueue:
		h.full = true
		a.note("queue %s is full: it holds as many tasks as --max-queue %d allows; going on trying", h.queue, h.maxQueue)
	case memoryIsFull(ctx, h.store.Client()):
		h.full = true
		a.note("the memory of Redis is full (its maxmemory is reached): no task is stored until there is room; going on trying")
	}
}

// memoryIsFull tells whether a server refuses to store more. Of a cluster one of the nodes is asked.
func memoryIsFull(ctx context.Context, client redis.UniversalClient) bool {
	info, err := client.Info(ctx, "memory").Result()
	if err != nil {
		return false
	}
	limit, _ := strconv.ParseInt(inInfo(info, "maxmemory"), 10, 64)
	used, _ := strconv.ParseInt(inInfo(info, "used_memory"), 10, 64)
	return limit > 0 && used >= limit && inInfo(info, "maxmemory_policy") == "noeviction"
}

// withoutWorkers adds to the error of a command that waited in vain that nobody was there to work.
func withoutWorkers(ctx context.Context, store *stream.Store, queue string, cause error) error {
	if ctx.Err() != nil {
		return cause // ctrl-C
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	if n, err := census.Workers(ctx, store, queue); err == nil && n == 0 {
		return fmt.Errorf(lonelyOutcome, cause, queue)
	}
	return cause
}
