package verdict_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/integration/internal/history"
	"github.com/athoune/worker-machine/integration/internal/verdict"
)

// Numbers with a meaning; see package history.
const (
	plain   = 1
	another = 2
	drops   = 3
	retried = 5
)

// TestEachKindOfFinding has, for each finding, a history that shows it, and the sound one that is closest to it.
func TestEachKindOfFinding(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tell func(s *story)
		want []verdict.Kind
	}{
		"all ways end": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain)
			s.order(drops, history.Kept).store(drops).work("worker-1", drops)
			s.order(retried, history.Call).work("worker-2", retried).result(retried)
			s.order(10, history.Map).work("worker-2", 10).result(10)
			s.settle(map[string]int64{"done": 3, "dead": 1})
		}, nil},
		"an acceptance that comes before its storing": {func(s *story) {
			s.order(plain, history.Forget).work("worker-1", plain).store(plain).settle(nil)
		}, nil},

		// Lost.
		"stored and never started": {func(s *story) { s.order(plain, history.Forget).store(plain).settle(nil) }, []verdict.Kind{verdict.Lost}},
		"stored and never started, of a killed client": {func(s *story) {
			s.order(plain, history.Forget).store(plain).fault(1, "kill a client", "client-1 [1 2]", false).healed(1, 0)
			s.tell("nemesis", history.Record{Kind: history.Settled})
		}, []verdict.Kind{verdict.Lost}},
		"stored and never started, data was lost meanwhile": {func(s *story) {
			s.order(plain, history.Forget).fault(1, "flush", "", true).store(plain).healed(1, 0).settle(nil)
		}, nil},
		"stored and never started, data was lost before": {func(s *story) {
			s.fault(1, "flush", "", true).healed(1, 0).order(plain, history.Forget).store(plain).settle(nil)
		}, []verdict.Kind{verdict.Lost}},
		"stored and never started, another fault": {func(s *story) {
			s.order(plain, history.Forget).fault(1, "kill the server", "the server", false).store(plain).healed(1, 0).settle(nil)
		}, []verdict.Kind{verdict.Lost}},
		"started and not ended, Redis counted nothing": {func(s *story) {
			s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1).settle(map[string]int64{"done": 0})
		}, []verdict.Kind{verdict.Lost}},
		"started and not ended, Redis counted it": {func(s *story) {
			s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1).settle(map[string]int64{"done": 1})
		}, nil},
		"started and not ended, Redis counted another one": {func(s *story) {
			s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1)
			s.order(another, history.Forget).store(another).work("worker-1", another).settle(map[string]int64{"done": 1})
		}, []verdict.Kind{verdict.Lost}},
		"started and not ended, nobody counted": {func(s *story) {
			s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1).settle(nil)
		}, nil},
		"cancelled by its ID before it started": {func(s *story) {
			s.order(plain, history.Kept).store(plain).tell("client-1", history.Record{Kind: history.Cancel, Number: plain})
			s.tell("worker-1", history.Record{Kind: history.Accepted, Task: id(plain), Error: history.Cancelled}).settle(map[string]int64{"cancelled": 1})
		}, nil},
		"cancelled, and Redis counted it": {func(s *story) {
			s.order(plain, history.Kept).store(plain).tell("client-1", history.Record{Kind: history.Cancel, Number: plain})
			s.settle(map[string]int64{"cancelled": 1})
		}, nil},
		"cancelled, and Redis counted nothing": {func(s *story) {
			s.order(plain, history.Kept).store(plain).tell("client-1", history.Record{Kind: history.Cancel, Number: plain})
			s.settle(map[string]int64{"cancelled": 0})
		}, []verdict.Kind{verdict.Lost}},
		"an outcome that should be kept": {func(s *story) {
			s.order(plain, history.Kept).store(plain).work("worker-1", plain)
			s.order(another, history.Kept).store(another).work("worker-1", another).outcome(another).settle(nil)
		}, []verdict.Kind{verdict.Lost}},
		"outcomes that are kept": {func(s *story) {
			s.order(plain, history.Kept).store(plain).work("worker-1", plain).outcome(plain)
			s.order(another, history.Kept).store(another).outcome(another).settle(nil)
		}, nil},

		// Phantom.
		"started, never ordered": {func(s *story) { s.start("worker-1", plain, 1).settle(nil) }, []verdict.Kind{verdict.Phantom}},
		"a result that nobody ordered": {func(s *story) {
			s.result(plain).settle(nil)
		}, []verdict.Kind{verdict.Phantom}},
		"refused, and runs": {func(s *story) {
			s.order(plain, history.Forget).refuse(plain).work("worker-1", plain).settle(nil)
		}, []verdict.Kind{verdict.Phantom}},
		"refused": {func(s *story) { s.order(plain, history.Forget).refuse(plain).settle(nil) }, nil},
		"a start without a number": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain).start("worker-1", 0, 1).settle(nil)
		}, []verdict.Kind{verdict.Phantom}},

		// Duplicate.
		"accepted twice": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain).accept("worker-2", plain).settle(nil)
		}, []verdict.Kind{verdict.Duplicate}},
		"accepted twice, once for sure": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain).again("worker-2", plain).settle(nil)
		}, nil},
		"accepted by one, late for another": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain)
			s.tell("worker-2", history.Record{Kind: history.Late, Number: plain}).settle(nil)
		}, nil},
		"accepted twice, data was lost between": {func(s *story) {
			s.order(plain, history.Call).work("worker-1", plain).fault(1, "flush", "", true).healed(1, 0)
			s.work("worker-2", plain).result(plain).settle(nil)
		}, nil},
		"accepted twice, ordered while data was lost": {func(s *story) {
			s.fault(1, "flush", "", true).order(plain, history.Call).healed(1, 0).work("worker-1", plain)
			s.work("worker-2", plain).result(plain).settle(nil)
		}, nil},
		"accepted twice, data was lost before": {func(s *story) {
			s.fault(1, "flush", "", true).healed(1, 0).order(plain, history.Call).work("worker-1", plain)
			s.work("worker-2", plain).result(plain).settle(nil)
		}, []verdict.Kind{verdict.Duplicate}},
		"two results": {func(s *story) {
			s.order(plain, history.Call).work("worker-1", plain).result(plain).result(plain).settle(nil)
		}, []verdict.Kind{verdict.Duplicate}},
		"two results, data was lost between": {func(s *story) {
			s.order(plain, history.Call).work("worker-1", plain).result(plain).fault(1, "flush", "", true).healed(1, 0).result(plain).settle(nil)
		}, []verdict.Kind{verdict.Duplicate}},
		"more outcomes than tasks": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain).settle(map[string]int64{"done": 2})
		}, []verdict.Kind{verdict.Duplicate}},
		"more outcomes than tasks, one unsure": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain)
			s.order(another, history.Forget).doubt(another).settle(map[string]int64{"done": 2})
		}, nil},
		"more outcomes than tasks, one refused": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain)
			s.order(another, history.Forget).refuse(another).settle(map[string]int64{"done": 2})
		}, []verdict.Kind{verdict.Duplicate}},
		"more outcomes than tasks, data was lost": {func(s *story) {
			s.order(plain, history.Forget).store(plain).work("worker-1", plain).fault(1, "flush", "", true).healed(1, 0).settle(map[string]int64{"done": 2})
		}, nil},
		"a dead letter that was replayed": {func(s *story) {
			s.order(drops, history.Forget).store(drops).work("worker-1", drops).settle(map[string]int64{"dead": 2, "replayed": 1})
		}, nil},

		// Wrong.
		"a wrong value": {func(s *story) {
			s.order(plain, history.Call).tell("client-1", history.Record{Kind: history.Result, Number: plain, Value: 7}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a wrong value that is kept": {func(s *story) {
			s.order(plain, history.Kept).store(plain).tell("nemesis", history.Record{Kind: history.Outcome, Number: plain, Value: 7}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a handler that returns a wrong value": {func(s *story) {
			s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1)
			s.tell("worker-1", history.Record{Kind: history.End, Number: plain, Value: 7, Attempt: 1}).accept("worker-1", plain).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a handler that is interrupted": {func(s *story) {
			s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1)
			s.tell("worker-1", history.Record{Kind: history.End, Number: plain, Error: "the lease was lost", Attempt: 1})
			s.work("worker-2", plain).settle(nil)
		}, nil},
		"a success that should be dropped": {func(s *story) {
			s.order(drops, history.Call).tell("client-1", history.Record{Kind: history.Result, Number: drops, Value: history.Value(drops)}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a success recorded that should be dropped": {func(s *story) {
			s.order(drops, history.Forget).store(drops).start("worker-1", drops, 1)
			s.tell("worker-1", history.Record{Kind: history.Accepted, Number: drops}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a failure of what should succeed": {func(s *story) {
			s.order(plain, history.Call).tell("client-1", history.Record{Kind: history.Result, Number: plain, Error: "timeout"}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a failure recorded of what should succeed": {func(s *story) {
			s.order(plain, history.Forget).store(plain)
			s.tell("worker-1", history.Record{Kind: history.Accepted, Number: plain, Error: "failed"}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"cancelled, and nobody asked": {func(s *story) {
			s.order(plain, history.Forget).store(plain)
			s.tell("worker-1", history.Record{Kind: history.Accepted, Number: plain, Error: history.Cancelled}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"cancelled as asked": {func(s *story) {
			s.order(plain, history.Forget).store(plain).tell("client-1", history.Record{Kind: history.Cancel, Number: plain})
			s.tell("worker-1", history.Record{Kind: history.Accepted, Number: plain, Error: history.Cancelled}).settle(nil)
		}, nil},
		"a crash loop": {func(s *story) {
			s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1)
			s.tell("worker-2", history.Record{Kind: history.Accepted, Number: plain, Error: history.CrashLoop}).settle(nil)
		}, nil},
		"a crash loop in which nobody crashed": {func(s *story) {
			s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1).end("worker-1", plain, 1)
			s.tell("worker-2", history.Record{Kind: history.Accepted, Number: plain, Error: history.CrashLoop}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a right run": {func(s *story) {
			s.order(plain, history.Run).tell("client-1", history.Record{Kind: history.Result, Number: plain, Value: history.RunValue(plain)}).settle(nil)
		}, nil},
		"a wrong run": {func(s *story) {
			s.order(plain, history.Run).tell("client-1", history.Record{Kind: history.Result, Number: plain, Value: 7}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a run that failed": {func(s *story) {
			s.order(plain, history.Run).tell("client-1", history.Record{Kind: history.Result, Number: plain, Error: "lost"}).settle(nil)
		}, []verdict.Kind{verdict.Wrong}},
		"a run that failed since data was lost": {func(s *story) {
			s.order(plain, history.Run).fault(1, "flush", "", true).healed(1, 0)
			s.tell("client-1", history.Record{Kind: history.Result, Number: plain, Error: "lost"}).settle(nil)
		}, nil},

		// Stuck and silent.
		"lies in Redis": {func(s *story) {
			s.order(plain, history.Forget).store(plain).tell("nemesis", history.Record{Kind: history.Left, Number: plain, Text: "pending"}).settle(nil)
		}, []verdict.Kind{verdict.LeftOver, verdict.Stuck}},
		"waited for":                       {func(s *story) { s.order(plain, history.Call).settle(nil) }, []verdict.Kind{verdict.Stuck}},
		"waited for, accepted":             {func(s *story) { s.order(plain, history.Map).work("worker-1", plain).settle(nil) }, []verdict.Kind{verdict.Stuck}},
		"waited for, and told in doubt":    {func(s *story) { s.order(plain, history.Call).doubt(plain).settle(nil) }, nil},
		"waited for, though data was lost": {func(s *story) { s.order(plain, history.Map).fault(1, "flush", "", true).healed(1, 0).settle(nil) }, []verdict.Kind{verdict.Stuck}},
		"waited for by a killed client":    {func(s *story) { s.order(plain, history.Map).killClient().tell("nemesis", settled) }, nil},
		"ordered and nothing heard":        {func(s *story) { s.order(plain, history.Forget).settle(nil) }, []verdict.Kind{verdict.Silent}},
		"ordered by a killed client":       {func(s *story) { s.order(plain, history.Forget).killClient().tell("nemesis", settled) }, nil},
		"killed, after it was all over":    {func(s *story) { s.order(plain, history.Call).settle(nil).killClient() }, []verdict.Kind{verdict.Stuck}},
		"ordered, recovered after doubt":   {func(s *story) { s.order(plain, history.Forget).doubt(plain).work("worker-1", plain).settle(nil) }, nil},
		"a call to store that never returns": {func(s *story) {
			s.tell("client-2", history.Record{Kind: history.Order, Number: plain, Way: history.Forget})
			s.order(another, history.Forget).store(another).work("worker-1", another).settle(nil)
		}, []verdict.Kind{verdict.Stuck, verdict.Unfinished}},

		// Early and late.
		"started before it is due": {func(s *story) {
			s.delay(plain, time.Second).store(plain).work("worker-1", plain).settle(nil)
		}, []verdict.Kind{verdict.Early}},
		"started when it is due": {func(s *story) {
			s.delay(plain, time.Second).store(plain).wait(time.Second).work("worker-1", plain).settle(nil)
		}, nil},
		"started early, by a clock that was set": {func(s *story) {
			s.delay(plain, time.Second).store(plain).fault(1, "set the clock forward", "", false).healed(1, 0).work("worker-1", plain).settle(nil)
		}, nil},
		"late after a fault": {func(s *story) {
			s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).healed(1, time.Second)
			s.wait(2*time.Second).work("worker-1", plain).settle(nil)
		}, []verdict.Kind{verdict.Late}},
		"in time after a fault": {func(s *story) {
			s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).healed(1, time.Second)
			s.wait(900*time.Millisecond).work("worker-1", plain).settle(nil)
		}, nil},
		"late after a fault without a bound": {func(s *story) {
			s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).healed(1, 0)
			s.wait(2*time.Second).work("worker-1", plain).settle(nil)
		}, nil},
		"late after a fault, with nothing to do": {func(s *story) {
			s.fault(1, "flood", "", false).healed(1, time.Second)
			s.wait(2*time.Second).order(plain, history.Forget).store(plain).work("worker-1", plain).settle(nil)
		}, nil},
		"late after a fault, another one was there": {func(s *story) {
			s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).fault(2, "frost", "", false).healed(1, time.Second)
			s.wait(2*time.Second).work("worker-1", plain).healed(2, time.Second).settle(nil)
		}, nil},
		"late after a fault, another one came in time": {func(s *story) {
			s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).healed(1, time.Second)
			s.wait(500*time.Millisecond).fault(2, "frost", "", false).healed(2, time.Second).wait(900 * time.Millisecond)
			s.work("worker-1", plain).settle(nil)
		}, nil},
		"late after a fault, another one came too late": {func(s *story) {
			s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).healed(1, time.Second)
			s.wait(2*time.Second).fault(2, "frost", "", false).work("worker-1", plain).healed(2, 0).settle(nil)
		}, []verdict.Kind{verdict.Late}},
		"late after a fault, and something newer first": {func(s *story) {
			s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).healed(1, time.Second).wait(2 * time.Second)
			s.order(another, history.Forget).store(another).work("worker-1", another).work("worker-1", plain).settle(nil)
		}, []verdict.Kind{verdict.Late}},

		// Disorder, left, unfinished.
		"results in order": {func(s *story) { s.ordered("a", 10).ordered("b", 8).ordered("a", 11).ordered("b", 9).settle(nil) }, nil},
		"results out of order": {func(s *story) {
			s.ordered("a", 11).ordered("a", 10).settle(nil)
		}, []verdict.Kind{verdict.Disorder}},
		"something is left": {func(s *story) {
			s.tell("nemesis", history.Record{Kind: history.Left, Text: "a key"}).settle(nil)
		}, []verdict.Kind{verdict.LeftOver}},
		"not settled": {func(s *story) {
			s.order(plain, history.Forget).store(plain).tell("nemesis", history.Record{Kind: history.Calm}).tell("client-1", settled)
		}, []verdict.Kind{verdict.Unfinished}},
		"nothing at all": {func(*story) {}, []verdict.Kind{verdict.Unfinished}},
		"a client that dies by itself": {func(s *story) {
			s.tell("client-2", history.Record{Kind: history.Order, Number: another, Way: history.Forget})
			s.tell("client-2", history.Record{Kind: history.Stored, Number: another}).work("worker-1", another)
			s.order(plain, history.Forget).store(plain).work("worker-1", plain).settle(nil)
		}, []verdict.Kind{verdict.Unfinished}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &story{}
			c.tell(s)
			report := judge(verdict.Config{}, s.records)
			got := slices.Sorted(maps.Keys(report.Found))
			if !slices.Equal(got, c.want) {
				t.Errorf("found %v, want %v\n%s", got, c.want, lines(report))
			}
			for kind, n := range report.Found {
				if n != 1 {
					t.Errorf("found %d %s, want one", n, kind)
				}
			}
		})
	}
}

