package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// Config says what a [Fleet] runs and how. Only Argv is needed.
type Config struct {
	Argv      []string // the program and its arguments
	Env       []string // the environment of the processes
	Name      string   // what lines of output begin with; default: the last part of the program's path
	Processes int      // default 1

	Restart Restart       // what happens when a process ends that should not
	Drain   time.Duration // from SIGTERM to SIGKILL; default 30s
	Ready   time.Duration // a process that says nothing is ready so long after its start; default 10s
	Roll    Roll          // how a process is replaced
	Limits  Limits        // when a process is replaced
	Printer *Printer      // where output and events go; nil drops them
	Adopt   bool          // take over, reap and at the end kill what processes leave behind; for a program that does nothing else
}

// Restart says what happens when a process ends that should not. A process that ends before it was ready, or before it ran for
// MinUptime, has crashed.
type Restart struct {
	Policy   Policy        // default Backoff
	MinDelay time.Duration // upper bound of the wait after the first crash, doubled with each further one; default 200ms
	MaxDelay time.Duration // no wait is longer; default 30s

	MinUptime   time.Duration // default 2s
	CrashLimit  int           // a slot is given up after so many crashes in a row; default 10
	CrashLimits int           // the fleet is given up after so many in a row, with no process getting well between; default CrashLimit for each
}

// Policy is one of the words of --restart.
type Policy string

// The policies.
const (
	Backoff Policy = "backoff" // wait longer after each crash, give up at the limit
	Always  Policy = "always"  // wait MinDelay, never give up
	Never   Policy = "never"   // the fleet ends with its processes
)

// Roll is one of the words of --roll.
type Roll string

// The ways to replace a process.
const (
	StartFirst Roll = "start-first" // one process more for a while
	StopFirst  Roll = "stop-first"  // one process less
)

// Limits say when a process is replaced; zero is never. Processes are replaced one at a time.
type Limits struct {
	RSS   int64         // bytes of memory of the process itself, without those it started; Linux only
	Age   time.Duration // of a process: each lives for 0.75 to 1 of it by chance, so that not all are due at once
	Tasks int           // that the process says it has done; a program gets it as WM_MAX_TASKS, too
}

const (
	defaultMinDelay   = 200 * time.Millisecond
	defaultMaxDelay   = 30 * time.Second
	defaultMinUptime  = 2 * time.Second
	defaultCrashLimit = 10
	defaultDrain      = 30 * time.Second
	defaultReady      = 10 * time.Second
	maxProcesses      = 10_000
)

// normalize fills in defaults and reports all bad fields at once, by the names of the flags.
func (c Config) normalize() (Config, error) {
	var bad []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf(format, args...))
		}
	}
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return c, errors.New("the program is missing")
	}
	if _, err := exec.LookPath(c.Argv[0]); err != nil {
		bad = append(bad, fmt.Errorf("program %w", err))
	}
	c.Name = cmp.Or(c.Name, filepath.Base(c.Argv[0]))
	if err := wire.CheckName("fleet", c.Name); err != nil {
		bad = append(bad, fmt.Errorf("--name: %w", err))
	}
	c.Processes = cmp.Or(c.Processes, 1)
	report(c.Processes > 0 && c.Processes <= maxProcesses, "--processes: from 1 to %d", maxProcesses)
	c.Drain, c.Ready = cmp.Or(c.Drain, defaultDrain), cmp.Or(c.Ready, defaultReady)
	report(c.Drain > 0, "--drain: it is above 0")
	report(c.Ready > 0, "--ready-after: it is above 0")
	c.Roll = cmp.Or(c.Roll, StartFirst)
	report(c.Roll == StartFirst || c.Roll == StopFirst, "--roll: it is %s or %s", StartFirst, StopFirst)
	report(c.Limits.RSS >= 0 && c.Limits.Age >= 0 && c.Limits.Tasks >= 0, "--max-rss, --max-age and --max-tasks: they cannot be less than 0")
	if c.Limits.RSS > 0 {
		_, err := rssOf(selfPID())
		report(err == nil, "--max-rss: the memory of a process cannot be read here: %w", err)
	}
	var err error
	c.Restart, err = c.Restart.normalize(c.Processes)
	return c, errors.Join(append(bad, err)...)
}

func (r Restart) normalize(processes int) (Restart, error) {
	var bad []error
	r.Policy = cmp.Or(r.Policy, Backoff)
	if r.Policy != Backoff && r.Policy != Always && r.Policy != Never {
		bad = append(bad, fmt.Errorf("--restart: it is %s, %s or %s", Backoff, Always, Never))
	}
	r.MinDelay, r.MinUptime = cmp.Or(r.MinDelay, defaultMinDelay), cmp.Or(r.MinUptime, defaultMinUptime)
	r.MaxDelay = cmp.Or(r.MaxDelay, max(defaultMaxDelay, r.MinDelay))
	if r.MinDelay < 0 || r.MaxDelay < r.MinDelay {
		bad = append(bad, errors.New("--min-delay, --max-delay: the first is above 0 and not above the second"))
	}
	if r.MinUptime < 0 {
		bad = append(bad, errors.New("--min-uptime: it cannot be less than 0"))
	}
	r.CrashLimit = cmp.Or(r.CrashLimit, defaultCrashLimit)
	r.CrashLimits = cmp.Or(r.CrashLimits, min(r.CrashLimit, math.MaxInt/maxProcesses)*processes)
	if r.CrashLimit < 0 || r.CrashLimits < 0 {
		bad = append(bad, errors.New("--crash-limit, --crash-limit-all: at least 1"))
	}
	return r, errors.Join(bad...)
}
