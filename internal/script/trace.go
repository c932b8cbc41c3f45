package script

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

var (
	traceScript = load("trace")
	nearScript  = load("near")
	spotScript  = load("spot")
)

// Trace is what the ID of a task is enough to find.
type Trace struct {
	Now       time.Time // by the clock of Redis
	Entries   int64     // in the stream of tasks
	Letters   int64
	Due       string // ms, "" when it is not due later
	Body      string
	Cancelled time.Time // when it was noted for workers that it is cancelled
	Told      []Told    // newest first; of a task whose outcome is kept
	Err       error     // why this queue could not be searched
}

// Told is what a reply stream tells of a task.
type Told struct{ Entry, Text string }

// Trace looks for a task in some queues.
func (r *Runner) Trace(ctx context.Context, queues []wire.Keys, id string) []Trace {
	calls := make([]keyedCall, len(queues))
	for i, keys := range queues {
		calls[i].keys = []string{keys.Tasks(), keys.Due(), keys.Body(), keys.Dead(), keys.Cancels(), keys.Reply(id)}
		calls[i].args = []any{id}
	}
	traces := make([]Trace, len(queues))
	for i, command := range r.many(ctx, traceScript, calls) {
		traces[i] = newTrace(command.Result())
	}
	return traces
}

func newTrace(answer any, err error) Trace {
	const values = 6
	if err != nil {
		return Trace{Err: wrap(traceScript, err)}
	}
	row, err := list(traceScript, answer, values)
	if err != nil {
		return Trace{Err: err}
	}
	t := Trace{Now: millis(row[0]), Entries: int64(number(row[1])), Letters: int64(number(row[2])), Due: text(row[3]), Body: text(row[4]), Cancelled: millis(row[5])}
	for i := values; i+1 < len(row); i += 2 {
		t.Told = append(t.Told, Told{Entry: text(row[i]), Text: text(row[i+1])})
	}
	return t
}

// Near finds where in a stream the IDs of tasks are of a time, and returns an entry ID. Late says that tasks which came through `due`
// lie there like all others.
func (r *Runner) Near(ctx context.Context, stream string, at time.Time, late bool) (string, error) {
	const probes = 24
	answer, err := r.run(ctx, nearScript, []string{stream}, []any{at.UnixMilli(), flag(!late), probes})
	return text(answer), err
}

// Spot is a search for a task in a stream. It goes on where it stopped.
type Spot struct {
	Stream    string
	ID, Chunk string // of the task, and of the chunk whose item it would be
	Down      bool   // from newer to older
	From      string // where to go on, "" once the end was reached
	Looked    int
	Entry     string // that holds the task

	bytes int
}

// spotStep is how many entries one call of the script looks at.
const spotStep = 2000

// Spot looks at most entries more.
func (r *Runner) Spot(ctx context.Context, s *Spot, most int) error {
	const values, first, room = 4, 8, 8 << 20
	direction := "up"
	if s.Down {
		direction = "down"
	}
	for most > 0 && s.From != "" && s.Entry == "" {
		n := first // until it is known how large they are
		if s.Looked > 0 {
			n = max(1, min(1000, room/(s.bytes/s.Looked+1)))
		}
		answer, err := r.run(ctx, spotScript, []string{s.Stream}, []any{s.ID, s.Chunk, direction, s.From, min(most, spotStep), n})
		if err != nil {
			return err
		}
		row, err := list(spotScript, answer, values)
		if err != nil {
			return err
		}
		s.From, s.Entry = text(row[0]), text(row[3])
		s.Looked += number(row[1])
		s.bytes += number(row[2])
		most -= max(number(row[1]), 1)
	}
	return nil
}
