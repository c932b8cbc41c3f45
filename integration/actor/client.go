package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/integration/internal/history"
	"github.com/athoune/worker-machine/integration/internal/role"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// What a client does at once and for how long at most.
const (
	atOnce   = 100              // orders under way
	retryFor = 10 * time.Minute // a client goes on trying for longer than any fault lasts
	keepFor  = time.Hour        // outcomes
	mostLate = 3 * time.Second  // of delayed tasks
)

// customer is a client that orders.
type customer struct {
	*actor
	client *stream.Client
	random *rand.Rand
	next   int64
	slots  chan struct{}
	under  sync.WaitGroup
}

func (a *actor) order() error {
	ctx, calm, stop := role.Signals()
	defer stop()
	client, err := stream.NewClient(a.store, stream.ClientConfig{
		RetryFor: retryFor, ReplyTTL: a.ReplyTTL, OnLoss: func(string) { a.history.Write(history.Record{Kind: history.Gone}) },
	})
	if err != nil {
		return err
	}
	c := &customer{
		actor: a, client: client, next: a.First, slots: make(chan struct{}, atOnce),
		random: rand.New(rand.NewPCG(a.Seed, uint64(a.First))), //nolint:gosec // a test that can be run again
	}
	c.shop(ctx, calm)
	c.under.Wait()
	err = client.Close(ctx)
	if ctx.Err() == nil {
		a.history.Write(history.Record{Kind: history.Settled})
	}
	return err
}

// shop orders until it is told that all is calm, or has no numbers left.
func (c *customer) shop(ctx context.Context, calm <-chan struct{}) {
	for c.next+int64(c.Widest) < c.First+c.Most {
		select {
		case <-calm:
			return
		case <-ctx.Done():
			return
		case c.slots <- struct{}{}:
		}
		c.place(ctx, c.Ways[c.random.IntN(len(c.Ways))])
		if pause(ctx, c.Every) != nil {
			return
		}
	}
	select {
	case <-calm:
	case <-ctx.Done():
	}
}

// place makes one order on a goroutine of its own.
func (c *customer) place(ctx context.Context, way history.Way) {
	numbers := int64(1)
	if way == history.Map || way == history.Ordered {
		numbers = 1 + c.random.Int64N(int64(c.Widest))
	}
	first := c.next
	c.next += numbers
	dice := c.random.IntN(100)
	c.under.Go(func() {
		defer func() { <-c.slots }()
		switch way {
		case history.Call:
			c.call(ctx, first)
		case history.Map, history.Ordered:
			c.mapAll(ctx, way, first, numbers, dice)
		case history.Run:
			c.run(ctx, first)
		case history.Forget, history.Kept, history.Delayed:
			c.enqueue(ctx, way, first, dice)
		}
	})
}

func (c *customer) enqueue(ctx context.Context, way history.Way, n int64, dice int) {
	record := history.Record{Kind: history.Order, Number: n, Way: way, Function: mixed.Name}
	var options []stream.Option
	switch way {
	case history.Kept:
		options = append(options, stream.Keep(keepFor))
	case history.Delayed:
		after := time.Duration(dice) * mostLate / 100
		record.Due = time.Now().Add(after).UnixNano()
		options = append(options, stream.Keep(keepFor), stream.After(after))
	default: // nobody waits
	}
	c.history.Write(record)
	id, err := mixed.Enqueue(ctx, c.client, n, options...)
	switch {
	case err == nil:
		c.history.Write(history.Record{Kind: history.Stored, Number: n, Task: id, Way: way})
	case errors.Is(err, stream.ErrQueueFull), errors.Is(err, stream.ErrUnavailable):
		c.history.Write(history.Record{Kind: history.Refused, Number: n, Error: err.Error()})
		return
	default:
		c.history.Write(history.Record{Kind: history.Unsure, Number: n, Error: err.Error()})
		return
	}
	if way != history.Forget && dice%100 < c.Cancel {
		c.history.Write(history.Record{Kind: history.Cancel, Number: n, Task: id})
		if _, err := inspect.New(c.store).Cancel(ctx, role.Queue, id); err != nil && ctx.Err() == nil {
			c.history.Write(history.Record{Kind: history.Cancel, Number: n, Task: id, Error: err.Error()})
		}
	}
}

func (c *customer) call(ctx context.Context, n int64) {
	c.history.Write(history.Record{Kind: history.Order, Number: n, Way: history.Call, Function: mixed.Name})
	value, err := mixed.Call(ctx, c.client, n)
	c.result(ctx, history.Record{Number: n, Value: value}, err)
}

// result writes down what a caller was given. An error that is no outcome is something that should not be.
func (c *customer) result(ctx context.Context, r history.Record, err error) {
	if ctx.Err() != nil {
		return // this process is being stopped
	}
	r.Kind = history.Result
	task, failed := errors.AsType[*stream.TaskError](err)
	switch {
	case failed:
		r.Task, r.Value, r.Error = task.TaskID, 0, failure(task.Reason, errors.New(task.Message))
	case err != nil:
		r.Kind, r.Value, r.Error = history.Unsure, 0, err.Error()
		c.left("the caller of number %d was given no outcome: %v", r.Number, err)
	}
	c.history.Write(r)
}

func (c *customer) mapAll(ctx context.Context, way history.Way, first, numbers int64, dice int) {
	inputs := func(yield func(int64) bool) {
		for n := first; n < first+numbers; n++ {
			c.history.Write(history.Record{Kind: history.Order, Number: n, Way: way, Function: mixed.Name})
			if !yield(n) {
				return
			}
		}
	}
	options := []mapreduce.Option{mapreduce.Window(10 + 5*dice)}
	if dice%2 == 0 {
		options = append(options, mapreduce.Chunk(1))
	}
	if way == history.Ordered {
		options = append(options, mapreduce.InOrder())
	}
	batch := mapreduce.Map(ctx, c.client, mixed, inputs, options...)
	name := fmt.Sprintf("batch from %d", first)
	for r := range batch.Results() {
		if r.Input != first+int64(r.Index) {
			c.left("result %d of a map from %d has the input %d", r.Index, first, r.Input)
		}
		c.result(ctx, history.Record{Number: r.Input, Value: r.Value, Text: name}, r.Err)
	}
	if err := batch.Err(); err != nil && ctx.Err() == nil {
		c.left("a map of %d numbers from %d ended with: %v", numbers, first, err)
	}
}

func (c *customer) run(ctx context.Context, n int64) {
	c.history.Write(history.Record{Kind: history.Order, Number: n, Way: history.Run, Function: "sums"})
	run, err := sums.Submit(ctx, c.client, func(yield func(int64) bool) {
		for i := range int64(history.RunInputs) {
			if !yield(n + i) {
				return
			}
		}
	})
	if err != nil {
		c.result(ctx, history.Record{Number: n}, err)
		return
	}
	var sum int64
	for pair, resultErr := range run.Results(ctx) {
		if resultErr != nil {
			err = resultErr
			break
		}
		sum += pair.Value
	}
	c.result(ctx, history.Record{Number: n, Value: sum}, err)
}
