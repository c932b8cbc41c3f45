package script

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
)

// The scripts of map/reduce runs.
var (
	runOpenScript    = load("run_open")
	runFeedScript    = load("run_feed")
	runAdvanceScript = load("run_advance")
	runRenewScript   = load("run_renew")
	runRemoveScript  = load("run_remove")
)

// The states of a run. GoneState is of one that is not there: it was never, is removed, or has expired.
const (
	RunOpen     = "open"     // inputs come
	RunMapping  = "mapping"  // all inputs are stored
	RunReducing = "reducing" // all map tasks are decided
	RunDone     = "done"
	RunFailed   = "failed"
	RunGone     = "gone"
)

// The reasons of a run that failed.
const (
	ReasonTasks     = "failed" // more tasks failed than it tolerates
	ReasonDeadline  = "deadline"
	ReasonTooMuch   = "too much data"
	ReasonDataLost  = "data lost"
	ReasonCancelled = "cancelled"
	ReasonRemoved   = "removed"
)

// UntendedFor is after how long without tending a run gets another task that does.
const UntendedFor = 30 * time.Second

// RunOpening is a run to be opened.
type RunOpening struct {
	Keys     wire.RunKeys
	TTL      time.Duration
	Tend     []byte   // the task that tends it, encoded
	Reducers [][]byte // its reduce tasks, encoded
	Fields   []any    // of its record: names and values
}

// RunStored is how far the inputs of a run are stored.
type RunStored struct {
	State  string
	Splits int
	Inputs int
	Digest string // of the inputs
	Spec   string
}

// OpenRun makes a run, or tells how far one is that is there.
func (r *Runner) OpenRun(ctx context.Context, o *RunOpening) (RunStored, error) {
	k := o.Keys
	names := []string{k.Hash(), k.Queue().Runs(), k.Reply(), k.Events(), k.Reducers(), k.Queue().Tasks()}
	args := make([]any, 0, 4+len(o.Fields)+len(o.Reducers))
	args = append(args, k.ID(), o.TTL.Milliseconds(), o.Tend, len(o.Fields))
	args = append(args, o.Fields...)
	for _, task := range o.Reducers {
		args = append(args, task)
	}
	answer, err := r.run(ctx, runOpenScript, names, args)
	if err != nil {
		return RunStored{}, err
	}
	values, err := list(runOpenScript, answer, 5)
	if err != nil {
		return RunStored{}, err
	}
	splits, _ := strconv.Atoi(text(values[1])) // this script wrote them
	inputs, _ := strconv.Atoi(text(values[2]))
	return RunStored{State: text(values[0]), Splits: splits, Inputs: inputs, Digest: text(values[3]), Spec: text(values[4])}, nil
}

// RunFeed is map tasks to be stored.
type RunFeed struct {
	Keys   wire.RunKeys
	First  int // number of the first task
	Inputs int // of the run, with these
	Digest string
	Bytes  int64 // of the inputs of the run, with these
	Close  bool  // there are no more
	Tasks  [][]byte
}

// FeedRun stores map tasks. A repeated call finds its work done. It returns the state, and how many splits are stored then.
func (r *Runner) FeedRun(ctx context.Context, f *RunFeed) (state string, splits int, err error) {
	k := f.Keys
	args := make([]any, 0, 5+len(f.Tasks))
	args = append(args, f.First, f.Inputs, f.Digest, f.Bytes, flag(f.Close))
	for _, task := range f.Tasks {
		args = append(args, task)
	}
	answer, err := r.run(ctx, runFeedScript, []string{k.Hash(), k.Queue().Tasks(), k.Queue().Counts(), k.Events()}, args)
	if err != nil {
		return "", 0, err
	}
	values, err := list(runFeedScript, answer, 2)
	if err != nil {
		return "", 0, err
	}
	return text(values[0]), number(values[1]), nil
}

