package board

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// payloadShown is how much of a payload a page shows, in bytes.
const payloadShown = 4 << 10

// taskBody is the page of a task.
type taskBody struct {
	inspect.History
	Headers   []header
	Payload   *dump
	Result    *dump
	Operate   bool // the payload may be asked for
	Shown     bool // and was
	CanRetry  bool
	CanCancel bool
	CanDelete bool
	DeadURL   string
}

type header struct{ Name, Value string }

// dump is a payload as far as it is shown.
type dump struct {
	Text  string
	Hex   bool
	Cut   bool
	Size  int
	Named string // for its download
}

func (b *board) task(ctx context.Context, a args) (content, error) {
	history, err := b.look.Task(ctx, a.Get("queue"), a.Get("id"))
	if err != nil {
		return content{}, err
	}
	body := taskBody{History: history, Operate: a.role >= guard.Operate}
	for name, value := range history.Headers {
		body.Headers = append(body.Headers, header{name, value})
	}
	slices.SortFunc(body.Headers, func(x, y header) int { return cmp.Compare(x.Name, y.Name) })
	switch history.State {
	case inspect.Waiting, inspect.Running:
		body.CanCancel = true
	case inspect.Delayed:
		body.CanCancel, body.CanRetry = true, true
	case inspect.Dead:
		body.CanRetry = true
		body.DeadURL = query(b.cfg.Base+"/dead", "queue", history.Queue)
	default: // it is over
	}
	body.CanDelete = history.State == inspect.Waiting || history.State == inspect.Delayed || history.State == inspect.Dead
	if body.Operate && a.Get("payload") != "" {
		body.Shown = true
		body.Payload = b.dump(history, "payload", history.Payload)
		body.Result = b.dump(history, "result", history.Result)
	}
	return content{Title: "Task " + history.ID, Body: body}, nil
}

// dump is what may be seen of a payload; nil for nothing.
func (b *board) dump(task inspect.History, named string, data []byte) *dump {
	data = b.redact(task, data)
	if len(data) == 0 {
		return nil
	}
	d := &dump{Size: len(data), Cut: len(data) > payloadShown, Named: named}
	if !utf8.Valid(data) {
		d.Hex = true
		d.Text = hex.Dump(data[:min(len(data), payloadShown)])
		return d
	}
	cut := min(len(data), payloadShown)
	for cut > 0 && cut < len(data) && !utf8.RuneStart(data[cut]) {
		cut--
	}
	d.Text = string(data[:cut])
	return d
}

func (b *board) redact(task inspect.History, data []byte) []byte {
	if b.cfg.Redact == nil || len(data) == 0 {
		return data
	}
	return b.cfg.Redact(task.Queue, task.Function, slices.Clone(data))
}

// download answers with a payload or a result, as a file that no browser shows.
func (b *board) download(w http.ResponseWriter, r *http.Request) {
	if !b.allow(w, r, guard.Operate) {
		return
	}
	a, err := newArgs(r, guard.Of(r.Context()))
	if err != nil {
		b.problem(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), loadTimeout)
	defer cancel()
	history, err := b.look.Task(ctx, a.Get("queue"), a.Get("id"))
	if err != nil {
		b.problem(w, r, err)
		return
	}
	data, ok := map[string][]byte{"payload": history.Payload, "result": history.Result}[r.PathValue("part")]
	if data = b.redact(history, data); !ok || len(data) == 0 {
		b.problem(w, r, inspect.ErrNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s"`, a.Get("id"), r.PathValue("part")))
	_, _ = w.Write(data)
}

func (b *board) cancel(w http.ResponseWriter, r *http.Request, a args) error {
	became, err := b.look.Cancel(r.Context(), a.Get("queue"), a.Get("id"))
	if err != nil {
		return err
	}
	switch {
	case became.Removed > 0:
		b.redirect(w, r, path(b.cfg.Base, "queues", a.Get("queue")), "cancelled")
	case became.Told > 0:
		b.redirect(w, r, b.taskPath(a), "told")
	default:
		b.redirect(w, r, path(b.cfg.Base, "queues", a.Get("queue")), "gone")
	}
	return nil
}

func (b *board) retry(w http.ResponseWriter, r *http.Request, a args) error {
	n, err := b.look.Retry(r.Context(), a.Get("queue"), a.Get("id"))
	if err != nil {
		return err
	}
	done := "retried"
	if n == 0 {
		done = "gone"
	}
	to := path(b.cfg.Base, "queues", a.Get("queue"))
	if r.PostFormValue("back") != "" {
		to = b.back(r)
	}
	b.redirect(w, r, to, done)
	return nil
}

func (b *board) remove(w http.ResponseWriter, r *http.Request, a args) error {
	if r.PostFormValue("confirm") == "" {
		return &failure{
			status: http.StatusBadRequest, title: "Nothing was deleted",
			text: "Tick the box that says that the task is to be gone for good, then press the button again.",
		}
	}
	n, err := b.look.Delete(r.Context(), a.Get("queue"), a.Get("id"))
	if err != nil {
		return err
	}
	done := "deleted"
	if n == 0 {
		done = "gone"
	}
	b.redirect(w, r, path(b.cfg.Base, "queues", a.Get("queue")), done)
	return nil
}

func (b *board) taskPath(a args) string {
	return path(b.cfg.Base, "queues", a.Get("queue"), "tasks", a.Get("id"))
}

// find looks for a task in all queues.
func (b *board) find(w http.ResponseWriter, r *http.Request) {
	if !b.allow(w, r, guard.Read) {
		return
	}
	id := strings.ToUpper(strings.TrimSpace(r.URL.Query().Get("task")))
	if err := checkID(id); err != nil {
		b.problem(w, r, &failure{status: http.StatusBadRequest, title: "That is no ID of a task", text: sentence(err.Error())})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), loadTimeout)
	defer cancel()
	history, err := b.look.Task(ctx, "", id)
	if err != nil {
		b.problem(w, r, err)
		return
	}
	http.Redirect(w, r, path(b.cfg.Base, "queues", history.Queue, "tasks", id), http.StatusSeeOther)
}
