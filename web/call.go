package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/guard"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const (
	defaultWait = 30 * time.Second
	defaultKeep = time.Hour        // of calls
	spare       = 15 * time.Second // between the end of a wait and that of a connection
	pending     = "pending"        // the state of a task without outcome, when nobody looked where it is
)

// data is what tasks carry: JSON where it is, base64 otherwise or on demand.
type data struct {
	Payload       json.RawMessage `json:"payload,omitempty"`
	PayloadBase64 *string         `json:"payload_base64,omitempty"`
	Result        json.RawMessage `json:"result,omitempty"`
	ResultBase64  *string         `json:"result_base64,omitempty"`
}

// inWords is a text as JSON if it is some, and otherwise, or when as says so, as base64.
func inWords(text []byte, as string) (json.RawMessage, *string) {
	if as != "base64" && json.Valid(text) {
		return text, nil
	}
	encoded := base64.StdEncoding.EncodeToString(text)
	return nil, &encoded
}

func (h *Handler) redact(queue, function string, text []byte) []byte {
	if h.cfg.Redact == nil || len(text) == 0 {
		return text
	}
	return h.cfg.Redact(queue, function, text)
}

// failure is why a task ended without a result.
type failure struct {
	Function string `json:"function,omitempty"`
	Attempt  int    `json:"attempt,omitempty"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
}

// ended is a task and what it ended with, if it has.
type ended struct {
	Task     string   `json:"task"`
	Queue    string   `json:"queue"`
	Function string   `json:"function,omitempty"`
	State    string   `json:"state"`
	Failure  *failure `json:"failure,omitempty"`
	data
}

// endOf turns an outcome into words.
func (h *Handler) endOf(queue, function string, o stream.Outcome, as string) ended {
	e := ended{Task: o.TaskID, Queue: queue, Function: function, State: string(inspect.Done)}
	if o.Kind == wire.KindResult {
		e.Result, e.ResultBase64 = inWords(h.redact(queue, function, o.Payload), as)
		return e
	}
	f := failure(o.Failure)
	e.Failure, e.Function, e.State = &f, f.Function, string(inspect.Failed)
	if f.Reason == wire.ReasonCancelled {
		e.State = string(inspect.Cancelled)
	}
	return e
}

// call stores a task and waits for its outcome. When the time is over the task goes on, and Location is where it can be waited for.
func (h *Handler) call(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "wait", "as")
	as, wait := q.one("as", "json", "base64"), h.wait(q, defaultWait)
	key, err := idempotencyKey(r)
	if err = errors.Join(err, q.err()); err != nil {
		return err
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var o order
	if err := readJSON(bytes.NewReader(text), &o); err != nil {
		return err
	}
	m, err := o.make(key != "")
	if err != nil {
		return err
	}
	fill(&m.keep, defaultKeep)
	if !h.waiters.Take() {
		return busyProblem()
	}
	defer h.waiters.Free()
	task, err := h.put(r.Context(), r.PathValue("queue"), key, &m)
	if err != nil {
		return err
	}
	outcome, done, err := h.await(w, r, task.Task, wait)
	if r.Context().Err() != nil && !done && key == "" {
		h.abandon(r, task)
	}
	if err != nil && !errors.Is(err, stream.ErrNotKept) {
		return err
	}
	w.Header().Set("Location", h.taskPath(task.Queue, task.Task))
	if !done {
		return answer(w, http.StatusAccepted, ended{Task: task.Task, Queue: task.Queue, Function: task.Function, State: pending})
	}
	return answer(w, http.StatusOK, h.endOf(task.Queue, task.Function, outcome, as))
}

// wait is how long a request wants to.
func (h *Handler) wait(q *query, standard time.Duration) time.Duration {
	if q.values.Get("wait") == "" {
		return min(standard, h.cfg.Limits.Wait)
	}
	return q.duration("wait", h.cfg.Limits.Wait)
}

// await waits for the outcome of a task; it is not done when the time is over, the client has left or the server stops.
func (h *Handler) await(w http.ResponseWriter, r *http.Request, id string, wait time.Duration) (o stream.Outcome, done bool, err error) {
	extend(w, wait+spare)
	ctx, cancel := h.untilStop(r.Context())
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, wait)
	defer stop()
	o, err = h.client.Await(ctx, r.PathValue("queue"), id)
	if err != nil && ctx.Err() != nil {
		return o, false, nil
	}
	return o, err == nil, err
}

// untilStop is a context that ends when the server stops, too.
func (h *Handler) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-h.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// extend gives a request that waits or streams more time than others have.
func extend(w http.ResponseWriter, d time.Duration) {
	control, later := http.NewResponseController(w), time.Now().Add(d)
	_, _ = control.SetReadDeadline(later), control.SetWriteDeadline(later) // a recorder has no deadlines
}

// abandon cancels the task of a client that has left: it does not know the task's ID, and no key finds it.
func (h *Handler) abandon(r *http.Request, task *stored) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience)
	defer cancel()
	if _, err := h.look.Cancel(ctx, task.Queue, task.Task); err != nil {
		h.log.Debug("cancel the task of a client that has left", zap.String("task", task.Task), zap.Error(err))
	}
}

// known is a task with all that is known of it.
type known struct {
	inspect.History
	Failure *failure `json:"failure,omitempty"`
	data
}

// showTask shows a task, its history, and on demand what it carries. With wait it answers when the task has an outcome.
func (h *Handler) showTask(w http.ResponseWriter, r *http.Request) error {
	q, queue, id := newQuery(r, "wait", "payload", "as"), r.PathValue("queue"), r.PathValue("task")
	show, as, wait := q.flag("payload"), q.one("as", "json", "base64"), h.wait(q, 0)
	if err := q.err(); err != nil {
		return err
	}
	if p := guard.Check(r.Context(), Operate); p != nil && show {
		return p
	}
	if wait > 0 {
		if !h.waiters.Take() {
			return busyProblem()
		}
		defer h.waiters.Free()
		if _, _, err := h.await(w, r, id, wait); err != nil && !errors.Is(err, stream.ErrNotKept) {
			return err
		}
	}
	ctx, cancel := within(r)
	defer cancel()
	history, err := h.look.Task(ctx, queue, id)
	if err != nil {
		return err
	}
	k := known{History: history}
	if history.State == inspect.Failed || history.State == inspect.Cancelled || history.State == inspect.Dead {
		k.Failure = &failure{Function: history.Function, Attempt: history.Attempt, Reason: history.Reason, Message: history.LastError}
	}
	if history.State == inspect.Done && guard.Of(r.Context()) >= Operate {
		k.Result, k.ResultBase64 = inWords(h.redact(queue, history.Function, history.Result), as)
	}
	if show && len(history.Payload) > 0 {
		k.Payload, k.PayloadBase64 = inWords(h.redact(queue, history.Function, history.Payload), as)
	}
	return answer(w, http.StatusOK, k)
}

// download sends what a task carries as a file, byte by byte.
func (h *Handler) download(part string) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := newQuery(r).err(); err != nil {
			return err
		}
		ctx, cancel := within(r)
		defer cancel()
		history, err := h.look.Task(ctx, r.PathValue("queue"), r.PathValue("task"))
		if err != nil {
			return err
		}
		content := history.Payload
		if part == "result" {
			content = history.Result
			if history.State != inspect.Done {
				return problem.New(http.StatusNotFound, "no-result", "The task has no result", "It is "+string(history.State)+".")
			}
		}
		w.Header().Set("Content-Type", bytesType)
		w.Header().Set("Content-Disposition", `attachment; filename="`+history.ID+"."+part+`"`)
		_, _ = w.Write(h.redact(history.Queue, history.Function, content)) // a client that has left reads no answer
		return nil
	}
}
