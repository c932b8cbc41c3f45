package web

import (
	"net/http"
	"regexp"
	"time"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/web/internal/guard"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const mostReason = 64

var (
	groupID  = regexp.MustCompile(`^[0-9a-f]{16}$`)
	letterID = regexp.MustCompile(`^[0-9]{1,20}-[0-9]{1,20}$`)
)

// letter is a dead letter as clients see it.
type letter struct {
	ID       string            `json:"letter"`
	Queue    string            `json:"queue"`
	Task     string            `json:"task,omitempty"`
	Function string            `json:"function,omitempty"`
	Attempt  int               `json:"attempt,omitempty"`
	Reason   string            `json:"reason"`
	Error    string            `json:"error"`
	Worker   string            `json:"worker,omitempty"`
	Time     time.Time         `json:"time"`
	Headers  map[string]string `json:"headers,omitempty"`
	data
}

func letterOf(l reclaim.DeadLetter) letter {
	return letter{
		ID: l.ID, Queue: l.Queue, Task: l.TaskID, Function: l.Function, Attempt: l.Attempt, Reason: l.Reason, Error: l.Error,
		Worker: l.Worker, Time: l.Time, Headers: l.Headers,
	}
}

type letterPage struct {
	Letters []letter      `json:"letters"`
	Next    string        `json:"next,omitempty"`
	Total   inspect.Count `json:"total"`
}

// listLetters lists dead letters, newest first.
func (h *Handler) listLetters(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "reason", "function", "group", "limit", "cursor")
	filter := q.letterFilter()
	filter.Limit, filter.After = q.limit(), q.cursor("letters")
	if filter.After != "" && !letterID.MatchString(filter.After) {
		q.fault("cursor", "it is none that this listing has given: begin without one")
	}
	if err := q.err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	found, err := h.look.Letters(ctx, r.PathValue("queue"), filter)
	if err != nil {
		return err
	}
	page := letterPage{Letters: make([]letter, 0, len(found.Letters)), Next: cursorOf("letters", found.Next), Total: found.Total}
	for _, l := range found.Letters {
		page.Letters = append(page.Letters, letterOf(l))
	}
	return answer(w, http.StatusOK, page)
}

// showLetter shows one dead letter, on demand with its payload.
func (h *Handler) showLetter(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "payload", "as")
	show, as := q.flag("payload"), q.one("as", "json", "base64")
	if err := q.err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	found, err := h.look.Letter(ctx, r.PathValue("queue"), r.PathValue("letter"))
	if err != nil {
		return err
	}
	l := letterOf(found)
	if show {
		if p := guard.Check(r.Context(), Operate); p != nil {
			return p
		}
		l.Payload, l.PayloadBase64 = inWords(h.redact(found.Queue, found.Function, found.Payload), as)
	}
	return answer(w, http.StatusOK, l)
}

// listGroups groups dead letters that failed alike.
func (h *Handler) listGroups(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	groups, seen, err := h.look.LetterGroups(ctx, r.PathValue("queue"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"groups": listOf(groups), "looked": seen})
}

// replay puts dead letters back.
func (h *Handler) replay(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	var body struct {
		Reason   string `json:"reason"`
		Function string `json:"function"`
		Group    string `json:"group"`
	}
	if err := readJSON(r.Body, &body); err != nil {
		return err
	}
	f := &fields{}
	filter := inspect.LetterFilter{Reason: body.Reason, Function: body.Function, Group: body.Group}
	f.wrong = append(f.wrong, wrongLetters("body", filter)...)
	if body.Function != "" {
		if err := wire.CheckName("function", body.Function); err != nil {
			f.fault("function", err.Error())
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	queue := r.PathValue("queue")
	n, err := h.look.Replay(r.Context(), queue, filter, h.goOn(w))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"queue": queue, "replayed": n})
}

// purgeLetters removes dead letters.
func (h *Handler) purgeLetters(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "reason", "function", "group", "all")
	filter := q.letterFilter()
	all := q.flag("all")
	if q.wrong == nil && all == (filter != inspect.LetterFilter{}) {
		q.wrong = append(q.wrong, problem.Field{In: "query", Field: "all", Detail: "choose by reason, function or group; or say all=true, without them"})
	}
	if err := q.err(); err != nil {
		return err
	}
	queue := r.PathValue("queue")
	n, err := h.look.PurgeLetters(r.Context(), queue, filter, h.goOn(w))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, removed{Queue: queue, Removed: n})
}
