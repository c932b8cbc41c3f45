// Package execute runs a program for each task: the payload on its standard input, its standard output as the result.
//
//	program, err := execute.New(execute.Config{Words: []string{"xargs", "wc", "-l"}, Environ: os.Environ()})
//	result, err := program.Run(ctx, execute.Meta{TaskID: id, Attempt: 1}, []byte("go.mod\n"))
//
// Nothing of a task ever becomes an argument, a path or shell text: a payload of "; rm -rf /" is bytes to read and no more.
// The program runs in a process group of its own, which is killed as a whole when ctx ends and when the program does.
package execute

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/pgroup"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

const (
	defaultMaxOutput = 4 << 20
	stderrKept       = 8 << 10
)

// Config describes a program.
type Config struct {
	Words     []string // the program and its arguments
	Shell     string   // run by the shell instead of Words
	Environ   []string // the worker's environment, of which the program sees an allow list
	Pass      []string // further variables of it to pass on
	Dir       string   // where the program runs; the worker's own by default
	MaxOutput int      // more bytes of output than these are an error; default 4 MiB
}

// Program runs once per task. It is safe for concurrent use.
type Program struct {
	path      string
	argv      []string
	env       []string
	dir       string
	maxOutput int
}

// OutputError says that a program wrote more than it may.
type OutputError struct{ Limit int }

// Error names the limit.
func (e *OutputError) Error() string {
	return fmt.Sprintf("the output is longer than %s, the program was killed", plain.Bytes(int64(e.Limit)))
}

// ExitError says that a program ended with something else than 0.
type ExitError struct {
	State  string // "exit status 2", "signal: killed"
	Stderr string // the end of what it wrote there, made safe to print
}

// Error is the state and the end of stderr.
func (e *ExitError) Error() string {
	if e.Stderr == "" {
		return e.State
	}
	return e.State + ": " + e.Stderr
}

// New finds the program, so that a missing one is an error when a worker starts and not at the first task.
func New(cfg Config) (*Program, error) {
	argv := cfg.Words
	if cfg.Shell != "" {
		argv = []string{"sh", "-c", cfg.Shell}
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("execute: there is no program")
	}
	if cfg.Dir != "" {
		if info, err := os.Stat(cfg.Dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("execute: %s is not a directory", cfg.Dir)
		}
	}
	path, err := find(argv[0], cfg.Environ)
	if err != nil {
		return nil, err
	}
	return &Program{
		path: path, argv: argv, dir: cfg.Dir,
		env:       allowed(cfg.Environ, cfg.Pass),
		maxOutput: cmp.Or(cfg.MaxOutput, defaultMaxOutput),
	}, nil
}

// find looks a program up in the PATH of the given environment. Programs of the current directory need a slash.
func find(name string, environ []string) (string, error) {
	candidates := []string{name}
	if !strings.ContainsRune(name, os.PathSeparator) {
		candidates = nil
		for _, dir := range filepath.SplitList(lookup(environ, "PATH")) {
			if filepath.IsAbs(dir) {
				candidates = append(candidates, filepath.Join(dir, name))
			}
		}
	}
	for _, candidate := range candidates {
		if path, err := exec.LookPath(candidate); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("execute: program %q: not found, or not executable", name)
}

// Path is the file of the program.
func (p *Program) Path() string { return p.path }

// Run runs the program on one payload and returns what it wrote to its standard output. When ctx ends the whole process group is
// killed and the error wraps the cause. Errors begin with the name of the program and not with that of this package: they are the
// errors of tasks, for people who know the program.
func (p *Program) Run(ctx context.Context, meta Meta, payload []byte) ([]byte, error) {
	var stdout bytes.Buffer
	feed := func(w io.Writer) error {
		_, err := w.Write(payload)
		return err
	}
	err := p.flow(ctx, meta, feed, func(r io.Reader) error {
		_, _ = io.Copy(&stdout, io.LimitReader(r, int64(p.maxOutput)))
		if n, _ := io.CopyN(io.Discard, r, 1); n > 0 {
			return &OutputError{Limit: p.maxOutput}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return stdout.Bytes(), nil
}

// flow runs the program with feed to write its input and read to read its output; both have returned when it does.
func (p *Program) flow(ctx context.Context, meta Meta, feed func(io.Writer) error, read func(io.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s not started: %w", p.argv[0], context.Cause(ctx))
	}
	child := exec.Command(p.path) //nolint:noctx // kill ends the whole group, CommandContext only one process
	child.Args, child.Dir = p.argv, p.dir
	child.Env = append(meta.environ(), p.env...)
	child.SysProcAttr = pgroup.Own()

	run, err := start(child, feed, read)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.argv[0], err)
	}
	killed, err := run.wait(ctx)
	said := run.stderr.Text()
	switch {
	case killed != nil && said != "":
		return fmt.Errorf("%s killed: %w: %s", p.argv[0], killed, said)
	case killed != nil:
		return fmt.Errorf("%s killed: %w", p.argv[0], killed)
	case err != nil:
		return fmt.Errorf("%s: %w", p.argv[0], &ExitError{State: err.Error(), Stderr: said})
	}
	return nil
}
