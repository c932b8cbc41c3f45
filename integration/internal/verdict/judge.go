package verdict

import (
	"fmt"
	"strings"
	"time"

	"github.com/athoune/worker-machine/integration/internal/history"
)

// Config tunes a [Judge]. The zero value is ready to use.
type Config struct {
	Bound time.Duration // hold every fault to this bound instead of its own
	Most  int           // findings of a kind that are told; all are counted; default 1000
}

// early is by how much a task may start before it is due: clocks of processes are read one after the other.
const early = int64(2 * time.Millisecond)

// Judge hears the records of one seed, in the order of their times, and decides. It is not safe for concurrent use.
type Judge struct {
	cfg        Config
	tasks      *table
	faults     faults
	executions *executions
	processes  map[string]*process
	due        map[int64]int64
	orphans    map[uint64]bool // hashes of IDs of tasks that ended without a number
	batches    map[string]int64
	totals     map[string]map[string]int64
	killed     map[string]bool // names of what a fault killed
	kept       [8]bool         // by way: its outcomes are read at the end
	report     Report
}

// process is one that wrote records.
type process struct {
	index                         uint16
	orders, calm, settled, killed bool
}

// New makes a judge.
func New(cfg Config) *Judge {
	if cfg.Most == 0 {
		cfg.Most = 1000
	}
	return &Judge{
		cfg: cfg, tasks: newTable(), executions: newExecutions(), processes: map[string]*process{},
		faults: faults{bound: cfg.Bound, kinds: map[string]int{}, active: map[int64]history.Record{}},
		due:    map[int64]int64{}, orphans: map[uint64]bool{}, batches: map[string]int64{}, totals: map[string]map[string]int64{},
		killed: map[string]bool{},
		report: Report{Found: map[Kind]int{}, Ways: map[history.Way]int{}},
	}
}

// Hear takes in the next record. The record is not kept.
func (j *Judge) Hear(r *history.Record) {
	j.report.Records++
	if j.report.Begin == 0 {
		j.report.Begin = r.At
	}
	j.report.End = max(j.report.End, r.At)
	p := j.process(r.Process)
	if hear, ok := hearing[r.Kind]; ok {
		hear(j, p, r)
	} else if hear, ok := hearingOfTask[r.Kind]; ok {
		j.hearOfTask(hear, p, r)
	}
}

// hearing is what records do that are about no single task.
var hearing = map[history.Kind]func(*Judge, *process, *history.Record){
	history.Begin:      (*Judge).begin,
	history.FaultBegin: (*Judge).fault,
	history.FaultEnd:   func(j *Judge, _ *process, r *history.Record) { j.faults.end(r) },
	history.Calm:       func(_ *Judge, p *process, _ *history.Record) { p.calm = true },
	history.Settled:    func(_ *Judge, p *process, _ *history.Record) { p.settled = true },
	history.Left:       (*Judge).left,
	history.Totals:     func(j *Judge, _ *process, r *history.Record) { j.totals[r.Process+" "+r.Text] = r.Counts },
	history.Gone:       func(j *Judge, _ *process, _ *history.Record) { j.report.Gone++ },
}

// ofTask is what a record does to the task it is about.
type ofTask func(*Judge, *task, *process, *history.Record)

var hearingOfTask = map[history.Kind]ofTask{
	history.Order:    (*Judge).order,
	history.Stored:   (*Judge).store,
	history.Refused:  func(_ *Judge, t *task, _ *process, _ *history.Record) { t.mark(refused) },
	history.Unsure:   func(_ *Judge, t *task, _ *process, _ *history.Record) { t.mark(unsure) },
	history.Cancel:   func(_ *Judge, t *task, _ *process, _ *history.Record) { t.mark(cancelAsked) },
	history.Start:    (*Judge).start,
	history.End:      (*Judge).end,
	history.Accepted: (*Judge).accept,
	history.Result:   (*Judge).result,
	history.Outcome:  (*Judge).outcome,
	history.Late:     func(*Judge, *task, *process, *history.Record) {}, // the other outcome speaks for itself
}

func (j *Judge) process(name string) *process {
	p := j.processes[name]
	if p == nil {
		p = &process{index: uint16(len(j.processes))} //nolint:gosec // one seed has not so many processes
		j.processes[name] = p
	}
	return p
}

// begin notes what the history says of itself: the process that has the seed knows best.
func (j *Judge) begin(_ *process, r *history.Record) {
	if j.report.Title == "" || strings.Contains(r.Text, "seed") && !strings.Contains(j.report.Title, "seed") {
		j.report.Title = r.Text
	}
}

func (j *Judge) fault(_ *process, r *history.Record) {
	j.faults.begin(r)
	if name := killed(r); name != "" {
		j.killed[name] = true
	}
}

