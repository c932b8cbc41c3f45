package verdict

import (
	"slices"
	"strings"
	"time"

	"github.com/athoune/worker-machine/integration/internal/history"
)

// faults is what is known of faults, and how soon things go on after each.
type faults struct {
	bound   time.Duration // of all of them, 0 for that of each
	begun   int
	healed  int
	kinds   map[string]int
	active  map[int64]history.Record // under way
	quiet   int64                    // since when there is none
	watches []*watch

	losses  uint16 // faults with Loses that have begun
	healing uint16 // of them over
	clock   bool   // a clock was set

	worst      time.Duration // from the end of a fault until something was accepted
	worstFault string
}

// watch waits for the first acceptance after a fault.
type watch struct {
	fault   history.Record
	healed  uint32 // how many faults had ended, with this one
	ordered int64  // when the first order came since
	moved   bool   // something was accepted
	stall   time.Duration
}

func (f *faults) begin(r *history.Record) {
	f.stalled(r.At)
	f.begun++
	f.kinds[r.Fault]++
	f.active[r.Number] = *r
	if r.Loses {
		f.losses++
	}
	if strings.Contains(r.Fault, "clock") {
		f.clock = true
	}
}

func (f *faults) end(r *history.Record) {
	begun, ok := f.active[r.Number]
	if !ok {
		return
	}
	delete(f.active, r.Number)
	f.healed++
	if begun.Loses {
		f.healing++
	}
	if len(f.active) == 0 {
		f.quiet = r.At
	}
	ended := *r
	ended.Fault, ended.Bound = begun.Fault, max(begun.Bound, r.Bound)
	if f.bound > 0 {
		ended.Bound = int64(f.bound)
	}
	f.watches = append(f.watches, &watch{fault: ended, healed: uint32(f.healed)}) //nolint:gosec // not so many
}

// mayHaveLost tells whether a fault that loses data overlapped the time since a task was ordered.
func (f *faults) mayHaveLost(t *task) bool { return f.losses > t.healed }

// stalled notes for how long nothing has been accepted, while there was no fault.
func (f *faults) stalled(now int64) {
	if len(f.active) > 0 {
		return
	}
	for _, w := range f.watches {
		if !w.moved {
			w.stall = max(w.stall, time.Duration(now-f.quiet))
		}
	}
}

// order notes that there is work now in any case.
func (f *faults) order(at int64) {
	for _, w := range f.watches {
		if w.ordered == 0 {
			w.ordered = at
		}
	}
}

// progress notes that a task was accepted. It returns the watches that prove that this should have been earlier: the task had been there
// when the fault ended.
func (f *faults) progress(t *task, at int64) (late []*watch) {
	if len(f.watches) == 0 {
		return nil
	}
	f.stalled(at)
	f.watches = slices.DeleteFunc(f.watches, func(w *watch) bool {
		there := t.known != 0 && t.known <= w.healed
		if !w.moved {
			w.moved = true
			f.recovered(w, there, at)
		}
		if w.fault.Bound == 0 || w.stall <= time.Duration(w.fault.Bound) {
			return true
		}
		if there {
			late = append(late, w)
		}
		return there
	})
	return late
}

// recovered notes how long a recovery took: from the end of the fault, or from when there was work for sure.
func (f *faults) recovered(w *watch, there bool, at int64) {
	from := w.fault.At
	if !there {
		from = max(from, w.ordered)
	}
	if took := time.Duration(at - from); took > f.worst {
		f.worst, f.worstFault = took, w.fault.Fault
	}
}

// killed names the process that a fault kills, "" for none.
func killed(r *history.Record) string {
	if !strings.HasPrefix(r.Fault, "kill") {
		return ""
	}
	name, _, _ := strings.Cut(r.Text, " ")
	return name
}
