package mapreduce

import (
	"errors"
	"fmt"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

const (
	defaultExpire = 24 * time.Hour
	defaultLimit  = 1 << 30
	leastExpire   = time.Second
	mostNote      = 4 << 10
)

// RunOption tunes one call of [Job.Submit].
type RunOption func(*runOptions)

type runOptions struct {
	id            string
	note          string
	keep          time.Duration
	expire        time.Duration
	within        time.Duration
	tolerate      int
	share         float64
	limit         int64
	noSpeculation bool
}

// RunID gives the run an ID, as [stream.NewID] makes it; default: a new one. With the ID of a run that is there, Submit continues what was
// interrupted: it expects the same inputs, and skips those that are stored. Where all of them are, it returns the run as [Job.Resume] does.
func RunID(id string) RunOption { return func(o *runOptions) { o.id = id } }

// Keep leaves the results in Redis for so long after the run is done, whoever has read them. Default: they are removed when a loop over
// [Run.Results] has reached its end, and expire as [Expire] says otherwise.
func Keep(d time.Duration) RunOption { return func(o *runOptions) { o.keep = d } }

// Expire is after how long a run that nobody works on and nobody waits for is gone; default 24 h, at least 1 s. It counts anew while
// inputs are submitted, while workers run its tasks, while somebody waits for it, and from its end.
func Expire(d time.Duration) RunOption { return func(o *runOptions) { o.expire = d } }

// Within is the deadline of the run, from its beginning, by the clock of Redis: later it fails with [ErrDeadline]. Default: none. It may be
// noticed two seconds late.
func Within(d time.Duration) RunOption { return func(o *runOptions) { o.within = d } }

// Tolerate lets the run go on while at most k of its tasks, of both phases, have failed for good; results lack what they would have given.
// Default 0: the run fails with the first. [Run.Failures] names them.
func Tolerate(k int) RunOption { return func(o *runOptions) { o.tolerate = k } }

// TolerateShare is [Tolerate] of a share, 0 to 1, of all tasks of the run, map and reduce; the larger of both counts. It is judged once all
// inputs are stored.
func TolerateShare(share float64) RunOption { return func(o *runOptions) { o.share = share } }

// NoSpeculation switches off that tasks which take far longer than the others are started a second time elsewhere: for functions that
// must not run twice at the same time, and for those that take unequal times for a reason.
func NoSpeculation() RunOption { return func(o *runOptions) { o.noSpeculation = true } }

// Limit bounds the bytes that lie between mappers and reducers, in all partitions together; default 1 GiB. Above it the run
// fails with [ErrTooMuchData]. They take some more in Redis.
func Limit(bytes int64) RunOption { return func(o *runOptions) { o.limit = bytes } }

// Note is a text of at most 4 KiB that listings show beside the run.
func Note(text string) RunOption { return func(o *runOptions) { o.note = text } }

func newRunOptions(opts []RunOption) (runOptions, error) {
	o := runOptions{expire: defaultExpire, limit: defaultLimit}
	for _, opt := range opts {
		opt(&o)
	}
	if o.id == "" {
		o.id = stream.NewID()
	}
	var bad []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf("mapreduce: "+format, args...))
		}
	}
	probe := wire.Task{ID: o.id, Function: "f"}
	report(probe.Check() == nil, "RunID(%.40q): use a ULID of 26 characters, as stream.NewID makes", o.id)
	report(o.keep == 0 || o.keep >= leastExpire, "Keep(%v): use %v or more", o.keep, leastExpire)
	report(o.expire >= leastExpire, "Expire(%v): use %v or more", o.expire, leastExpire)
	report(o.within == 0 || o.within >= time.Millisecond, "Within(%v): use 1ms or more", o.within)
	report(o.tolerate >= 0, "Tolerate(%d): use 0 or more", o.tolerate)
	report(o.share >= 0 && o.share <= 1, "TolerateShare(%v): use 0 to 1", o.share)
	report(o.limit >= 1, "Limit(%d): use 1 byte or more", o.limit)
	report(len(o.note) <= mostNote, "Note: %d bytes, use at most %d", len(o.note), mostNote)
	return o, errors.Join(bad...)
}

// fields is what the record of the run holds of the options.
func (o *runOptions) fields() []any {
	speculate := 1
	if o.noSpeculation {
		speculate = 0
	}
	return []any{
		"note", o.note, "keep", o.keep.Milliseconds(), "within", o.within.Milliseconds(),
		"tolerate", o.tolerate, "share", o.share, "limit", o.limit, "speculate", speculate,
	}
}