func (j *Judge) left(_ *process, r *history.Record) {
	if r.Number > 0 {
		j.tasks.at(r.Number).mark(leftInRedis)
	}
	j.find(Finding{Kind: LeftOver, Number: r.Number, Process: r.Process, At: r.At, Text: r.Text})
}

func (j *Judge) find(f Finding) {
	if j.report.Found[f.Kind] < j.cfg.Most {
		j.report.Findings = append(j.report.Findings, f)
	}
	j.report.Found[f.Kind]++
}

// found is a finding that a record shows.
func (j *Judge) found(kind Kind, r *history.Record, format string, args ...any) {
	j.find(Finding{Kind: kind, Number: r.Number, Process: r.Process, At: r.At, Text: fmt.Sprintf(format, args...)})
}

// hearOfTask takes in what happened to a task.
func (j *Judge) hearOfTask(hear ofTask, p *process, r *history.Record) {
	if r.Number <= 0 {
		j.hearOfID(r)
		return
	}
	t := j.tasks.at(r.Number)
	if t.id == 0 && r.Task != "" {
		t.id = j.executions.hash(r.Task)
	}
	hear(j, t, p, r)
}

// hearOfID takes in a task whose number nobody knew, since it was cancelled or buried before it started.
func (j *Judge) hearOfID(r *history.Record) {
	switch r.Kind {
	case history.Accepted, history.Result, history.Outcome:
		if r.Task != "" {
			j.orphans[j.executions.hash(r.Task)] = true
			return
		}
		j.found(Phantom, r, "%s of a task without number and ID", r.Kind)
	case history.Start, history.End:
		j.found(Phantom, r, "%s of the number %d, which nobody can order", r.Kind, r.Number)
	default:
	}
}

func (j *Judge) order(t *task, p *process, r *history.Record) {
	if !t.first(ordered) {
		return
	}
	p.orders = true
	t.owner, t.way, t.healed = p.index, wayNumber(r.Way), j.faults.healing
	j.report.Tasks++
	j.report.Ways[r.Way]++
	if r.Due != 0 {
		j.due[r.Number] = r.Due
	}
	j.faults.order(r.At)
}

func (j *Judge) store(t *task, _ *process, _ *history.Record) {
	t.mark(stored)
	j.seen(t)
}

// seen notes since which fault a task is known to be in Redis.
func (j *Judge) seen(t *task) {
	if t.known == 0 {
		t.known = uint32(j.faults.healed) + 1 //nolint:gosec // faults are not so many
	}
}

func (j *Judge) start(t *task, p *process, r *history.Record) {
	j.report.Executions++
	j.seen(t)
	j.executions.start(t, p.index, r)
	if due := j.due[r.Number]; due != 0 && r.At < due-early && !j.faults.clock && t.first(foundEarly) {
		j.found(Early, r, "started %v before it was due", time.Duration(due-r.At))
	}
}

func (j *Judge) end(t *task, p *process, r *history.Record) {
	if j.executions.end(t, p.index, r) {
		j.report.Overlaps++
	}
	if r.Error == "" || strings.Contains(r.Error, history.DropMessage) {
		j.judgeOutcome(t, r)
	}
}

func (j *Judge) accept(t *task, _ *process, r *history.Record) {
	for _, w := range j.faults.progress(t, r.At) {
		j.found(Late, r, "nothing was accepted for %v after the fault %q had ended, and there was work; the bound is %v",
			w.stall.Round(time.Millisecond), w.fault.Fault, time.Duration(w.fault.Bound))
	}
	t.mark(ended)
	if !r.Again && !t.first(accepted) {
		if j.faults.mayHaveLost(t) {
			j.report.Repeated++
		} else if t.first(foundDuplicate) {
			j.found(Duplicate, r, "was accepted a second time, and no data was lost since it was ordered")
		}
	}
	if r.Error != "" || history.Drops(r.Number) {
		j.judgeOutcome(t, r)
	}
}

func (j *Judge) result(t *task, _ *process, r *history.Record) {
	if !t.first(resulted) && t.first(foundDuplicate) {
		j.found(Duplicate, r, "its result was given twice to the process that ordered it")
	}
	t.mark(ended)
	j.judgeOutcome(t, r)
	if ways[t.way] != history.Ordered || r.Text == "" {
		return
	}
	batch := r.Process + " " + r.Text
	if last := j.batches[batch]; last > r.Number {
		j.found(Disorder, r, "its result came after that of number %d", last)
	}
	j.batches[batch] = r.Number
}

func (j *Judge) outcome(t *task, _ *process, r *history.Record) {
	t.mark(outcomeKept | ended)
	j.kept[t.way] = true
	j.judgeOutcome(t, r)
}
