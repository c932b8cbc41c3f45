package verdict

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/athoune/worker-machine/integration/internal/history"
)

// Report is what a judge has decided about one seed, or the sum over several.
type Report struct {
	Name       string              `json:"name"`            // of the history, for whoever reads it
	Title      string              `json:"title,omitempty"` // what the history says of itself
	Tasks      int                 `json:"tasks"`           // ordered
	Ways       map[history.Way]int `json:"ways"`            // of ordering them
	Stored     int                 `json:"stored"`          // acknowledged
	Refused    int                 `json:"refused"`         // not stored, for sure
	Unsure     int                 `json:"unsure"`          // stored or not, as the library said
	Recovered  int                 `json:"recovered"`       // unsure, and have an outcome
	Ended      int                 `json:"ended"`           // have an outcome that somebody wrote down
	Counted    int                 `json:"counted"`         // have one only by what Redis counted
	Excused    int                 `json:"excused"`         // have none, and data was lost while nobody kept them
	Abandoned  int                 `json:"abandoned"`       // have none, and whoever waited for it was killed
	Undecided  int                 `json:"undecided"`       // started, and nothing tells whether they have one
	Cancelled  int                 `json:"cancelled"`
	CrashLoops int                 `json:"crash_loops"`
	Repeated   int                 `json:"repeated"` // accepted again after a loss of data
	Gone       int                 `json:"gone"`     // times that the library told a client of lost data
	Executions int                 `json:"executions"`
	Overlaps   int                 `json:"overlaps"` // executions during which the task began once more
	Processes  int                 `json:"processes"`
	Killed     int                 `json:"killed"` // processes
	Records    int                 `json:"records"`
	Faults     int                 `json:"faults"`
	Kinds      map[string]int      `json:"kinds"`             // of faults
	Worst      time.Duration       `json:"worst_recovery_ns"` // from the end of a fault until something was accepted
	WorstFault string              `json:"worst_fault,omitempty"`
	Begin      int64               `json:"begin"` // of the first and the last record, in ns since 1970
	End        int64               `json:"end"`
	Found      map[Kind]int        `json:"found"`
	Findings   []Finding           `json:"findings"` // the first ones of each kind
}

// OK tells whether nothing was found.
func (r *Report) OK() bool { return len(r.Found) == 0 }

// Summary is the report as one line.
func (r *Report) Summary() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d tasks, %d faults of %d kinds, %d acknowledged lost, %d with two outcomes, worst recovery %.1f s",
		r.Tasks, r.Faults, len(r.Kinds), r.Found[Lost], r.Found[Duplicate], r.Worst.Seconds())
	for _, kind := range Kinds() {
		if n := r.Found[kind]; n > 0 && kind != Lost && kind != Duplicate {
			fmt.Fprintf(&text, ", %d %s", n, kind)
		}
	}
	return text.String()
}

// Counts is one line of what was counted and is no finding.
func (r *Report) Counts() string {
	text := fmt.Sprintf("%d records of %d processes in %v: %d executions",
		r.Records, r.Processes, time.Duration(r.End-r.Begin).Round(100*time.Millisecond), r.Executions)
	for _, c := range []struct {
		n    int
		text string
	}{
		{r.Overlaps, "overlapping"},
		{r.Refused, "refused"},
		{r.Unsure, "unsure"},
		{r.Recovered, "recovered"},
		{r.Cancelled, "cancelled"},
		{r.CrashLoops, "in a crash loop"},
		{r.Repeated, "accepted again after lost data"},
		{r.Counted, "told by totals only"},
		{r.Excused, "excused by lost data"},
		{r.Abandoned, "abandoned by killed clients"},
		{r.Undecided, "undecided"},
	} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.text)
		}
	}
	return text
}

// Sum adds reports up.
func Sum(reports []*Report) *Report {
	sum := &Report{Name: "all", Found: map[Kind]int{}, Ways: map[history.Way]int{}, Kinds: map[string]int{}}
	for _, r := range reports {
		sum.add(r)
	}
	return sum
}

func (r *Report) add(other *Report) {
	for _, pair := range [][2]*int{
		{&r.Tasks, &other.Tasks},
		{&r.Stored, &other.Stored},
		{&r.Refused, &other.Refused},
		{&r.Unsure, &other.Unsure},
		{&r.Recovered, &other.Recovered},
		{&r.Ended, &other.Ended},
		{&r.Counted, &other.Counted},
		{&r.Excused, &other.Excused},
		{&r.Abandoned, &other.Abandoned},
		{&r.Undecided, &other.Undecided},
		{&r.Cancelled, &other.Cancelled},
		{&r.CrashLoops, &other.CrashLoops},
		{&r.Repeated, &other.Repeated},
		{&r.Gone, &other.Gone},
		{&r.Executions, &other.Executions},
		{&r.Overlaps, &other.Overlaps},
		{&r.Processes, &other.Processes},
		{&r.Killed, &other.Killed},
		{&r.Records, &other.Records},
		{&r.Faults, &other.Faults},
	} {
		*pair[0] += *pair[1]
	}
	addUp(r.Ways, other.Ways)
	addUp(r.Kinds, other.Kinds)
	addUp(r.Found, other.Found)
	r.Findings = append(r.Findings, other.Findings...)
	if other.Worst > r.Worst {
		r.Worst, r.WorstFault = other.Worst, other.WorstFault
	}
	r.End += other.End - other.Begin
}

func addUp[K comparable](to, from map[K]int) {
	for key := range maps.Keys(from) {
		to[key] += from[key]
	}
}
