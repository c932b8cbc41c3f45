package mapreduce

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/athoune/worker-machine/internal/script"
)

// What ends a run; test with errors.Is.
var (
	// ErrNoRun says that there is no run of that ID: it never was, has been removed, or has expired.
	ErrNoRun = errors.New("mapreduce: there is no such run")
	// ErrCancelled says that the run was cancelled or removed while somebody waited for it.
	ErrCancelled = errors.New("mapreduce: the run was cancelled")
	// ErrDeadline says that the run was not done in the time given by [Within].
	ErrDeadline = errors.New("mapreduce: the time of the run is over")
	// ErrTooMuchData says that mappers emitted more than [Limit] allows.
	ErrTooMuchData = errors.New("mapreduce: mappers emitted more than the run's limit: combine, partition the inputs, or raise Limit")
	// ErrDataLost says that Redis has lost a part of the data between mappers and reducers, or of the results: submit the run again.
	ErrDataLost = errors.New("mapreduce: redis has lost data of the run")
	// ErrTasksFailed says that more tasks failed than the run tolerates.
	ErrTasksFailed = errors.New("mapreduce: tasks of the run failed")
	// ErrOtherRun says that a Submit cannot continue the run of its [RunID], which began with other inputs or as another job.
	ErrOtherRun = errors.New("mapreduce: the run began with other inputs, or as another job")
)

// reasons are the errors of a run that failed.
var reasons = map[string]error{
	script.ReasonTasks:     ErrTasksFailed,
	script.ReasonDeadline:  ErrDeadline,
	script.ReasonTooMuch:   ErrTooMuchData,
	script.ReasonDataLost:  ErrDataLost,
	script.ReasonCancelled: ErrCancelled,
	script.ReasonRemoved:   ErrCancelled,
}

// TaskFailure is how a task of a run failed for good.
type TaskFailure struct {
	Phase   string `json:"phase"`            // "map" or "reduce"
	Number  int    `json:"number"`           // of the split, or of the partition
	First   int    `json:"first,omitempty"`  // of a map task: the number of its first input
	Inputs  int    `json:"inputs,omitempty"` // and how many it has; 0 where a worker died before it could tell
	TaskID  string `json:"task"`
	Attempt int    `json:"attempt"`
	Worker  string `json:"worker,omitempty"` // "" where a worker died before it could tell
	Reason  string `json:"reason"`           // "failed", "dropped", "crash loop", "unknown function", ...
	Message string `json:"message"`
}

// String is a line for a person.
func (f *TaskFailure) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s task %d", f.Phase, f.Number)
	if f.Inputs > 0 {
		fmt.Fprintf(&b, " (inputs %d to %d)", f.First, f.First+f.Inputs-1)
	}
	fmt.Fprintf(&b, ", task %s, attempt %d", f.TaskID, f.Attempt)
	if f.Worker != "" {
		fmt.Fprintf(&b, " on %s", f.Worker)
	}
	if f.Reason != "" && f.Reason != script.ReasonTasks {
		fmt.Fprintf(&b, ": %s", f.Reason)
	}
	fmt.Fprintf(&b, ": %s", f.Message)
	return b.String()
}

func (f *TaskFailure) encode() string {
	text, err := json.Marshal(f)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return string(text)
}

// RunError is why a run failed. It wraps one of the errors above.
type RunError struct {
	ID       string
	Job      string
	Cause    error         // [ErrTasksFailed], [ErrDeadline], [ErrTooMuchData], [ErrDataLost] or [ErrCancelled]
	Failures []TaskFailure // the tasks that failed, by phase and number
}

// mostNamed bounds the text of an error.
const mostNamed = 5

// Error names the run, why it failed, and the first tasks that did.
func (e *RunError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: run %s of %s", e.Cause, e.ID, e.Job)
	for i := range e.Failures {
		if i == mostNamed {
			fmt.Fprintf(&b, "; and %d more", len(e.Failures)-mostNamed)
			break
		}
		fmt.Fprintf(&b, "; %s", &e.Failures[i])
	}
	return b.String()
}

// Unwrap is the cause.
func (e *RunError) Unwrap() error { return e.Cause }
