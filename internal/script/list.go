package script

import (
	"context"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
)

var listScript = load("list")

// Bounds of one page of [Runner.List].
const (
	listStep     = 1000 // entries that one call of the script looks at
	listCommands = 60
	listCalls    = 5 // each takes 8 MiB out of the stream at most
	listValues   = 4 // that come before the rows
)

// Listing says which tasks to list.
type Listing struct {
	State    string // waiting, running, delayed or dead
	Function string // "" for any
	Worker   string // of running ones, "" for any
	From     string // Next of the page before
	Limit    int    // most rows
	Look     int    // most entries to look at
}

// Row is an entry as a listing shows it.
type Row struct {
	Place      string // entry, letter, or, of a delayed task, ID
	Size       int    // bytes of the payload; where it is no task, of all
	Worker     string // "" when nobody has it
	Due        string // of a delayed task, ms
	Idle       time.Duration
	Deliveries int64
	Crashes    int64
	Fields     []string // payloads cut to 4 kB; none where the entry of a running task was deleted
}

// ListPage is a part of the tasks of a queue.
type ListPage struct {
	Now    time.Time // by the clock of Redis
	Rows   []Row
	Next   string // "" at the end
	Looked int
}

// List reads a page of tasks in steps, so that Redis is never busy for long. The page is short where few of many are of the function, or
// where entries are large.
func (r *Runner) List(ctx context.Context, keys wire.Keys, group string, l Listing) (ListPage, error) {
	names := []string{keys.Tasks(), keys.Crashes(), keys.Due(), keys.Body(), keys.Dead()}
	page := ListPage{Next: l.From}
	for calls, commands := 0, 0; calls < listCalls && commands < listCommands && page.Looked < l.Look && len(page.Rows) < l.Limit; calls++ {
		step := min(listStep, l.Look-page.Looked)
		answer, err := r.run(ctx, listScript, names, []any{group, l.State, l.Function, l.Worker, page.Next, l.Limit - len(page.Rows), step})
		if err != nil {
			return page, err
		}
		values, err := list(listScript, answer, listValues)
		if err != nil {
			return page, err
		}
		page.Now, page.Next = millis(values[0]), text(values[1])
		page.Looked += number(values[2])
		commands += number(values[3])
		for _, row := range values[listValues:] {
			if err := page.add(row, l.State == "delayed"); err != nil {
				return page, err
			}
		}
		if page.Next == "" {
			break
		}
	}
	return page, nil
}

func (p *ListPage) add(row any, delayed bool) error {
	const columns = 7
	values, err := list(listScript, row, columns)
	if err != nil {
		return err
	}
	fields, err := list(listScript, values[6], 0)
	if err != nil {
		return err
	}
	r := Row{
		Place: text(values[0]), Size: number(values[1]), Worker: text(values[2]), Idle: ms(values[3]),
		Deliveries: int64(number(values[4])), Crashes: count(values[5]), Fields: make([]string, len(fields)),
	}
	if delayed {
		r.Due, r.Worker = r.Worker, ""
	}
	for i, field := range fields {
		r.Fields[i] = text(field)
	}
	p.Rows = append(p.Rows, r)
	return nil
}
