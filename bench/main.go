// Command bench measures worker-machine beside a bare program on go-redis, the floor, and beside other queues, interleaved in one
// run, and prints a table of medians, ranges and ratios to the floor.
//
//	go run . -json out.json
//	go run . -rounds 1 -only ours,floor -rows run100,lone
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "child" {
		if err := child(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	lab    lab
	rounds int
	only   string
	rows   string
	json   string
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.rounds, "rounds", 5, "how often each row is measured for each system")
	flags.StringVar(&s.only, "only", "", "only these `systems`: "+strings.Join(systemNames(), ","))
	flags.StringVar(&s.rows, "rows", "", "only these `rows`: "+strings.Join(rowNames(), ","))
	flags.StringVar(&s.json, "json", "", "write the results to this `file` too")
	flags.Float64Var(&s.lab.scale, "scale", 1, "`factor` for the numbers of tasks")
	flags.DurationVar(&s.lab.window, "time", time.Second, "how `long` a rate is measured")
	flags.DurationVar(&s.lab.timeout, "timeout", 3*time.Minute, "the `longest` one measurement may take")
	flags.BoolVar(&s.lab.tcp, "tcp", false, "reach Redis through TCP on the loopback, not through a unix socket")
	flags.BoolVar(&s.lab.slow, "slow", false, "also what takes minutes: kill -9 with systems that need that long")
	flags.StringVar(&s.lab.profiles, "profiles", "", "write CPU profiles of workers and producers to this `directory`")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 || s.rounds < 1 || s.lab.scale <= 0 {
		return s, errors.New("no arguments, please, and positive numbers; see -help")
	}
	return s, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	chosenRows, err := choose("row", s.rows, rows(), func(r row) string { return r.name })
	if err != nil {
		return err
	}
	chosen, err := choose("system", s.only, systems(), func(s system) string { return s.name })
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		return fmt.Errorf("redis-server is needed: %w", err)
	}
	s.lab.progress = stderr
	all := &results{Machine: machine(), Versions: versions(), Rounds: s.rounds}
	all.Machine["Redis through"] = map[bool]string{false: "a unix socket", true: "TCP on the loopback"}[s.lab.tcp]
	chosen = all.present(chosen)
	for round := range s.rounds {
		for _, r := range chosenRows {
			s.lab.measure(ctx, all, round, r, chosen)
		}
		if ctx.Err() != nil {
			break // what was measured until now is printed
		}
	}
	all.Machine["load after"] = load()
	all.finish()
	if _, err = io.WriteString(stdout, all.table()); err != nil {
		return err
	}
	if s.json == "" {
		return ctx.Err()
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(ctx.Err(), os.WriteFile(s.json, append(text, '\n'), 0o644))
}

// present leaves out the systems that cannot run here, and says so.
func (r *results) present(chosen []system) []system {
	kept := []system{}
	for _, s := range chosen {
		if s.missing != nil {
			if why := s.missing(); why != "" {
				r.note("%s is left out: %s", s.name, why)
				continue
			}
		}
		switch s.name {
		case "nats":
			r.Versions["nats-server"] = natsVersion()
		case "river":
			r.Versions["postgres"] = postgresVersion()
		}
		kept = append(kept, s)
		r.Systems = append(r.Systems, s.name)
	}
	return kept
}

// measure runs one row for all systems, each round in another order.
func (l *lab) measure(ctx context.Context, all *results, round int, r row, chosen []system) {
	for i := range chosen {
		s := chosen[(i+round)%len(chosen)]
		if why := l.lacks(r, s, round); why != "" {
			if why != silently {
				all.note("%s, %s: %s", r.name, s.name, why)
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		began := time.Now()
		o, err := l.run(ctx, r, s)
		if err != nil {
			if o != nil {
				err = errors.Join(append([]error{err}, o.problems()...)...)
			}
			all.note("%s, %s, round %d: %s", r.name, s.name, round, strings.ReplaceAll(err.Error(), "\n", "; "))
			l.tell("round %d: %s %s: %v", round, r.name, s.name, err)
			continue
		}
		all.add(round, r, s.name, o)
		l.tell("round %d: %s %s: %s (%.1fs)", round, r.name, s.name, o.line(r), time.Since(began).Seconds())
	}
}

// tell says how far it is.
func (l *lab) tell(format string, args ...any) {
	_, _ = fmt.Fprintf(l.progress, format+"\n", args...) // nobody may be looking
}

// silently is why a row is left out without a note.
const silently = "-"

// lacks says why a row is not measured for a system, "" when it is.
func (l *lab) lacks(r row, s system, round int) string {
	if r.only != nil && !slices.Contains(r.only, s.name) || r.rounds > 0 && round >= r.rounds {
		return silently
	}
	if r.name == "kill" && s.slowKill && !l.slow {
		return "takes minutes: run with -slow"
	}
	return s.lacks[r.name]
}

// line is an outcome in short.
func (o *outcome) line(r row) string {
	parts := []string{}
	for _, m := range r.metrics {
		if v, ok := o.values[m.key]; ok {
			parts = append(parts, m.key+"="+short(v))
		}
	}
	return strings.Join(append(parts, o.trouble...), " ")
}

// choose finds what a list of names asks for; an empty list asks for all.
func choose[T any](what, list string, all []T, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	chosen := []T{}
	for _, one := range all {
		if i := slices.Index(wanted, name(one)); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
			chosen = append(chosen, one)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("there is no %s %s", what, strings.Join(wanted, ", "))
	}
	return chosen, nil
}

func systemNames() (names []string) {
	for _, s := range systems() {
		names = append(names, s.name)
	}
	return names
}

func rowNames() (names []string) {
	for _, r := range rows() {
		names = append(names, r.name)
	}
	return names
}
