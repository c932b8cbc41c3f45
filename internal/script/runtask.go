package script

import (
	"context"
	"strings"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

// The scripts of the tasks of map/reduce runs.
var (
	runBeginScript  = load("run_begin")
	runSpillScript  = load("run_spill")
	runFinishScript = load("run_finish")
	runFailScript   = load("run_fail")
	runSlowScript   = load("run_slow")
	runCopyScript   = load("run_copy")
	runKeepScript   = load("run_keep")
	runPutScript    = load("run_put")
)

// Phase is one of the two of a run; its text names its count in the record.
type Phase string

// The phases.
const (
	Maps    Phase = "maps"
	Reduces Phase = "reduces"
)

// decided is the key of what was decided of the tasks of the phase; that of the record where there is no phase.
func (p Phase) decided(k wire.RunKeys) string {
	switch p {
	case Maps:
		return k.Maps()
	case Reduces:
		return k.Reduces()
	default:
		return k.Hash()
	}
}

// What becomes of an execution.
const (
	VerdictRun       = "run"       // it is to go on
	VerdictOver      = "over"      // the run is done or has failed
	VerdictDecided   = "decided"   // the task is
	VerdictElsewhere = "elsewhere" // a copy should run on another worker
	VerdictWon       = "won"       // its output counts
	VerdictLost      = "lost"      // that of another execution does
)

// Execution is one of a task of a run.
type Execution struct {
	Keys   wire.RunKeys
	Phase  Phase
	Number int
	ID     string // ULID
	Task   string // its ID
	Entry  string // where it lies
	Worker string
	Avoid  string // of a copy: the worker that was slow; "" otherwise
}

// avoidMost is how often a copy leaves a worker that was slow to another one.
const avoidMost = 20

// BeginRun notes that an execution begins. It returns VerdictRun, VerdictOver, VerdictDecided, VerdictElsewhere or RunGone, and how many
// partitions the run has.
func (r *Runner) BeginRun(ctx context.Context, e *Execution) (verdict string, partitions int, err error) {
	names := []string{e.Keys.Hash(), e.Phase.decided(e.Keys), e.Keys.Running(), e.Keys.Queue().Tasks()}
	args := []any{e.Number, e.Task, e.Entry, e.ID, e.Worker, e.Avoid, avoidMost, UntendedFor.Milliseconds()}
	answer, err := r.run(ctx, runBeginScript, names, args)
	if err != nil {
		return "", 0, err
	}
	values, err := list(runBeginScript, answer, 2)
	if err != nil {
		return "", 0, err
	}
	return text(values[0]), number(values[1]), nil
}

// SpillRun notes how many bytes an execution has sent to partitions in all; 0 says that they were removed again. It returns the state of
// the run, which has failed when the limit of its bytes is passed.
func (r *Runner) SpillRun(ctx context.Context, e *Execution, bytes int64) (state string, err error) {
	answer, err := r.run(ctx, runSpillScript, []string{e.Keys.Hash(), e.Keys.Running(), e.Keys.Events()}, []any{e.ID, bytes})
	return text(answer), err
}

// Finished is the end of an execution that went well.
type Finished struct {
	Manifest []byte
	Took     time.Duration
	Bytes    int64
	Pairs    int64
}

// FinishRun asks whether an execution's output counts: VerdictWon, VerdictLost, VerdictOver or RunGone. complete says that all tasks of
// the phase are decided.
func (r *Runner) FinishRun(ctx context.Context, e *Execution, f Finished) (verdict string, complete bool, err error) {
	names := []string{e.Keys.Hash(), e.Phase.decided(e.Keys), e.Keys.Running(), e.Keys.Took()}
	args := []any{string(e.Phase), e.Number, e.ID, f.Manifest, f.Took.Milliseconds(), f.Bytes, f.Pairs}
	answer, err := r.run(ctx, runFinishScript, names, args)
	if err != nil {
		return "", false, err
	}
	return verdictOf(runFinishScript, answer)
}

// RunFailure is a task that has failed for good, or another reason why a run ends.
type RunFailure struct {
	Keys   wire.RunKeys
	Phase  Phase // "" where it is no task's
	Number int
	Text   string // of the failure
	Reason string // why the run ends; "" for a task that failed: how many may is up to the run
}

// FailRun notes a failure. It returns the state of the run, VerdictDecided when the task was decided before, or RunGone; complete says that
// all tasks of the phase are decided.
func (r *Runner) FailRun(ctx context.Context, f *RunFailure) (verdict string, complete bool, err error) {
	k := f.Keys
	names := []string{k.Hash(), f.Phase.decided(k), k.Running(), k.Errors(), k.Events()}
	answer, err := r.run(ctx, runFailScript, names, []any{string(f.Phase), f.Number, f.Text, f.Reason})
	if err != nil {
		return "", false, err
	}
	return verdictOf(runFailScript, answer)
}

func verdictOf(s *lua, answer any) (string, bool, error) {
	values, err := list(s, answer, 2)
	if err != nil {
		return "", false, err
	}
	return text(values[0]), number(values[1]) == 1, nil
}

// SlowTask is a task that takes far longer than the others of its phase.
type SlowTask struct {
	Number string
	Record string // as it is noted
	Entry  string
	Worker string
}

// SlowRun finds tasks that have run for longer than factor times the median of their phase, and least; nothing while tasks of the phase
// wait, or less than half of them are decided.
func (r *Runner) SlowRun(ctx context.Context, k wire.RunKeys, factor int, least time.Duration) ([]SlowTask, error) {
	answer, err := r.run(ctx, runSlowScript, []string{k.Hash(), k.Running(), k.Took()}, []any{factor, least.Milliseconds()})
	if err != nil {
		return nil, err
	}
	values, err := list(runSlowScript, answer, 0)
	if err != nil {
		return nil, err
	}
	var slow []SlowTask
	for i := 0; i+1 < len(values); i += 2 {
		s := SlowTask{Number: text(values[i]), Record: text(values[i+1])}
		if fields := strings.Fields(s.Record); len(fields) == 5 { // since, task, entry, execution, worker
			s.Entry, s.Worker = fields[2], fields[4]
			slow = append(slow, s)
		}
	}
	return slow, nil
}

// CopyRun starts a slow task a second time; it reports false when that is not needed any more.
func (r *Runner) CopyRun(ctx context.Context, k wire.RunKeys, phase Phase, slow SlowTask, task []byte) (bool, error) {
	names := []string{k.Hash(), phase.decided(k), k.Running(), k.Queue().Tasks(), k.Queue().Counts()}
	answer, err := r.run(ctx, runCopyScript, names, []any{slow.Number, slow.Record, task})
	return number(answer) == 1, err
}

// KeepPartitions keeps the keys of the partitions of a run for another ttl, and makes them with open.
func (r *Runner) KeepPartitions(ctx context.Context, k wire.RunKeys, partitions int, ttl time.Duration, open bool) error {
	calls := make([]keyedCall, partitions)
	for p := range calls {
		calls[p] = keyedCall{keys: []string{k.Shuffle(p), k.Out(p)}, args: []any{ttl.Milliseconds(), flag(open)}}
	}
	_, err := r.each(ctx, runKeepScript, calls)
	return err
}

// Part is a segment or a piece on its way to a partition.
type Part struct {
	Key   string
	Field string
	Data  []byte
}

// PutParts stores parts. It reports false when the key of one of them is gone; the others may be stored.
func (r *Runner) PutParts(ctx context.Context, parts []Part) (bool, error) {
	calls := make([]keyedCall, len(parts))
	for i, part := range parts {
		calls[i] = keyedCall{keys: []string{part.Key}, args: []any{part.Field, part.Data}}
	}
	answers, err := r.each(ctx, runPutScript, calls)
	if err != nil {
		return false, err
	}
	for _, stored := range answers {
		if stored != 1 {
			return false, nil
		}
	}
	return true, nil
}