// lines are the findings of a report.
func lines(r *verdict.Report) string {
	var text strings.Builder
	for _, f := range r.Findings {
		text.WriteString(f.String() + "\n")
	}
	return text.String()
}

// TestWhatIsCounted is about numbers in reports that are no findings.
func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	s := &story{}
	s.order(plain, history.Forget).store(plain).start("worker-1", plain, 1).start("worker-2", plain, 1)
	s.end("worker-1", plain, 1).accept("worker-1", plain).end("worker-2", plain, 1) // one overlaps with the other
	s.order(another, history.Forget).doubt(another).work("worker-1", another)
	s.order(4, history.Forget).store(4).start("worker-1", 4, 1).start("worker-2", 4, 1).end("worker-2", 4, 1).accept("worker-2", 4) // the first was killed
	s.order(6, history.Forget).store(6).fault(1, "flush", "", true).healed(1, 0).wait(3 * time.Second)
	s.order(8, history.Forget).store(8).work("worker-1", 8)
	s.order(9, history.Map).killClient()
	s.tell("nemesis", settled)
	r := judge(verdict.Config{}, s.records)
	if !r.OK() {
		t.Errorf("found:\n%s", lines(r))
	}
	for name, pair := range map[string][2]int{
		"tasks":      {r.Tasks, 6},
		"stored":     {r.Stored, 4},
		"unsure":     {r.Unsure, 1},
		"recovered":  {r.Recovered, 1},
		"excused":    {r.Excused, 1},
		"abandoned":  {r.Abandoned, 1},
		"executions": {r.Executions, 6},
		"overlaps":   {r.Overlaps, 1},
		"faults":     {r.Faults, 2},
		"killed":     {r.Killed, 1},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %d, want %d", name, pair[0], pair[1])
		}
	}
	if want := "6 tasks, 2 faults of 2 kinds, 0 acknowledged lost, 0 with two outcomes, worst recovery 0.0 s"; r.Summary() != want {
		t.Errorf("got %q, want %q", r.Summary(), want)
	}
}

