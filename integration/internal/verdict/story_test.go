package verdict_test

import (
	"slices"
	"time"

	"github.com/athoune/worker-machine/integration/internal/history"
	"github.com/athoune/worker-machine/integration/internal/verdict"
)

// story is a history that is made by hand. Each record is a millisecond after the one before.
type story struct {
	now     int64
	records []history.Record
}

const begin = int64(1_700_000_000_000_000_000)

// tell adds a record of a process.
func (s *story) tell(process string, r history.Record) *story {
	if s.now == 0 {
		s.now = begin
	}
	s.now += int64(time.Millisecond)
	r.At, r.Process = s.now, process
	s.records = append(s.records, r)
	return s
}

func (s *story) wait(d time.Duration) *story {
	s.now += int64(d)
	return s
}

func (s *story) order(n int64, way history.Way) *story {
	return s.tell("client-1", history.Record{Kind: history.Order, Number: n, Way: way})
}

func (s *story) store(n int64) *story {
	return s.tell("client-1", history.Record{Kind: history.Stored, Number: n, Task: id(n)})
}

func (s *story) start(worker string, n int64, attempt int) *story {
	return s.tell(worker, history.Record{Kind: history.Start, Number: n, Task: id(n), Attempt: attempt, Worker: worker})
}

// end is that of a handler that does what it should.
func (s *story) end(worker string, n int64, attempt int) *story {
	r := right(n)
	if history.FailsFirst(n) && attempt == 1 {
		r = history.Record{Number: n, Error: "the first attempt fails"}
	}
	r.Kind, r.Task, r.Attempt, r.Worker = history.End, id(n), attempt, worker
	return s.tell(worker, r)
}

func (s *story) accept(worker string, n int64) *story {
	return s.tell(worker, history.Record{Kind: history.Accepted, Number: n, Task: id(n), Worker: worker, Error: right(n).Error})
}

// work is all that a worker does of a task.
func (s *story) work(worker string, n int64) *story {
	attempt := 1
	if s.start(worker, n, attempt).end(worker, n, attempt); history.FailsFirst(n) {
		attempt++
		s.start(worker, n, attempt).end(worker, n, attempt)
	}
	return s.accept(worker, n)
}

func (s *story) result(n int64) *story {
	r := right(n)
	r.Kind = history.Result
	return s.tell("client-1", r)
}

func (s *story) fault(number int64, kind, text string, loses bool) *story {
	return s.tell("nemesis", history.Record{Kind: history.FaultBegin, Number: number, Fault: kind, Text: text, Loses: loses})
}

func (s *story) healed(number int64, bound time.Duration) *story {
	return s.tell("nemesis", history.Record{Kind: history.FaultEnd, Number: number, Bound: int64(bound)})
}

// again is an acceptance after a call that had failed.
func (s *story) again(worker string, n int64) *story {
	return s.tell(worker, history.Record{Kind: history.Accepted, Number: n, Worker: worker, Error: right(n).Error, Again: true})
}

func (s *story) outcome(n int64) *story {
	r := right(n)
	r.Kind = history.Outcome
	return s.tell("nemesis", r)
}

func (s *story) refuse(n int64) *story {
	return s.tell("client-1", history.Record{Kind: history.Refused, Number: n, Error: "the queue is full"})
}

func (s *story) doubt(n int64) *story {
	return s.tell("client-1", history.Record{Kind: history.Unsure, Number: n, Error: "who knows"})
}

// delay orders a task for later.
func (s *story) delay(n int64, after time.Duration) *story {
	s.now = max(s.now, begin)
	return s.tell("client-1", history.Record{Kind: history.Order, Number: n, Way: history.Delayed, Due: s.now + int64(after)})
}

// ordered is one input of a batch, from its order to its result.
func (s *story) ordered(batch string, n int64) *story {
	r := right(n)
	r.Kind, r.Text = history.Result, batch
	return s.order(n, history.Ordered).tell("client-1", r)
}

func (s *story) killClient() *story {
	return s.fault(99, "kill a client", "client-1 [3 4]", false).healed(99, 0)
}

// settled is the end of a process.
var settled = history.Record{Kind: history.Settled}

// settle ends everything in order.
func (s *story) settle(counts map[string]int64) *story {
	s.tell("nemesis", history.Record{Kind: history.Calm})
	s.tell("client-1", history.Record{Kind: history.Settled})
	if counts != nil {
		s.tell("nemesis", history.Record{Kind: history.Totals, Counts: counts})
	}
	return s.tell("nemesis", history.Record{Kind: history.Settled})
}

// right is the right outcome of a number.
func right(n int64) history.Record {
	if history.Drops(n) {
		return history.Record{Number: n, Error: history.DropMessage}
	}
	return history.Record{Number: n, Value: history.Value(n)}
}

func id(n int64) string { return "task-" + string(rune('a'+n%26)) + time.Duration(n).String() }

// judge judges records in the order of their times.
func judge(cfg verdict.Config, records []history.Record) *verdict.Report {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b history.Record) int { return int(a.At - b.At) })
	j := verdict.New(cfg)
	for i := range records {
		j.Hear(&records[i])
	}
	return j.Report()
}
