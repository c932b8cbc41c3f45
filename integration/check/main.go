// Command check decides from histories that processes under test wrote whether the promises were kept. See package verdict for what is decided from what.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/athoune/worker-machine/integration/internal/history"
	"github.com/athoune/worker-machine/integration/internal/verdict"
)

const usage = `Decides from the histories of processes under test whether the promises were kept.

Usage:

  check [flags] history.jsonl|directory ...

Files make up one history. Each directory with files *.jsonl is the history of one seed; a directory of such directories is many seeds.
One line tells each finding, one the sum of each seed, and one the sum of all.

Examples:

  go run ./integration/check histories-123
  go run ./integration/check --json histories-* | jq '.[].found'
  go run ./integration/check --bound 5s histories-123

Exit codes: 0 all is well, 1 something was found, 2 wrong usage or an unreadable history.

Flags:

`

// Exit codes.
const (
	well  = 0
	found = 1
	wrong = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the flags.
type options struct {
	json  bool
	bound time.Duration
}

func run(args []string, stdout, stderr io.Writer) int {
	opts, paths, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return well
	}
	var sum *verdict.Report
	if err == nil {
		sum, err = check(opts, paths, stdout)
	}
	switch {
	case err != nil:
		say(stderr, "check: "+err.Error()+"\n")
		return wrong
	case !sum.OK():
		return found
	default:
		return well
	}
}

// say prints; nobody can be told that this failed.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

func check(opts options, paths []string, stdout io.Writer) (*verdict.Report, error) {
	seeds, err := gather(paths)
	if err != nil {
		return nil, err
	}
	reports := make([]*verdict.Report, len(seeds))
	for i, s := range seeds {
		if reports[i], err = s.judge(verdict.Config{Bound: opts.bound}); err != nil {
			return nil, err
		}
		if !opts.json {
			say(stdout, text(reports[i]))
		}
	}
	sum := verdict.Sum(reports)
	if opts.json {
		return sum, tellJSON(stdout, reports)
	}
	if len(reports) > 1 {
		say(stdout, fmt.Sprintf("%d histories: %s\n", len(reports), sum.Summary()))
	}
	return sum, nil
}

func parse(args []string, stderr io.Writer) (options, []string, error) {
	var opts options
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are told once, by run
	flags.Usage = func() {}
	flags.BoolVar(&opts.json, "json", false, "print the reports as JSON, one array")
	flags.DurationVar(&opts.bound, "bound", 0, "hold every fault to this bound of recovery instead of its own")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		say(stderr, usage)
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	}
	if err == nil && flags.NArg() == 0 {
		err = errors.New("no history is named; name files or directories, see check --help")
	}
	if err != nil {
		return opts, nil, err
	}
	return opts, flags.Args(), nil
}

// seed is one history: the files of all processes that wrote it.
type seed struct {
	name  string
	files []string
}

// gather finds the histories that are meant by files and directories.
func gather(paths []string) ([]seed, error) {
	var seeds []seed
	var loose seed
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			loose.name = filepath.Dir(path)
			loose.files = append(loose.files, path)
			continue
		}
		directories, err := history.Directories(path)
		if err != nil {
			return nil, err
		}
		for _, directory := range directories {
			files, err := history.Files(directory)
			if err != nil {
				return nil, err
			}
			seeds = append(seeds, seed{directory, files})
		}
	}
	if len(loose.files) == 1 {
		loose.name = loose.files[0]
	}
	if len(loose.files) > 0 {
		seeds = append(seeds, loose)
	}
	return seeds, nil
}

func (s seed) judge(cfg verdict.Config) (*verdict.Report, error) {
	judge := verdict.New(cfg)
	for record, err := range history.Read(s.files...) {
		if err != nil {
			return nil, err
		}
		judge.Hear(record)
	}
	report := judge.Report()
	report.Name = s.name
	return report, nil
}

// text is the findings of one seed and its sum.
func text(r *verdict.Report) string {
	var lines strings.Builder
	more := -len(r.Findings)
	for _, n := range r.Found {
		more += n
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&lines, "%s: %s\n", r.Name, f)
	}
	if more > 0 {
		fmt.Fprintf(&lines, "%s: and %d findings more\n", r.Name, more)
	}
	fmt.Fprintf(&lines, "%s: %s\n%s: %s\n", r.Name, r.Summary(), r.Name, r.Counts())
	return lines.String()
}

func tellJSON(w io.Writer, reports []*verdict.Report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(reports)
}
