package verdict

import (
	"fmt"
	"strings"

	"github.com/athoune/worker-machine/integration/internal/history"
)

// judgeOutcome compares an outcome with what the number makes.
func (j *Judge) judgeOutcome(t *task, r *history.Record) {
	complaint := j.complaint(t, r)
	if complaint != "" && t.first(foundWrong) {
		j.found(Wrong, r, "%s: %s", r.Kind, complaint)
	}
}

// complaint says what is wrong with an outcome, "" for nothing.
func (j *Judge) complaint(t *task, r *history.Record) string {
	if ways[t.way] == history.Run {
		return j.complaintOfRun(t, r)
	}
	switch {
	case r.Error == "":
		return complaintOfValue(r)
	case r.Error == history.Cancelled:
		t.mark(wasCancelled)
		if !t.awaited() && t.is(ordered) && !t.is(cancelAsked) {
			return "cancelled, and nobody asked for that"
		}
		return ""
	case r.Error == history.CrashLoop:
		t.mark(crashLoop) // looked at in the end: who died is known then
		return ""
	case strings.Contains(r.Error, history.DropMessage) && history.Drops(r.Number):
		return ""
	default:
		return fmt.Sprintf("failed with %q", r.Error)
	}
}

func complaintOfValue(r *history.Record) string {
	switch {
	case history.Drops(r.Number):
		return fmt.Sprintf("a result, where the number should end with %q", history.DropMessage)
	case r.Kind != history.Accepted && r.Value != history.Value(r.Number):
		return fmt.Sprintf("the value is %d, should be %d", r.Value, history.Value(r.Number))
	default:
		return ""
	}
}

// complaintOfRun is about a whole run, which fails rightly when data was lost.
func (j *Judge) complaintOfRun(t *task, r *history.Record) string {
	switch {
	case r.Error != "" && j.faults.mayHaveLost(t):
		return ""
	case r.Error != "":
		return fmt.Sprintf("the run failed with %q", r.Error)
	case r.Value != history.RunValue(r.Number):
		return fmt.Sprintf("the sum of the run is %d, should be %d", r.Value, history.RunValue(r.Number))
	default:
		return ""
	}
}
