package inspect

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
)

// ErrNotFound says that nothing of that ID or name was found where the call looked.
var ErrNotFound = errors.New("not found")

// State is where a task is.
type State string

// The states of a task.
const (
	Waiting   State = "waiting"   // for a worker
	Running   State = "running"   // a worker has it
	Delayed   State = "delayed"   // it is due later
	Dead      State = "dead"      // a dead letter
	Done      State = "done"      // its result is kept
	Failed    State = "failed"    // its failure is kept, and no dead letter was found
	Cancelled State = "cancelled" // its outcome is kept, and says so
)

// Task is a task, wherever it is. What is not known is left out.
type Task struct {
	ID          string            `json:"task"`
	Queue       string            `json:"queue"`
	Function    string            `json:"function"`
	State       State             `json:"state"`
	Attempt     int               `json:"attempt"` // 1 is the first
	MaxAttempts int               `json:"max_attempts,omitempty"`
	Timeout     time.Duration     `json:"timeout_ns,omitempty"`
	Items       int               `json:"items,omitempty"` // it is a chunk of so many
	Enqueued    time.Time         `json:"enqueued,omitzero"`
	Since       time.Time         `json:"since,omitzero"` // in this state, by the clock of Redis; of a running one, since it was delivered
	Due         time.Time         `json:"due,omitzero"`
	Worker      string            `json:"worker,omitempty"`
	Deliveries  int64             `json:"deliveries,omitempty"`
	Crashes     int64             `json:"crashes,omitempty"` // workers that died while they had it
	LastError   string            `json:"last_error,omitempty"`
	Reason      string            `json:"reason,omitempty"` // why it failed for good; of an entry that is no task: malformed, newer version or deleted
	Headers     map[string]string `json:"headers,omitempty"`
	Reply       string            `json:"reply,omitempty"`  // the session that waits for it
	Unique      string            `json:"unique,omitempty"` // hash of its uniqueness lock
	Entry       string            `json:"entry,omitempty"`  // where it lies
	Letter      string            `json:"letter,omitempty"` // ID of its dead letter
	Size        int               `json:"size"`             // bytes of the payload
	Payload     []byte            `json:"-"`                // front ends decide who may see it; in a list the first 4 kB
	Result      []byte            `json:"-"`                // likewise
	Raw         string            `json:"-"`                // likewise; of an entry that is no task: its fields, quoted and cut
}

// Filter chooses tasks of one state.
type Filter struct {
	State    State  // Waiting, Running, Delayed or Dead; default Waiting
	Function string // only these; the page may then be short or empty while Next says that there are more
	Worker   string // only those that this worker has; State is Running then
	After    string // Next of the page before
	Limit    int    // default 50, at most 200
}

// TaskPage is a part of the tasks of a queue.
type TaskPage struct {
	Tasks []Task `json:"tasks"`
	Next  string `json:"next,omitempty"` // for Filter.After; "" at the end
	Total Count  `json:"total"`          // of the state, whatever the function
}

// mostLooked is how many entries one call looks at.
const mostLooked = 5000

// Tasks lists tasks of a queue: waiting and running ones oldest first, delayed ones by when they are due, dead ones newest first. What
// lies there and is no task is listed too, with the reason, unless only a function is wanted. One call looks at 5,000 entries at most
// and brings few where they are large: a page may be short while Next says that there are more, and the last one may be empty.
func (i *Inspector) Tasks(ctx context.Context, queue string, filter Filter) (TaskPage, error) {
	page, err := i.tasks(ctx, queue, filter)
	if err != nil {
		return TaskPage{}, fmt.Errorf("inspect: list tasks of queue %s: %w", clip(queue), err)
	}
	return page, nil
}

func (i *Inspector) tasks(ctx context.Context, queue string, filter Filter) (TaskPage, error) {
	from, err := filter.check(queue)
	if err != nil {
		return TaskPage{}, err
	}
	list, err := i.list(ctx, queue, filter, from)
	if err != nil {
		return TaskPage{}, err
	}
	counted, err := i.Queue(ctx, queue)
	if err != nil {
		return TaskPage{}, err
	}
	page := TaskPage{Next: newCursor(filter.State, list.Next), Total: counted.count(filter.State), Tasks: make([]Task, len(list.Rows))}
	for n := range list.Rows {
		page.Tasks[n] = rowTask(queue, filter.State, &list.Rows[n], list.Now)
	}
	if filter.Worker != "" {
		page.Total = Count{N: int64(len(page.Tasks)), Exact: page.Next == "" && filter.After == "" && filter.Function == ""}
	}
	return page, nil
}