// TestWorstRecovery is from the end of the fault to the first acceptance, where there was something to do.
func TestWorstRecovery(t *testing.T) {
	t.Parallel()
	s := &story{}
	s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).healed(1, 0).wait(1500*time.Millisecond).accept("worker-1", plain)
	s.fault(2, "frost", "", false).healed(2, 0).wait(time.Minute).order(another, history.Forget).store(another).accept("worker-1", another)
	s.settle(nil)
	r := judge(verdict.Config{}, s.records)
	if got := r.Worst.Round(100 * time.Millisecond); got != 1500*time.Millisecond || r.WorstFault != "flood" {
		t.Errorf("got %v after %q, want 1.5s after the flood", got, r.WorstFault)
	}
}

// TestTheBoundOfTheCallerHolds instead of those of the faults.
func TestTheBoundOfTheCallerHolds(t *testing.T) {
	t.Parallel()
	s := &story{}
	s.order(plain, history.Forget).store(plain).fault(1, "flood", "", false).healed(1, time.Minute).wait(3*time.Second).work("worker-1", plain).settle(nil)
	if r := judge(verdict.Config{}, s.records); !r.OK() {
		t.Errorf("found:\n%s", lines(r))
	}
	if r := judge(verdict.Config{Bound: time.Second}, s.records); r.Found[verdict.Late] != 1 {
		t.Errorf("found:\n%s\nwant one that is late", lines(r))
	}
}

// TestOfManyFindingsSomeAreTold and all are counted, in the sum too.
func TestOfManyFindingsSomeAreTold(t *testing.T) {
	t.Parallel()
	s := &story{}
	for n := int64(1); n <= 50; n++ {
		s.order(n, history.Forget).store(n)
	}
	s.settle(nil)
	r := judge(verdict.Config{Most: 10}, s.records)
	if len(r.Findings) != 10 || r.Found[verdict.Lost] != 50 {
		t.Errorf("got %d told, %d lost, want 10 and 50", len(r.Findings), r.Found[verdict.Lost])
	}
	if sum := verdict.Sum([]*verdict.Report{r, r}); sum.Found[verdict.Lost] != 100 || sum.Tasks != 100 || sum.OK() {
		t.Errorf("the sum is %s", sum.Summary())
	}
}