// RunState is what a run is at.
type RunState struct {
	State      string
	Reason     string // of RunFailed
	Partitions int
	Since      time.Duration // the state changed
	Renewed    time.Duration // since its keys were
	TTL        time.Duration
	Keep       time.Duration // of results, 0 for TTL
	Speculate  bool
}

// Over tells whether nothing is to be done for the run any more.
func (s *RunState) Over() bool {
	return s.State == RunDone || s.State == RunFailed || s.State == RunGone
}

// AdvanceRun brings a run to the state its tasks and its deadline put it in. tending says that the caller tends it.
func (r *Runner) AdvanceRun(ctx context.Context, k wire.RunKeys, tending bool) (RunState, error) {
	names := []string{k.Hash(), k.Reducers(), k.Queue().Tasks(), k.Running(), k.Took(), k.Events(), k.Queue().Counts()}
	answer, err := r.run(ctx, runAdvanceScript, names, []any{flag(tending), UntendedFor.Milliseconds()})
	if err != nil {
		return RunState{}, err
	}
	values, err := list(runAdvanceScript, answer, 1)
	if err != nil {
		return RunState{}, err
	}
	state := RunState{State: text(values[0])}
	if state.State == RunGone {
		return state, nil
	}
	if values, err = list(runAdvanceScript, answer, 8); err != nil {
		return RunState{}, err
	}
	state.Reason, state.Partitions = text(values[1]), number(values[2])
	state.Since, state.Renewed, state.TTL, state.Keep = ms(values[3]), ms(values[4]), ms(values[5]), ms(values[6])
	state.Speculate = number(values[7]) == 1
	return state, nil
}

// RenewRun keeps the keys of a run in its home for another ttl; tidy notes that its partitions are cleaned. It reports false when the run
// is gone.
func (r *Runner) RenewRun(ctx context.Context, k wire.RunKeys, ttl time.Duration, tidy bool) (bool, error) {
	home := k.Home()
	names := append([]string{home[0], k.Queue().Runs()}, home[1:]...)
	answer, err := r.run(ctx, runRenewScript, names, []any{ttl.Milliseconds(), flag(tidy)})
	return number(answer) == 1, err
}

// RemoveRun removes what a run has in its home. It reports false when it was gone.
func (r *Runner) RemoveRun(ctx context.Context, k wire.RunKeys) (bool, error) {
	answer, err := r.run(ctx, runRemoveScript, append([]string{k.Queue().Runs()}, k.Home()...), []any{k.ID()})
	return number(answer) == 1, err
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

func ms(v any) time.Duration { return time.Duration(number(v)) * time.Millisecond }

// each runs a script once for each key, or pair of keys, and returns the numbers it answers, in order.
func (r *Runner) each(ctx context.Context, s *lua, calls []keyedCall) ([]int, error) {
	commands := r.many(ctx, s, calls)
	answers := make([]int, len(calls))
	for i, command := range commands {
		answer, err := command.Result()
		if err != nil {
			return nil, wrap(s, err)
		}
		answers[i] = number(answer)
	}
	return answers, nil
}

// many runs a script many times in as few round trips as there are servers. Each answer has an error of its own.
func (r *Runner) many(ctx context.Context, s *lua, calls []keyedCall) []*redis.Cmd {
	sha := r.source(s).sha
	pipe := r.client.Pipeline()
	commands := make([]*redis.Cmd, len(calls))
	for i, c := range calls {
		commands[i] = pipe.EvalSha(ctx, sha, c.keys, c.args...)
	}
	began := time.Now()
	_, err := pipe.Exec(ctx) // the commands have the errors too
	if r.watch != nil {
		r.watch(s.name, time.Since(began), err)
	}
	for i, command := range commands {
		if redis.HasErrorPrefix(command.Err(), "NOSCRIPT") {
			answer, err := r.run(ctx, s, calls[i].keys, calls[i].args)
			command.SetVal(answer)
			command.SetErr(err)
		}
	}
	return commands
}

// keyedCall is one call of a script.
type keyedCall struct {
	keys []string
	args []any
}
