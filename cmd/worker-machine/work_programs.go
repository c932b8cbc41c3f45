package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/programs"
	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/stream"
)

// crowd is what a worker does for runs of worker-machine mapreduce; a nil one does nothing.
type crowd struct {
	name, queue string
	set         *programs.Set    // of programs the worker was told
	secret      *programs.Secret // of programs that come along
	make        func(programs.Spec) (*programs.Set, error)
}

// newCrowd reads the flags. NOTHING FROM THE WIRE DECIDES WHAT RUNS: without programs and without a secret there is no worker.
func (a *app) newCrowd(f *workFlags) (*crowd, error) {
	named := f.programs.spec != (programs.Spec{})
	if !f.mapreduce {
		if named || f.programs.secretFile != "" || len(f.roots) > 0 {
			return nil, usagef("--map, --reduce, --combine, --secret-file and --root go with --mapreduce")
		}
		return nil, nil
	}
	if named && f.programs.secretFile != "" {
		return nil, usagef("--mapreduce: name the programs with --map and --reduce, or a secret with --secret-file, not both")
	}
	roots, err := absolute(f.roots)
	if err != nil {
		return nil, usagef("--root: %w", err)
	}
	c := &crowd{}
	c.make = func(spec programs.Spec) (*programs.Set, error) {
		set, err := programs.New(spec, execute.Config{Environ: a.env, Pass: f.env, Dir: f.dir, MaxOutput: f.maxOutput})
		if err == nil {
			set.Files.Roots = roots
		}
		return set, err
	}
	if named {
		err = c.know(f)
	} else {
		err = c.trust(a, f)
	}
	return c, err
}

// know finds the programs of the command line.
func (c *crowd) know(f *workFlags) (err error) {
	f.programs.spec.Shell = f.shell
	if err := f.programs.check(); err != nil {
		return err
	}
	if c.set, err = c.make(f.programs.spec); err != nil {
		return usagef("%w", err)
	}
	c.name, c.queue = f.programs.spec.Name(), queueOf(f.programs.spec, nil)
	return nil
}

// trust reads the secret.
func (c *crowd) trust(a *app, f *workFlags) (err error) {
	if c.secret, err = a.secret(&f.programs); err != nil {
		return err
	}
	if c.secret == nil {
		return usagef("--mapreduce: say which programs this worker runs, with --map 'PROGRAM' --reduce 'PROGRAM' as in worker-machine mapreduce; " +
			"or whom it trusts, with --secret-file FILE and a secret that those who submit have, too")
	}
	c.name, c.queue = programs.SignedName, signedQueue
	return nil
}

func absolute(dirs []string) (list []string, err error) {
	for _, dir := range dirs {
		path, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("%s is not a directory", dir)
		}
		list = append(list, path)
	}
	return list, nil
}

// queues are those the worker reads when none are named.
func (c *crowd) queues(f *workFlags, named []group.Queue) []group.Queue {
	if len(named) > 0 {
		return named
	}
	if len(f.handles) > 0 {
		named = append(named, group.Queue{Name: stream.DefaultQueue})
	}
	if c != nil {
		named = append(named, group.Queue{Name: c.queue})
	}
	return named
}

// handle gives the worker the functions of runs, and says what they are.
func (c *crowd) handle(worker *group.Worker, store *stream.Store, quit context.Context) []string {
	if c == nil {
		return nil
	}
	find, said := programs.Known(c.set), "map/reduce with its programs"
	if c.secret != nil {
		find, said = programs.Signed(store, c.secret, c.make), "signed map/reduce"
	}
	programs.NewJob(c.name, c.queue, find, quit).Handle(worker)
	return []string{said}
}
