package board

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/athoune/worker-machine/inspect"
)

const pageSize = 25 // tasks and letters on a page

// queueBody is the page of a queue.
type queueBody struct {
	Name      string
	Queue     part[inspect.Queue]
	Tiles     []tile
	Alert     alert
	Trend     part[trendBody]
	Functions []functionRow
	State     inspect.State
	Function  string // the filter
	Tabs      []tab
	Tasks     part[inspect.TaskPage]
	First     string // where the first page is, on a later one
	Next      string // where the next page is
	Purge     string // where it is asked whether to remove all of the state; "" where there is nothing to remove
	Unused    bool   // nothing was ever in it
}

// tab chooses the state of the tasks that are listed.
type tab struct {
	Name, URL string
	N         inspect.Count
	Current   bool
}

func (b *board) queue(ctx context.Context, a args) (content, error) {
	body := queueBody{Name: a.Get("queue"), State: inspect.State(a.Get("state")), Function: a.Get("function")}
	states := []inspect.State{inspect.Waiting, inspect.Running, inspect.Delayed, inspect.Dead}
	if !slices.Contains(states, body.State) {
		body.State = inspect.Waiting
	}
	body.Queue = try(ctx, b, func(ctx context.Context) (inspect.Queue, error) { return b.look.Queue(ctx, body.Name) })
	hour := try(ctx, b, func(ctx context.Context) ([]inspect.Minute, error) { return b.trendOf(ctx, body.Name) })
	if body.Queue.Trouble == nil {
		present(hour.V, body.Queue.V)
	}
	body.Trend = part[trendBody]{V: chartsOf(hour.V), Trouble: hour.Trouble}
	body.Functions = functionsOf(body.Name, hour.V)
	rankSlow(body.Functions)
	body.Tasks = try(ctx, b, func(ctx context.Context) (inspect.TaskPage, error) {
		return b.look.Tasks(ctx, body.Name, inspect.Filter{State: body.State, Function: body.Function, After: a.Get("after"), Limit: pageSize})
	})
	q := body.Queue.V
	here := path(b.cfg.Base, "queues", body.Name)
	for i, n := range []inspect.Count{q.Waiting, q.Running, q.Delayed, q.Dead} {
		name := states[i]
		body.Tabs = append(body.Tabs, tab{
			Name: sentenceCase(string(name)), N: n, Current: name == body.State,
			URL: query(here, "state", name, "function", body.Function) + "#tasks",
		})
	}
	if a.Get("after") != "" {
		body.First = query(here, "state", body.State, "function", body.Function) + "#tasks"
	}
	if next := body.Tasks.V.Next; next != "" {
		body.Next = query(here, "state", body.State, "function", body.Function, "after", next) + "#tasks"
	}
	if purgeable(q)[body.State].N > 0 {
		body.Purge = query(path(b.cfg.Base, "queues", body.Name, "purge"), "state", body.State)
	}
	if body.Queue.Trouble == nil {
		row := queueRow{Queue: q}
		if len(hour.V) > 0 {
			row.sketch(hour.V)
		}
		body.Alert = b.alertOf(row)
		body.Tiles = b.queueTiles(row)
		body.Unused = len(q.Totals) == 0 && q.Waiting.N+q.Running.N+q.Delayed.N+q.Dead.N+q.Workers.N == 0
	}
	return content{Title: body.Name, Body: body, Live: true}, nil
}

func (b *board) queueTiles(q queueRow) []tile {
	failed := q.Recent.Retried + q.Recent.Dead
	oldest := tile{Label: "Oldest task", Value: none, Note: "waiting or running"}
	if q.Oldest > 0 {
		oldest.Value = seconds(q.Oldest)
	}
	if q.Oldest > staleAfter && q.Waiting.N > 0 {
		oldest.Class = "warn"
	}
	workers := countTile("Workers", q.Workers, query(b.cfg.Base+"/workers", "queue", q.Name))
	if q.Workers.N == 0 && q.Waiting.N > 0 {
		workers.Class = "bad"
	}
	failing := tile{Label: "Failing", Value: percent(share(failed, q.Recent.Done+failed)), Note: "attempts, last minute"}
	if failed > 0 {
		failing.Class = "warn"
	}
	return []tile{
		oldest,
		{Label: "Done per minute", Value: compact(q.Recent.Done), Title: thousands(q.Recent.Done), Note: "last full minute"},
		failing, workers,
		{Label: "Done in total", Value: compact(q.Totals["done"]), Title: thousands(q.Totals["done"]), Note: plural(q.Totals["retried"], "retry", "retries")},
		{Label: "Taken over", Value: compact(q.Totals["reclaimed"]), Title: thousands(q.Totals["reclaimed"]), Note: "from dead workers"},
	}
}

