package script

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

var (
	claimScript      = load("claim")
	checkpointScript = load("checkpoint")
	discardScript    = load("discard")
	leftoverScript   = load("leftover")
)

// CheckpointVersion is that of the fields of a checkpoint.
const CheckpointVersion = "1"

// leftoverPage bounds how many entries one call of leftover looks at: they may be chunks of 64 KiB.
const leftoverPage = 100

// Claim asks to be the owner of a checkpoint.
type Claim struct {
	Name, Owner, Session string
	Function, Kind       string // what it must be of
	TTL                  time.Duration
}

// Claimed is the answer to a [Claim].
type Claimed struct {
	Other  bool              // it is of another function, kind or version: nothing was changed
	Taken  bool              // somebody has come after this owner: nothing was changed
	Now    string            // the time of Redis, ms
	Fields map[string]string // of the checkpoint as it is now
}

// Claim makes a process the owner of a checkpoint, and makes one where there is none. It may be called again with the same owner.
func (r *Runner) Claim(ctx context.Context, keys wire.Keys, c Claim) (Claimed, error) {
	args := []any{c.Owner, c.Session, c.Function, c.Kind, c.TTL.Milliseconds(), CheckpointVersion, c.Name, keys.Batch("")}
	answer, err := r.run(ctx, claimScript, []string{keys.Batch(c.Name), keys.Cancels(), keys.Batches()}, args)
	if err != nil {
		return Claimed{}, err
	}
	const head = 2
	values, err := list(claimScript, answer, head)
	if err != nil {
		return Claimed{}, err
	}
	status := text(values[0])
	claimed := Claimed{Other: status == "OTHER", Taken: status == "TAKEN", Now: text(values[1]), Fields: make(map[string]string)}
	for i := head; i+1 < len(values); i += 2 {
		claimed.Fields[text(values[i])] = text(values[i+1])
	}
	return claimed, nil
}

// Owner names the owner of a checkpoint, as [Runner.Claim] made it.
type Owner struct {
	ID    string
	Epoch int64
}

// Saved is the answer to a save.
type Saved int

// What a save may answer.
const (
	SaveTaken Saved = iota // another process has taken the batch over: nothing was changed
	SaveDone
	SaveGone // it was only to be renewed, and is not there
)

// Save is one save of a checkpoint.
type Save struct {
	Name   string
	Owner  Owner
	Seq    int64 // above those of all saves before
	TTL    time.Duration
	Fields map[string]string // all of them; nil renews what is there
}

// Save saves a checkpoint or renews it. It may be called again.
func (r *Runner) Save(ctx context.Context, keys wire.Keys, s Save) (Saved, error) {
	args := []any{s.Owner.ID, strconv.FormatInt(s.Owner.Epoch, 10), strconv.FormatInt(s.Seq, 10), s.TTL.Milliseconds(), s.Name}
	for _, name := range slices.Sorted(maps.Keys(s.Fields)) {
		args = append(args, name, s.Fields[name])
	}
	answer, err := r.run(ctx, checkpointScript, []string{keys.Batch(s.Name), keys.Cancels(), keys.Batches()}, args)
	return Saved(number(answer)), err
}

// Discard removes a checkpoint; own says that its owner does, and otherwise the owner will find that it was taken over. It reports
// false when it has another owner. It may be called again.
func (r *Runner) Discard(ctx context.Context, keys wire.Keys, name string, owner Owner, own bool) (bool, error) {
	mark := ""
	if own {
		mark = "+"
	}
	args := []any{owner.ID, strconv.FormatInt(owner.Epoch, 10), name, mark}
	answer, err := r.run(ctx, discardScript, []string{keys.Batch(name), keys.Cancels(), keys.Batches()}, args)
	return number(answer) == 1, err
}

// Leftover finds the tasks of a session on one page of the stream, from start ("-" at first) to the entry ID or time end. It returns
// where the next page starts, "" at the end.
func (r *Runner) Leftover(ctx context.Context, keys wire.Keys, session, start, end string) (tasks []TaskRef, next string, err error) {
	answer, err := r.run(ctx, leftoverScript, []string{keys.Tasks()}, []any{session, start, end, leftoverPage})
	if err != nil {
		return nil, "", err
	}
	values, err := list(leftoverScript, answer, 1)
	if err != nil {
		return nil, "", err
	}
	for i := 1; i+1 < len(values); i += 2 {
		tasks = append(tasks, TaskRef{ID: text(values[i]), Entry: text(values[i+1])})
	}
	return tasks, text(values[0]), nil
}
