package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/words"
	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/wire"
)

// parseQueues reads name or name:weight, all mistakes at once.
func parseQueues(flags []string) ([]group.Queue, error) {
	var queues []group.Queue
	var errs []error
	for _, text := range flags {
		name, weight, weighted := strings.Cut(text, ":")
		queue := group.Queue{Name: name}
		if err := wire.CheckName("queue", name); err != nil {
			errs = append(errs, usagef("--queue: %w", err))
			continue
		}
		if weighted {
			n, err := strconv.Atoi(weight)
			if err != nil || n < 1 {
				errs = append(errs, usagef("--queue %s: the weight after the colon is not a number from 1 up", name))
				continue
			}
			queue.Weight = n
		}
		queues = append(queues, queue)
	}
	return queues, errors.Join(errs...)
}

// program is a function and what runs it.
type program struct {
	function string
	run      *execute.Program
}

// parseHandles reads name=program args and finds the programs, all mistakes at once.
func (a *app) parseHandles(f *workFlags) ([]program, error) {
	var programs []program
	var errs []error
	seen := map[string]bool{}
	for _, text := range f.handles {
		one, err := a.parseHandle(f, text)
		switch {
		case err != nil:
			errs = append(errs, err)
		case seen[one.function]:
			errs = append(errs, usagef("--handle %s: it is there twice", one.function))
		default:
			seen[one.function] = true
			programs = append(programs, one)
		}
	}
	if len(f.handles) == 0 && !f.mapreduce {
		errs = append(errs, usagef("--handle is missing: it says which program runs which function, as in --handle 'lines=xargs wc -l'"))
	}
	return programs, errors.Join(errs...)
}

func (a *app) parseHandle(f *workFlags, text string) (program, error) {
	name, command, ok := strings.Cut(text, "=")
	if !ok || strings.TrimSpace(command) == "" {
		return program{}, usagef("--handle %q: write name=program, as in 'lines=xargs wc -l'", text)
	}
	if err := wire.CheckName("function", name); err != nil {
		return program{}, usagef("--handle: %w", err)
	}
	cfg := execute.Config{Environ: a.env, Pass: f.env, Dir: f.dir, MaxOutput: f.maxOutput}
	if f.shell {
		cfg.Shell = command
	} else {
		argv, err := words.Split(command)
		var special *words.SpecialError
		switch {
		case errors.As(err, &special):
			return program{}, usagef("--handle %s: %w (--shell)", name, err)
		case err != nil:
			return program{}, usagef("--handle %s: %w", name, err)
		}
		cfg.Words = argv
	}
	found, err := execute.New(cfg)
	if err != nil {
		return program{}, usagef("--handle %s: %w", name, err)
	}
	return program{function: name, run: found}, nil
}

// handler runs the program for a task. quit ends it like the end of its time does.
func (p program) handler(quit context.Context) group.Handler {
	return func(ctx context.Context, task group.Task) ([]byte, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(quit, func() { cancel(group.ErrDrain) })()
		out, err := p.run.Run(ctx, execute.Meta{
			TaskID: task.ID, Function: task.Function, Queue: task.Queue,
			Attempt: task.Attempt, MaxAttempts: task.MaxAttempts, Headers: task.Headers, Trace: spanOf(ctx),
		}, task.Payload)
		var tooBig *execute.OutputError
		switch {
		case errors.As(err, &tooBig):
			return nil, group.Drop(err) // it would be as long the next time
		case err != nil && quit.Err() != nil:
			return nil, group.Snooze(0) // somebody else runs it, at no cost of an attempt
		}
		return out, err
	}
}