func (i *Inspector) list(ctx context.Context, queue string, filter Filter, from string) (script.ListPage, error) {
	list, err := i.store.Scripts().List(ctx, i.store.Keys(queue), i.store.Group(), script.Listing{
		State: string(filter.State), Function: filter.Function, Worker: filter.Worker, From: from, Limit: filter.Limit, Look: mostLooked,
	})
	if err != nil {
		return list, i.explain(ctx, err, queue)
	}
	return list, nil
}

// check refuses a filter that cannot be, and fills in its defaults. It returns where the page begins.
func (f *Filter) check(queue string) (from string, err error) {
	if f.State == "" {
		f.State = Waiting
		if f.Worker != "" {
			f.State = Running
		}
	}
	errs := []error{wire.CheckName("queue", queue), checkLimit(f.Limit)}
	if f.Function != "" {
		errs = append(errs, wire.CheckName("function", f.Function))
	}
	if f.Worker != "" {
		errs = append(errs, wire.CheckName("worker", f.Worker))
		if f.State != Running {
			errs = append(errs, fmt.Errorf("state %q with a worker: leave it out, or use %q", clip(string(f.State)), Running))
		}
	}
	from, err = readCursor(f.State, f.After)
	if f.Limit == 0 {
		f.Limit = pageDefault
	}
	return from, errors.Join(append(errs, err)...)
}

func (q *Queue) count(state State) Count {
	switch state {
	case Running:
		return q.Running
	case Delayed:
		return q.Delayed
	case Dead:
		return q.Dead
	default:
		return q.Waiting
	}
}

// rowTask reads a row of a list.
func rowTask(queue string, state State, row *script.Row, now time.Time) Task {
	task := readTask(row.Fields)
	task.Queue, task.State, task.Size = queue, state, row.Size
	task.Worker, task.Deliveries, task.Crashes = row.Worker, row.Deliveries, row.Crashes
	switch state {
	case Delayed:
		task.ID = row.Place
		task.Due = dueTime(row.Due)
	case Dead:
		task.Letter, task.Since = row.Place, timeOf(row.Place)
		task.readLetter(row.Fields)
	default:
		task.Entry, task.Since = row.Place, timeOf(row.Place)
		if row.Worker != "" {
			task.Since = now.Add(-row.Idle)
		}
		if row.Worker == wire.ReleasedConsumer {
			task.Worker = ""
		}
		if len(row.Fields) == 0 {
			task.Reason = "deleted"
		}
	}
	if task.ID != "" {
		task.Enqueued = enqueuedAt(task.ID)
	}
	return task
}

// readTask reads the fields of an entry, whatever they are.
func readTask(fields []string) Task {
	t, err := wire.Decode(fields)
	if err == nil {
		return fromWire(&t)
	}
	task := Task{Reason: wire.ReasonMalformed, Raw: wire.Raw(fields), LastError: err.Error()}
	if errors.Is(err, wire.ErrNewer) {
		task.Reason = wire.ReasonNewer
	}
	return task
}

func fromWire(t *wire.Task) Task {
	return Task{
		ID: t.ID, Function: t.Function, Attempt: t.Attempt, MaxAttempts: t.MaxAttempts, Timeout: t.Timeout, Items: t.Items,
		Enqueued: enqueuedAt(t.ID), LastError: t.LastError, Headers: t.Headers, Reply: t.Reply, Unique: t.Unique,
		Size: len(t.Payload), Payload: t.Payload,
	}
}

// readLetter takes what a dead letter says beside its task.
func (t *Task) readLetter(fields []string) {
	for n := 0; n+1 < len(fields); n += 2 {
		switch value := fields[n+1]; fields[n] {
		case "reason":
			t.Reason = value
		case "error":
			t.LastError = value
		case "worker":
			t.Worker = value
		case "entry":
			t.Entry = value
		case "raw":
			t.Raw = value
		}
	}
}

// enqueuedAt is the time in a task ID, nothing where there is none.
func enqueuedAt(id string) time.Time {
	parsed, err := ulid.ParseStrict(id)
	if err != nil {
		return time.Time{}
	}
	return ulid.Time(parsed.Time())
}

// dueTime reads a score: ms with three decimals.
func dueTime(score string) time.Time {
	const far = 1 << 52 // ms, beyond which nobody means a time
	at, err := strconv.ParseFloat(score, 64)
	if err != nil || math.Abs(at) > far {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(at * 1000)))
}
