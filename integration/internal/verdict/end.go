package verdict

import (
	"cmp"
	"fmt"
	"slices"
)

// closing is the last look at all tasks, once the history is over.
type closing struct {
	*Judge
	owners  []*process // by index
	names   []string
	asked   bool // clients say of themselves when they have settled
	over    bool // the waiting for what is under way is over
	unclear []suspect
	capable int // tasks that can have an outcome in Redis
	ended   int // that have one for sure
}

// suspect is a task that was started, and of which no outcome was written down.
type suspect struct {
	number int64
	*task
}

// Report decides what can be decided only in the end. The judge is of no use afterwards.
func (j *Judge) Report() *Report {
	c := &closing{Judge: j}
	c.adopt()
	c.settle()
	j.tasks.each(c.task)
	c.totals()
	r := &j.report
	r.Faults, r.Kinds, r.Worst, r.WorstFault = j.faults.begun, j.faults.kinds, j.faults.worst, j.faults.worstFault
	r.Processes += len(j.processes)
	order := Kinds()
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(slices.Index(order, a.Kind)-slices.Index(order, b.Kind), cmp.Compare(a.Number, b.Number))
	})
	return r
}

// adopt gives outcomes that came without a number to their tasks.
func (c *closing) adopt() {
	if len(c.orphans) == 0 {
		return
	}
	c.tasks.each(func(_ int64, t *task) {
		if t.id != 0 && c.orphans[t.id] {
			t.mark(ended)
		}
	})
}

// settle looks at how the processes ended.
func (c *closing) settle() {
	c.owners, c.names = make([]*process, len(c.processes)), make([]string, len(c.processes))
	settled, unsettled := false, false
	for name, p := range c.processes {
		c.owners[p.index], c.names[p.index] = p, name
		settled = settled || p.settled
		unsettled = unsettled || p.calm && !p.settled
		c.asked = c.asked || p.orders && p.settled
		if p.killed = c.killed[name] && !p.settled; p.killed {
			c.report.Killed++
		}
	}
	c.over = settled && !unsettled
	if c.over {
		c.unfinished()
		return
	}
	c.find(Finding{Kind: Unfinished, Text: "there is no record that says that all is settled, so it is not decided what is lost or stuck"})
}

// unfinished finds processes that ended by themselves.
func (c *closing) unfinished() {
	for i, p := range c.owners {
		if c.broken(p) && !p.killed {
			c.find(Finding{Kind: Unfinished, Process: c.names[i], Text: "this process ordered tasks and did not end in order, and nobody killed it"})
		}
	}
}

// broken tells whether a process that ordered tasks did not end in order.
func (c *closing) broken(p *process) bool { return c.asked && p.orders && !p.settled }

// task decides about one task.
func (c *closing) task(n int64, t *task) {
	c.count(t)
	ran := t.is(ended) || t.starts > 0
	switch {
	case !t.is(ordered):
		if ran {
			c.about(Phantom, n, t, "it ran or has an outcome, and nobody ordered it")
		}
	case t.is(refused):
		if ran {
			c.about(Phantom, n, t, "it ran or has an outcome, though it was said not to be stored")
		}
	case c.over:
		c.settled(n, t)
	}
}

// settled decides about a task that was ordered, once all is over.
func (c *closing) settled(n int64, t *task) {
	if t.is(crashLoop) && t.starts <= t.ends && t.first(foundWrong) {
		c.about(Wrong, n, t, "it ended as a crash loop, and all its handlers returned")
	}
	switch {
	case t.is(leftInRedis):
		c.about(Stuck, n, t, "it lies in Redis when all is over")
	case t.is(unsure):
	case t.awaited():
		c.awaited(n, t)
	case t.is(stored):
		c.stored(n, t)
	case c.owners[t.owner].killed:
		c.report.Abandoned++
	case c.broken(c.owners[t.owner]):
		c.about(Stuck, n, t, "the call that was to store it did not return")
	default:
		c.about(Silent, n, t, "whoever ordered it was not told whether it is stored")
	}
}

