// Command bench measures worker-machine beside a bare program on go-redis, the floor, and beside other queues, interleaved in one
// run, and prints a table of medians, ranges and ratios to the floor.
//
//	go run . -json out.json
//	go run . -rounds 1 -only ours,floor -rows run100,lone
//	go run . -growth all -json growth.json
//	go run . jobs
package main

import (
	"context"
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
	ctx := context.Background()
	if len(os.Args) == 3 && os.Args[1] == "child" {
		if err := child(ctx, os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	measure, args := run, os.Args[1:]
	if len(args) > 0 && args[0] == "jobs" {
		measure, args = runJobs, args[1:]
	}
	err := measure(ctx, args, os.Stdout, os.Stderr)
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
	growth string
	quick  bool
	tops   string
	json   string
	resume bool

	report    string
	docs      string
	against   string
	tolerance float64
}

// all and none are lists of names.
const (
	everything = "all"
	nothing    = "none"
)

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.rounds, "rounds", 5, "how often each row is measured for each system")
	flags.StringVar(&s.only, "only", everything, "only these `systems`: "+names(systems()))
	flags.StringVar(&s.rows, "rows", "", "these `rows`; all, unless -growth is given: "+names(rows()))
	flags.StringVar(&s.growth, "growth", nothing, "how cost grows, once, with these `numbers`, or all: "+names(growths()))
	flags.BoolVar(&s.quick, "quick", false, "small steps and short times, to see that everything works")
	flags.StringVar(&s.tops, "tops", nothing, "keep the most costly functions of ours in these `rows`, measured once more, with a profiler")
	flags.StringVar(&s.json, "json", "", "write the results to this `file` too, after each measurement")
	flags.BoolVar(&s.resume, "resume", false, "go on with what the file of -json has already, unless it is of another commit")
	flags.Float64Var(&s.lab.scale, "scale", 1, "`factor` for the numbers of tasks")
	flags.DurationVar(&s.lab.window, "time", time.Second, "how `long` a rate is measured")
	flags.DurationVar(&s.lab.timeout, "timeout", 3*time.Minute, "the `longest` one measurement may take")
	flags.BoolVar(&s.lab.unix, "unix", false, "reach Redis through a unix socket, not through TCP on the loopback")
	flags.BoolVar(&s.lab.slow, "slow", false, "also what takes minutes, once: kill -9 with systems that need that long")
	flags.StringVar(&s.lab.profiles, "profiles", "", "write CPU profiles of workers and producers to this `directory`")
	flags.StringVar(&s.report, "report", "", "measure nothing; write the tables and plots of this `file` of -json into the documentation")
	flags.StringVar(&s.docs, "docs", "../docs", "the `directory` of the documentation")
	flags.StringVar(&s.against, "against", "", "compare with this `file` of -json, and fail if something of ours is worse")
	flags.Float64Var(&s.tolerance, "tolerance", 0.02, "what -against takes for the same, as a `share`")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 || s.rounds < 1 || s.lab.scale <= 0 || s.lab.window <= 0 {
		return s, errors.New("no arguments, please, and positive numbers; see -help")
	}
	if s.resume && s.json == "" {
		return s, errors.New("-resume needs -json")
	}
	if s.rows == "" {
		s.rows = map[bool]string{true: everything, false: nothing}[s.growth == nothing]
	}
	if s.quick {
		s.rounds, s.lab.scale, s.lab.window, s.lab.timeout = 1, min(s.lab.scale, 0.02), min(s.lab.window, 100*time.Millisecond), min(s.lab.timeout, 40*time.Second)
	}
	return s, nil
}

// plan is what is measured.
type plan struct {
	rows    []row
	tops    []row // of which to keep the top of a profile
	growths []growth
	systems []system
}

func (s settings) plan() (p plan, err error) {
	var errs [4]error
	p.rows, errs[0] = choose("row", s.rows, rows())
	p.growths, errs[1] = choose("growth", s.growth, growths())
	p.systems, errs[2] = choose("system", s.only, systems())
	p.tops, errs[3] = choose("row", s.tops, rows())
	if s.quick {
		for i := range p.growths {
			p.growths[i].points = p.growths[i].quick
		}
	}
	return p, errors.Join(errs[:]...)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if s.report != "" {
		return s.writeReport()
	}
	p, err := s.plan()
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		return fmt.Errorf("redis-server is needed: %w", err)
	}
	s.lab.progress = stderr
	all, err := s.begin(ctx)
	if err != nil {
		return err
	}
	p.systems = all.present(ctx, p.systems)
	err = s.measureAll(ctx, all, p)
	all.Machine["load after"] = load()
	all.finish()
	if _, failed := io.WriteString(stdout, all.table()+all.growthTables()); failed != nil {
		return failed
	}
	if err = errors.Join(err, all.save(s.json), ctx.Err()); err != nil || s.against == "" {
		return err
	}
	return compare(stdout, s.against, all, s.tolerance)
}

// begin makes results, or reads those that a run before has left.
func (s settings) begin(ctx context.Context) (*results, error) {
	all, found := &results{}, versions(ctx)
	if s.resume {
		before, err := readResults(s.json)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return nil, err
		case before.Versions[ownName] != found[ownName]:
			s.lab.tell("%s is of %s, not of %s: beginning anew", s.json, before.Versions[ownName], found[ownName])
		default:
			all = before
		}
	}
	all.Machine, all.Versions, all.Rounds = machine(), found, max(all.Rounds, s.rounds)
	all.Machine["Redis through"] = map[bool]string{true: "a unix socket", false: "TCP on the loopback"}[s.lab.unix]
	return all, nil
}

// present leaves out the systems that cannot run here, and says so.
func (r *results) present(ctx context.Context, chosen []system) []system {
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
			r.Versions["nats-server"] = natsVersion(ctx)
		case "river":
			r.Versions["postgres"] = postgresVersion(ctx)
		}
		kept = append(kept, s)
		if !slices.Contains(r.Systems, s.name) {
			r.Systems = append(r.Systems, s.name)
		}
	}
	return kept
}

// named is what can be chosen on the command line.
type named interface{ title() string }

func (r row) title() string    { return r.name }
func (s system) title() string { return s.name }
func (g growth) title() string { return g.name }

func names[T named](all []T) string {
	list := make([]string, len(all))
	for i, one := range all {
		list[i] = one.title()
	}
	return strings.Join(list, ",")
}

// choose finds what a list of names asks for.
func choose[T named](what, list string, all []T) ([]T, error) {
	switch list {
	case everything:
		return all, nil
	case nothing:
		return nil, nil
	}
	wanted := strings.Split(list, ",")
	chosen := []T{}
	for _, one := range all {
		if i := slices.Index(wanted, one.title()); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
			chosen = append(chosen, one)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("there is no %s %s", what, strings.Join(wanted, ", "))
	}
	return chosen, nil
}
