package web

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
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

// calling is a request that waits for the outcome of its task.
type calling struct {
	made
	key  string
	as   string
	wait time.Duration
}

func (h *Handler) readCall(r *http.Request) (*calling, error) {
	q := newQuery(r, "wait", "as")
	c := &calling{as: q.one("as", "json", "base64"), wait: h.wait(q, defaultWait)}
	var err error
	if c.key, err = idempotencyKey(r); err != nil {
		return nil, err
	}
	if err = q.err(); err != nil {
		return nil, err
	}
	var o order
	if err = readJSON(r.Body, &o); err != nil {
		return nil, err
	}
	c.made, err = o.make(c.key != "")
	fill(&c.keep, defaultKeep)
	return c, err
}

// call stores a task and waits for its outcome. When the time is over the task goes on, and Location is where it can be waited for.
func (h *Handler) call(w http.ResponseWriter, r *http.Request) error {
	c, err := h.readCall(r)
	if err != nil {
		return err
	}
	if !h.waiters.Take() {
		return busyProblem()
	}
	defer h.waiters.Free()
	task, err := h.put(r.Context(), r.PathValue("queue"), c.key, &c.made)
	if err != nil {
		return err
	}
	outcome, done, err := h.await(w, r, task.Task, c.wait)
	if r.Context().Err() != nil && !done && c.key == "" {
		h.abandon(r.Context(), task)
	}
	if err != nil && !errors.Is(err, stream.ErrNotKept) {
		return err
	}
	w.Header().Set("Location", h.taskPath(task.Queue, task.Task))
	if !done {
		return answer(w, http.StatusAccepted, ended{Task: task.Task, Queue: task.Queue, Function: task.Function, State: pending})
	}
	return answer(w, http.StatusOK, h.endOf(task.Queue, task.Function, outcome, c.as))
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
func (h *Handler) abandon(ctx context.Context, task *stored) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
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
	q := newQuery(r, "wait", "payload", "as")
	show, as, wait := q.flag("payload"), q.one("as", "json", "base64"), h.wait(q, 0)
	if err := q.err(); err != nil {
		return err
	}
	operator := guard.Check(r.Context(), Operate)
	if show && operator != nil {
		return operator
	}
	if wait > 0 {
		if err := h.waitFor(w, r, wait); err != nil {
			return err
		}
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	history, err := h.look.Task(ctx, r.PathValue("queue"), r.PathValue("task"))
	if err != nil {
		return err
	}
	k := known{History: history}
	k.tell(func(text []byte) (json.RawMessage, *string) {
		return inWords(h.redact(history.Queue, history.Function, text), as)
	}, operator == nil, show)
	return answer(w, http.StatusOK, k)
}

// tell adds how the task ended, its result for those who may see it, and its payload on demand.
func (k *known) tell(words func(text []byte) (json.RawMessage, *string), operator, payload bool) {
	task := &k.Task
	switch task.State {
	case inspect.Failed, inspect.Cancelled, inspect.Dead:
		k.Failure = &failure{Function: task.Function, Attempt: task.Attempt, Reason: task.Reason, Message: task.LastError}
	case inspect.Done:
		if operator {
			k.Result, k.ResultBase64 = words(task.Result)
		}
	case inspect.Waiting, inspect.Running, inspect.Delayed:
	}
	if payload && len(task.Payload) > 0 {
		k.Payload, k.PayloadBase64 = words(task.Payload)
	}
}

// waitFor waits until a task has an outcome, or the time is over, if its outcome is kept.
func (h *Handler) waitFor(w http.ResponseWriter, r *http.Request, wait time.Duration) error {
	if !h.waiters.Take() {
		return busyProblem()
	}
	defer h.waiters.Free()
	_, _, err := h.await(w, r, r.PathValue("task"), wait)
	if errors.Is(err, stream.ErrNotKept) {
		return nil
	}
	return err
}

// download sends what a task carries as a file, byte by byte.
func (h *Handler) download(part string) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := newQuery(r).err(); err != nil {
			return err
		}
		ctx, cancel := within(r.Context())
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