// count adds a task to what is counted.
func (c *closing) count(t *task) {
	r := &c.report
	for _, one := range []struct {
		is    bool
		count *int
	}{
		{t.is(stored), &r.Stored},
		{t.is(refused), &r.Refused},
		{t.is(unsure), &r.Unsure},
		{t.is(ended), &r.Ended},
		{t.is(unsure) && t.is(ended), &r.Recovered},
		{t.is(wasCancelled), &r.Cancelled},
		{t.is(crashLoop), &r.CrashLoops},
		{t.is(ordered) && !t.is(refused) && !t.is(leftInRedis) && !t.isRun(), &c.capable},
		{t.is(ordered) && t.is(ended) && !t.isRun(), &c.ended},
	} {
		if one.is {
			*one.count++
		}
	}
}

// awaited decides about a task whose owner waits for its outcome.
func (c *closing) awaited(n int64, t *task) {
	switch {
	case t.is(resulted):
	case c.owners[t.owner].killed:
		if !t.is(ended) {
			c.report.Abandoned++
		}
	case t.is(ended):
		c.about(Stuck, n, t, "it has an outcome, which was not given to the process that waits for it")
	default:
		c.about(Stuck, n, t, "the process that waits for it was given no outcome")
	}
}

// stored decides about a task that is in Redis as far as its owner knows, and that nobody waits for.
func (c *closing) stored(n int64, t *task) {
	switch {
	case t.is(ended):
		if c.kept[t.way] && !t.is(outcomeKept) && !t.is(cancelAsked) && !c.faults.mayHaveLost(t) {
			c.about(Lost, n, t, "it has an outcome, which Redis does not keep though it should")
		}
	case c.faults.mayHaveLost(t):
		c.report.Excused++
	case t.starts == 0 && !t.is(cancelAsked):
		c.about(Lost, n, t, "it was acknowledged, never started, and has no outcome")
	default:
		c.unclear = append(c.unclear, suspect{n, t})
	}
}

func (c *closing) about(kind Kind, n int64, t *task, text string) {
	f := Finding{Kind: kind, Number: n, Text: text}
	if t.is(ordered) {
		f.Process, f.Text = c.names[t.owner], fmt.Sprintf("%s: %s", ways[t.way], text)
	}
	c.find(f)
}

// totals compares with what Redis counted: each outcome once, in the step that records it.
func (c *closing) totals() {
	if !c.over || len(c.Judge.totals) == 0 || c.faults.losses > 0 {
		c.report.Undecided += len(c.unclear)
		return
	}
	var outcomes int
	for _, counts := range c.Judge.totals {
		outcomes += int(counts["done"] + counts["dead"] + counts["cancelled"] - counts["replayed"])
	}
	if outcomes > c.capable {
		c.find(Finding{Kind: Duplicate, Text: fmt.Sprintf(
			"Redis has recorded %d outcomes, and only %d tasks can have one: %d or more have two", outcomes, c.capable, outcomes-c.capable)})
	}
	hidden := max(0, outcomes-c.ended) // outcomes that nobody wrote down
	lost := max(0, len(c.unclear)-hidden)
	slices.SortStableFunc(c.unclear, func(a, b suspect) int { return cmp.Compare(b.doubt(), a.doubt()) })
	for _, s := range c.unclear[:lost] {
		c.about(Lost, s.number, s.task, fmt.Sprintf("it was acknowledged and no outcome was seen; Redis has recorded %d for %d tasks like it", hidden, len(c.unclear)))
	}
	c.report.Counted += len(c.unclear) - lost
}

// doubt is how likely it is that a task is lost, compared with others.
func (s suspect) doubt() int {
	switch {
	case s.is(cancelAsked):
		return 0
	case s.ends == 0:
		return 2
	default:
		return 1
	}
}
