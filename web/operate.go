package web

import (
	"net/http"
	"time"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/web/internal/problem"
)

type removed struct {
	Queue   string `json:"queue"`
	Removed int    `json:"removed"`
}

// purgeTasks removes all tasks of a state.
func (h *Handler) purgeTasks(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "state")
	state := q.one("state", "", string(inspect.Waiting), string(inspect.Delayed), string(inspect.Dead))
	if state == "" && q.wrong == nil {
		q.wrong = append(q.wrong, problem.Field{In: "query", Field: "state", Detail: "say which: waiting, delayed or dead"})
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
	return func(int) { _ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) } // a recorder has no deadlines
}
