package web

import (
	"fmt"
	"net/http"
	"time"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const mostIDs = 200 // in one request

type removed struct {
	Queue   string `json:"queue"`
	Removed int    `json:"removed"`
}

// purgeTasks removes all tasks of a state.
func (h *Handler) purgeTasks(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "state")
	state := q.one("state", "", string(inspect.Waiting), string(inspect.Delayed), string(inspect.Dead))
	if state == "" && q.wrong == nil {
		q.fault("state", "say which: waiting, delayed or dead")
	}
	if err := q.err(); err != nil {
		return err
	}
	n, err := h.look.Purge(r.Context(), r.PathValue("queue"), inspect.State(state), h.goOn(w))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, removed{Queue: r.PathValue("queue"), Removed: n})
}

// goOn moves the time at which the server gives up writing the answer, whenever there is progress.
func (h *Handler) goOn(w http.ResponseWriter) func(int) {
	control := http.NewResponseController(w)
	return func(int) {
		later := time.Now().Add(writeTimeout)
		_, _ = control.SetReadDeadline(later), control.SetWriteDeadline(later) // a recorder has no deadlines
	}
}

// pause keeps workers from taking tasks of a queue.
func (h *Handler) pause(w http.ResponseWriter, r *http.Request) error { return h.toggle(w, r, true) }

// resume lets them.
func (h *Handler) resume(w http.ResponseWriter, r *http.Request) error { return h.toggle(w, r, false) }

func (h *Handler) toggle(w http.ResponseWriter, r *http.Request, paused bool) error {
	if err := noBody(r); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	queue, change := r.PathValue("queue"), h.look.Resume
	if paused {
		change = h.look.Pause
	}
	if err := change(ctx, queue); err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"queue": queue, "paused": paused})
}

// readIDs reads the IDs of tasks, or of dead letters.
func readIDs(r *http.Request) ([]string, error) {
	if err := newQuery(r).err(); err != nil {
		return nil, err
	}
	var body struct {
		Tasks []string `json:"tasks"`
	}
	if err := readJSON(r.Body, &body); err != nil {
		return nil, err
	}
	f := &fields{}
	if len(body.Tasks) == 0 || len(body.Tasks) > mostIDs {
		f.fault("tasks", fmt.Sprintf("there are %d, use 1 to %d IDs", len(body.Tasks), mostIDs))
		return nil, f.err()
	}
	for i, id := range body.Tasks {
		if checkID(id) != nil && !letterID.MatchString(id) {
			f.fault(fmt.Sprintf("tasks.%d", i), "it is no ID of a task or of a dead letter")
		}
	}
	return body.Tasks, f.err()
}

// checkID tells what is no ID of a task.
func checkID(id string) error {
	probe := wire.Task{ID: id, Function: "f"}
	return probe.Check()
}

// cancel cancels tasks.
func (h *Handler) cancel(w http.ResponseWriter, r *http.Request) error {
	ids, err := readIDs(r)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if letterID.MatchString(id) {
			return problem.Invalid(problem.Field{In: "body", Field: fmt.Sprintf("tasks.%d", i), Detail: "a dead letter cannot be cancelled, only deleted"})
		}
	}
	ctx, stop := within(r.Context())
	defer stop()
	became, err := h.look.Cancel(ctx, r.PathValue("queue"), ids...)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, became)
}

// retry makes tasks run now.
func (h *Handler) retry(w http.ResponseWriter, r *http.Request) error {
	ids, err := readIDs(r)
	if err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	n, err := h.look.Retry(ctx, r.PathValue("queue"), ids...)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"queue": r.PathValue("queue"), "retried": n})
}

// deleteTasks removes the tasks and dead letters that a body names.
func (h *Handler) deleteTasks(w http.ResponseWriter, r *http.Request) error {
	ids, err := readIDs(r)
	if err != nil {
		return err
	}
	return h.remove(w, r, ids...)
}

// deleteTask removes the one that the path names.
func (h *Handler) deleteTask(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	return h.remove(w, r, r.PathValue("task"))
}

// deleteLetter likewise.
func (h *Handler) deleteLetter(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	return h.remove(w, r, r.PathValue("letter"))
}

func (h *Handler) remove(w http.ResponseWriter, r *http.Request, ids ...string) error {
	ctx, cancel := within(r.Context())
	defer cancel()
	n, err := h.look.Delete(ctx, r.PathValue("queue"), ids...)
	if err != nil {
		return err
	}
	if n == 0 && r.Method == http.MethodDelete {
		return inspect.ErrNotFound
	}
	return answer(w, http.StatusOK, removed{Queue: r.PathValue("queue"), Removed: n})
}
