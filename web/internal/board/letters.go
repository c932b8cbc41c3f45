package board

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// maxGroups is how many groups a page lists.
const maxGroups = 50

// deadBody is the page of dead letters.
type deadBody struct {
	Queue   string
	Pills   part[[]pill]
	Groups  part[[]groupRow]
	Hidden  int // groups that are not listed
	Seen    inspect.Count
	Chosen  *groupRow // the group whose letters are listed; nil for all
	Gone    bool      // the group that was asked for is not there any more
	Letters part[inspect.LetterPage]
	Replay  string // where the question is asked
	Purge   string
	All     string // all letters, where only a group is listed
	First   string
	Next    string
}

// groupRow is letters that failed alike.
type groupRow struct {
	inspect.LetterGroup
	Share   float64 // of all letters that were looked at
	URL     string
	Replay  string
	Purge   string
	Current bool
}

func (b *board) dead(ctx context.Context, a args) (content, error) {
	var body deadBody
	body.Queue, body.Pills = b.pick(ctx, a, "dead", func(q inspect.Queue) inspect.Count { return q.Dead })
	if body.Queue == "" {
		return content{Title: "Dead letters", Body: body}, nil
	}
	group := a.Get("group")
	body.Groups = try(ctx, b, func(ctx context.Context) (rows []groupRow, err error) {
		rows, body.Seen, err = b.groups(ctx, body.Queue, group)
		return rows, err
	})
	for i := range body.Groups.V {
		if body.Groups.V[i].Current {
			body.Chosen = &body.Groups.V[i]
		}
	}
	body.Gone = group != "" && body.Chosen == nil && body.Groups.Trouble == nil
	body.Hidden = max(len(body.Groups.V)-maxGroups, 0)
	body.Groups.V = body.Groups.V[:min(maxGroups, len(body.Groups.V))]
	body.Letters = try(ctx, b, func(ctx context.Context) (inspect.LetterPage, error) {
		return b.look.Letters(ctx, body.Queue, inspect.LetterFilter{Group: group, After: a.Get("after"), Limit: pageSize})
	})
	here := query(b.cfg.Base+"/dead", "queue", body.Queue)
	body.Replay, body.Purge = b.questions(body.Queue, group)
	if group != "" {
		body.All = here + "#letters"
	}
	if a.Get("after") != "" {
		body.First = query(b.cfg.Base+"/dead", "queue", body.Queue, "group", group) + "#letters"
	}
	if next := body.Letters.V.Next; next != "" {
		body.Next = query(b.cfg.Base+"/dead", "queue", body.Queue, "group", group, "after", next) + "#letters"
	}
	return content{Title: "Dead letters of " + body.Queue, Body: body}, nil
}

// groups are the letters of a queue by what they have in common.
func (b *board) groups(ctx context.Context, queue, chosen string) ([]groupRow, inspect.Count, error) {
	groups, seen, err := b.look.LetterGroups(ctx, queue)
	rows := make([]groupRow, 0, len(groups))
	for _, g := range groups {
		row := groupRow{LetterGroup: g, Share: share(g.N, seen.N), Current: g.ID == chosen}
		row.URL = query(b.cfg.Base+"/dead", "queue", queue, "group", g.ID) + "#letters"
		row.Replay, row.Purge = b.questions(queue, g.ID)
		rows = append(rows, row)
	}
	return rows, seen, err
}

// questions are the pages that ask before letters are replayed or purged.
func (b *board) questions(queue, group string) (replay, purge string) {
	to := b.cfg.Base + "/dead/confirm"
	return query(to, "queue", queue, "group", group, "do", "replay"), query(to, "queue", queue, "group", group, "do", "purge")
}

// confirmBody asks before letters are replayed or purged.
type confirmBody struct {
	Queue string
	Purge bool
	Group *groupRow // nil: all letters
	N     inspect.Count
	Back  string
}

func (b *board) confirmLetters(ctx context.Context, a args) (content, error) {
	body := confirmBody{Queue: a.Get("queue"), Purge: a.Get("do") == "purge"}
	if body.Queue == "" {
		return content{}, &failure{status: http.StatusBadRequest, title: "Of which queue?", text: "Choose one on the page of dead letters."}
	}
	if body.Purge && a.role < guard.Admin {
		return content{}, &failure{status: http.StatusForbidden, title: "Your role does not allow that", text: "Purging needs the role admin."}
	}
	n, group, err := b.chosenLetters(ctx, body.Queue, a.Get("group"))
	if err != nil {
		return content{}, err
	}
	body.N, body.Group = n, group
	body.Back = query(b.cfg.Base+"/dead", "queue", body.Queue, "group", a.Get("group"))
	title := "Replay dead letters of " + body.Queue
	if body.Purge {
		title = "Purge dead letters of " + body.Queue
	}
	return content{Title: title, Body: body}, nil
}

// chosenLetters is how many letters a group has, or the queue where there is none.
func (b *board) chosenLetters(ctx context.Context, queue, group string) (inspect.Count, *groupRow, error) {
	if group == "" {
		q, err := b.look.Queue(ctx, queue)
		return q.Dead, nil, err
	}
	groups, seen, err := b.groups(ctx, queue, group)
	if err != nil {
		return inspect.Count{}, nil, err
	}
	for _, g := range groups {
		if g.Current {
			return inspect.Count{N: g.N, Exact: seen.Exact}, &g, nil
		}
	}
	return inspect.Count{}, nil, fmt.Errorf("board: group %s: %w", group, inspect.ErrNotFound)
}

func (b *board) replayLetters(w http.ResponseWriter, r *http.Request, _ args) error {
	return b.beginLetters(w, r, "Replay", "replayed", b.look.Replay)
}

func (b *board) purgeLetters(w http.ResponseWriter, r *http.Request, _ args) error {
	if r.PostFormValue("confirm") == "" {
		return &failure{
			status: http.StatusBadRequest, title: "Nothing was purged",
			text: "Tick the box that says that the letters are to be gone for good, then press the button again.",
		}
	}
	return b.beginLetters(w, r, "Purge", "purged", b.look.PurgeLetters)
}

type lettersCall func(ctx context.Context, queue string, filter inspect.LetterFilter, progress func(int)) (int, error)

// beginLetters replays or purges the letters that a posted form names.
func (b *board) beginLetters(w http.ResponseWriter, r *http.Request, verb, done string, call lettersCall) error {
	queue, group := r.PostFormValue("queue"), r.PostFormValue("group")
	if err := cmp.Or(checkArg("queue", queue), checkArg("group", group)); err != nil {
		return err
	}
	n, chosen, err := b.chosenLetters(r.Context(), queue, group)
	if err != nil {
		return err
	}
	what := "dead letters of " + queue
	if chosen != nil {
		what += " like: " + firstLine(chosen.Error)
	}
	return b.begin(w, r, &bulk{
		Queue: queue, Verb: verb, Done: done, What: strings.TrimSuffix(what, ": "), Total: n.N,
		Back: query(b.cfg.Base+"/dead", "queue", queue),
		run: func(ctx context.Context, progress func(int)) (int, error) {
			return call(ctx, queue, inspect.LetterFilter{Group: group}, progress)
		},
	})
}
