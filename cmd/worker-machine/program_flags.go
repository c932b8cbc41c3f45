package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/execute"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/programs"
)

// programFlags name the programs of map/reduce jobs, for those who submit and for workers.
type programFlags struct {
	spec       programs.Spec
	secretFile string
}

const (
	signedQueue   = "mapreduce"          // of runs whose programs come along
	combineReduce = "the reduce program" // what --combine says without a program
)

// register adds the flags but for --shell, which work has already.
func (f *programFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.spec.Map, "map", "", "the map program: lines in, lines of key, tab and value out")
	flags.StringVar(&f.spec.Reduce, "reduce", "", "the reduce program: such lines in, sorted by key, any lines out")
	flags.StringVar(&f.spec.Combine, "combine", "", "run the reduce program on what a map task prints, too, or with --combine='program' that one")
	flags.Lookup("combine").NoOptDefVal = combineReduce
	flags.StringVar(&f.secretFile, "secret-file", "", "sign the run, or run what is signed, with the secret in this file (default $WM_SECRET_FILE)")
	_ = cmd.MarkFlagFilename("secret-file")
}

// programArgs is noArgs for commands with these flags, of which one has a value only after a '='.
func programArgs(cmd *cobra.Command, args []string) error {
	if combine := cmd.Flags().Lookup("combine"); len(args) > 0 && combine.Changed && combine.Value.String() == combineReduce {
		return usagef("%q is left over: write --combine=%s, or --combine alone for the reduce program", args[0], quoted(args[0]))
	}
	return noArgs(cmd, args)
}

// check completes the programs and reports what is wrong with them.
func (f *programFlags) check() error {
	if f.spec.Combine == combineReduce {
		f.spec.Combine = f.spec.Reduce
	}
	if err := f.spec.Check(); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// secret reads the file of the secret; it is nil when there is none.
func (a *app) secret(f *programFlags) (*programs.Secret, error) {
	path, from := f.secretFile, "--secret-file"
	if path == "" {
		path, from = a.getenv("WM_SECRET_FILE"), "WM_SECRET_FILE"
	}
	if path == "" {
		return nil, nil
	}
	secret, err := programs.ReadSecret(path)
	if err != nil {
		return nil, usagef("%s: %w", from, err)
	}
	return secret, nil
}

// queueOf is where runs of these programs go unless --queue says otherwise. Programs that workers have to know have a queue of their own:
// a worker that knows others would make dead letters of their tasks.
func queueOf(spec programs.Spec, secret *programs.Secret) string {
	if secret != nil {
		return signedQueue
	}
	return spec.Name()
}

// jobName is that of runs of these programs.
func jobName(spec programs.Spec, secret *programs.Secret) string {
	if secret != nil {
		return programs.SignedName
	}
	return spec.Name()
}

// findPrograms makes a set of programs of this machine; what is wrong is a mistake of the command line.
func findPrograms(spec programs.Spec, common execute.Config) (*programs.Set, error) {
	set, err := programs.New(spec, common)
	if err != nil {
		return nil, usagef("%w", errors.New(strings.ReplaceAll(err.Error(), "execute: ", "")))
	}
	return set, nil
}

// workCommandFor is the command that starts a worker for a run, to be copied from the screen.
func (a *app) workCommandFor(spec programs.Spec, secret *programs.Secret, queue string) string {
	words := []string{"worker-machine", "work", "--mapreduce"}
	if secret != nil {
		words = append(words, "--secret-file", "FILE")
	} else {
		words = append(words, "--map", quoted(spec.Map), "--reduce", quoted(spec.Reduce))
		switch spec.Combine {
		case "":
		case spec.Reduce:
			words = append(words, "--combine")
		default:
			words = append(words, "--combine="+quoted(spec.Combine))
		}
		if spec.Shell {
			words = append(words, "--shell")
		}
	}
	if queue != queueOf(spec, secret) {
		words = append(words, "--queue", queue)
	}
	if a.prefix != defaultPrefix {
		words = append(words, "--prefix", a.prefix)
	}
	return strings.Join(words, " ")
}

// quoted is text as a shell reads it.
func quoted(text string) string {
	return fmt.Sprintf("'%s'", strings.ReplaceAll(text, "'", `'\''`))
}
