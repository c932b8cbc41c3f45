package script

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

var scatterScript = load("scatter")

// ScatterBatch is one call of [Runner.Scatter].
type ScatterBatch struct {
	Keys     wire.Keys
	Group    string
	Consumer string
	Chunks   []ScatterChunk
}

// ScatterChunk is what became of some items of one chunk.
type ScatterChunk struct {
	Entry   string // entry ID
	ID      string // of the chunk
	Reply   string // ULID of its reply stream, "" for none
	Own     bool   // refuse when the entry is with another worker
	Known   string // the note that is kept of the items settled before, "" for none
	Settled string // the note to keep while the chunk runs on; "" ends it
	Outcome []byte // a pack for the reply stream; nil for none
	Totals  []Total
	Steps   []ScatterStep
}

// Total is by how much one of the totals grows.
type Total struct {
	Name string
	N    int
}

// ScatterStep moves one item, or makes a dead letter of it.
type ScatterStep struct {
	verb   string
	id     string
	values []any
}

// DueStep makes a task of its own of an item, that is due after a time.
func DueStep(task wire.Task, delay time.Duration) ScatterStep {
	return ScatterStep{verb: "due", id: task.ID, values: []any{task.Body(), ceilMilliseconds(delay)}}
}

// TaskStep makes a task of its own of an item, for any worker to run at once.
func TaskStep(task wire.Task) ScatterStep {
	return ScatterStep{verb: "task", id: task.ID, values: []any{task.Encode()}}
}

// DeadStep makes a dead letter of an item; fields are name, value, name, value, and so on.
func DeadStep(id string, fields []string) ScatterStep {
	step := ScatterStep{verb: "dead", id: id, values: make([]any, len(fields))}
	for i, field := range fields {
		step.values[i] = field
	}
	return step
}

// Scattered is what Redis answers for one chunk.
type Scattered struct {
	Done bool   // recorded, now or by an earlier try of the same call
	Kept string // when not, the note that is kept and was not the one known; "" when the chunk was done elsewhere or is with another worker
}

// Scatter records what became of items of chunks. A repeated call finds its work done: for a chunk that it ended that is not Done.
func (r *Runner) Scatter(ctx context.Context, b ScatterBatch) ([]Scattered, error) {
	k := b.Keys
	keys := []string{k.Tasks(), k.Due(), k.Body(), k.Dead(), k.Counts(), k.Crashes(), k.Chunks(), k.Control(), k.Cancels()}
	args := make([]any, 0, 2+9*len(b.Chunks))
	args = append(args, b.Group, b.Consumer)
	for i := range b.Chunks {
		c := &b.Chunks[i]
		reply := 0
		if c.Reply != "" {
			name := k.Reply(c.Reply)
			if reply = slices.Index(keys, name) + 1; reply == 0 {
				keys = append(keys, name)
				reply = len(keys)
			}
		}
		args = c.append(args, reply)
	}
	answer, err := r.run(ctx, scatterScript, keys, args)
	if err != nil {
		return nil, err
	}
	values, err := list(scatterScript, answer, len(b.Chunks))
	if err != nil {
		return nil, err
	}
	done := make([]Scattered, len(b.Chunks))
	for i := range done {
		done[i] = Scattered{Done: number(values[i]) == 1, Kept: text(values[i])}
	}
	return done, nil
}

func (c *ScatterChunk) append(args []any, reply int) []any {
	owner := "any"
	if c.Own {
		owner = "own"
	}
	totals := ""
	for i, total := range c.Totals {
		if i > 0 {
			totals += ","
		}
		totals += total.Name + "=" + strconv.Itoa(total.N)
	}
	args = append(args, c.Entry, c.ID, reply, owner, c.Known, c.Settled, c.Outcome, totals, len(c.Steps))
	for _, step := range c.Steps {
		args = append(args, step.verb, step.id, len(step.values))
		args = append(args, step.values...)
	}
	return args
}

// Size is about how many bytes the step takes in a call.
func (s *ScatterStep) Size() int {
	size := 0
	for _, value := range s.values {
		switch v := value.(type) {
		case string:
			size += len(v)
		case []byte:
			size += len(v)
		}
	}
	return size
}
