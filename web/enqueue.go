package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const mostTasks = 1000 // in one request

// stored is a task that is in its queue.
type stored struct {
	Task      string `json:"task"`
	Queue     string `json:"queue"`
	Function  string `json:"function"`
	Duplicate bool   `json:"duplicate"` // it was there before: the key is known
}

// item is what became of one of many tasks: a task or a problem.
type item struct {
	Index int `json:"index"`
	*stored
	Problem *problem.Problem `json:"problem,omitempty"`
}

type bulk struct {
	Stored int    `json:"stored"` // duplicates among them
	Failed int    `json:"failed"`
	Items  []item `json:"items"`
}

// enqueue stores one task, or many: an array, or lines.
func (h *Handler) enqueue(w http.ResponseWriter, r *http.Request) error {
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	if err = newQuery(r).err(); err != nil {
		return err
	}
	text, many, err := h.readOrders(r)
	if err != nil {
		return fmt.Errorf("web: read tasks: %w", err)
	}
	if text == nil {
		return h.enqueueMany(w, r, key, many)
	}
	task, err := h.store1(r, key, text)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if task.Duplicate {
		status = http.StatusOK
	}
	w.Header().Set("Location", h.taskPath(task.Queue, task.Task))
	return answer(w, status, task)
}

// readOrders reads the text of one task, or those of many: an array, or lines.
func (h *Handler) readOrders(r *http.Request) (text []byte, many []json.RawMessage, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == lineType {
		err = readLines(r.Body, h.cfg.Limits.Body, func(_ int, line []byte) error {
			many = append(many, bytes.Clone(line))
			return countTasks(len(many))
		})
		return nil, many, err
	}
	if text, err = io.ReadAll(r.Body); err != nil {
		return nil, nil, err
	}
	if first := bytes.TrimLeft(text, " \t\r\n"); len(first) > 0 && first[0] == '[' {
		err = readJSON(bytes.NewReader(text), &many)
		return nil, many, err
	}
	if int64(len(text)) > h.cfg.Limits.Body {
		err = &http.MaxBytesError{Limit: h.cfg.Limits.Body}
	}
	return text, nil, err
}

func (h *Handler) taskPath(queue, task string) string {
	return h.cfg.Base + apiBase + "/queues/" + queue + "/tasks/" + task
}

func countTasks(n int) error {
	if n > mostTasks {
		return problem.New(http.StatusRequestEntityTooLarge, "too-many", "There are too many tasks in one request",
			fmt.Sprintf("Send at most %d. Nothing of it was stored.", mostTasks))
	}
	return nil
}

// store1 stores one task, as it is written in text.
func (h *Handler) store1(r *http.Request, key string, text []byte) (*stored, error) {
	var o order
	if err := readJSON(bytes.NewReader(text), &o); err != nil {
		return nil, err
	}
	m, err := o.make(key != "")
	if err != nil {
		return nil, err
	}
	return h.put(r.Context(), r.PathValue("queue"), key, &m)
}

// put stores a task that was checked.
func (h *Handler) put(ctx context.Context, queue, key string, m *made) (*stored, error) {
	options := m.options
	if m.keep > 0 {
		options = append(options, stream.Keep(m.keep))
	}
	if key != "" {
		options = append(options, stream.Idempotent(key, h.cfg.Remember))
	}
	id, err := m.fn(queue).Enqueue(ctx, h.client, m.payload, options...)
	duplicate := errors.Is(err, stream.ErrDuplicate)
	if err != nil && !duplicate {
		return nil, err
	}
	return &stored{Task: id, Queue: queue, Function: m.function, Duplicate: duplicate}, nil
}

// enqueueMany stores tasks in their order. One that is wrong does not keep the others from being stored; when Redis stores no more,
// the rest is not tried.
func (h *Handler) enqueueMany(w http.ResponseWriter, r *http.Request, key string, orders []json.RawMessage) error {
	if err := countTasks(len(orders)); err != nil {
		return err
	}
	result := bulk{Items: make([]item, 0, len(orders))}
	var over *problem.Problem
	for i, text := range orders {
		it := item{Index: i, Problem: over}
		if over == nil {
			var err error
			if int64(len(text)) > h.cfg.Limits.Body {
				err = &http.MaxBytesError{Limit: h.cfg.Limits.Body}
			} else {
				it.stored, err = h.store1(r, keyOf(key, i), text)
			}
			if err != nil {
				it.Problem = problemOf(err)
			}
		}
		if it.Problem == nil {
			result.Stored++
		} else {
			result.Failed++
			if it.Problem.RetryAfter > 0 && over == nil {
				over = problem.New(it.Problem.Status, "not-tried", "The task was not stored", "One before it could not be stored: "+it.Problem.Code+".")
				if result.Stored == 0 && i == 0 {
					return it.Problem // nothing was stored: the whole request may be sent again
				}
				w.Header().Set("Retry-After", "2")
			}
		}
		result.Items = append(result.Items, it)
	}
	return answer(w, http.StatusOK, result)
}

// keyOf is the key of one of many tasks.
func keyOf(key string, i int) string {
	if key == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d", key, i)
}

// idempotencyKey is what tells a request that is sent again from a new one.
func idempotencyKey(r *http.Request) (string, error) {
	const most = 255
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	ok := len(values) == 1 && key != "" && len(key) <= most
	for _, c := range key {
		ok = ok && c > ' ' && c <= '~'
	}
	if !ok {
		return "", problem.Invalid(problem.Field{In: "header", Field: "Idempotency-Key", Detail: "use 1 to 255 printable ASCII characters without blanks, once"})
	}
	return key, nil
}