func sentenceCase(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// purgeBody asks whether a queue is to be emptied of a state.
type purgeBody struct {
	Name  string
	State inspect.State
	N     inspect.Count
}

var errCannotPurge = &failure{
	status: http.StatusBadRequest, title: "Only waiting, delayed and dead tasks can be purged",
	text: "A task that runs can be cancelled: open its page.",
}

func (b *board) confirmPurge(ctx context.Context, a args) (content, error) {
	body := purgeBody{Name: a.Get("queue"), State: inspect.State(a.Get("state"))}
	q, err := b.look.Queue(ctx, body.Name)
	if err != nil {
		return content{}, err
	}
	n, ok := purgeable(q)[body.State]
	if !ok {
		return content{}, errCannotPurge
	}
	body.N = n
	return content{Title: "Purge " + body.Name, Body: body}, nil
}

// purgeable are the states whose tasks may be removed all at once, and how many there are.
func purgeable(q inspect.Queue) map[inspect.State]inspect.Count {
	return map[inspect.State]inspect.Count{inspect.Waiting: q.Waiting, inspect.Delayed: q.Delayed, inspect.Dead: q.Dead}
}

// purge removes all tasks of a state, once the name of the queue was typed.
func (b *board) purge(w http.ResponseWriter, r *http.Request, a args) error {
	name, state := a.Get("queue"), inspect.State(r.PostFormValue("state"))
	if r.PostFormValue("confirm") != name {
		return &failure{
			status: http.StatusBadRequest, title: "Nothing was removed",
			text: fmt.Sprintf("To purge the %s tasks of %s, type the name of the queue into the field, exactly as it is.", state, name),
		}
	}
	q, err := b.look.Queue(r.Context(), name)
	if err != nil {
		return err
	}
	n, ok := purgeable(q)[state]
	if !ok {
		return errCannotPurge
	}
	return b.begin(w, r, &bulk{
		Queue: name, Verb: "Purge", Done: "purged", What: fmt.Sprintf("%s tasks of %s", state, name), Total: n.N,
		Back: path(b.cfg.Base, "queues", name),
		run: func(ctx context.Context, progress func(int)) (int, error) {
			return b.look.Purge(ctx, name, state, progress)
		},
	})
}

func (b *board) pause(w http.ResponseWriter, r *http.Request, a args) error {
	if err := b.look.Pause(r.Context(), a.Get("queue")); err != nil {
		return err
	}
	b.redirect(w, r, path(b.cfg.Base, "queues", a.Get("queue")), "paused")
	return nil
}

func (b *board) resume(w http.ResponseWriter, r *http.Request, a args) error {
	if err := b.look.Resume(r.Context(), a.Get("queue")); err != nil {
		return err
	}
	b.redirect(w, r, path(b.cfg.Base, "queues", a.Get("queue")), "resumed")
	return nil
}

// pill chooses one of several queues on pages that show one at a time.
type pill struct {
	Name, URL string
	N         string
	Current   bool
}

// pick chooses the queue of such a page: the one that was asked for, or the one with the most of what the page shows.
func (b *board) pick(ctx context.Context, a args, page string, of func(inspect.Queue) inspect.Count) (string, part[[]pill]) {
	queues := try(ctx, b, func(ctx context.Context) ([]inspect.Queue, error) { return b.look.Queues(ctx) })
	chosen := a.Get("queue")
	if chosen == "" && len(queues.V) > 0 {
		best := queues.V[0]
		for _, q := range queues.V {
			if of(q).N > of(best).N {
				best = q
			}
		}
		chosen = best.Name
	}
	pills := part[[]pill]{Trouble: queues.Trouble}
	for _, q := range queues.V {
		pills.V = append(pills.V, pill{
			Name: q.Name, URL: query(b.cfg.Base+"/"+page, "queue", q.Name), N: counted(of(q)), Current: q.Name == chosen,
		})
	}
	return chosen, pills
}
