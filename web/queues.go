package web

import (
	"net/http"
	"slices"

	"github.com/athoune/worker-machine/inspect"
)

const mostMinutes = 1440

type queuePage struct {
	Queues []inspect.Queue `json:"queues"`
	Next   string          `json:"next,omitempty"`
}

// listQueues lists queues by name.
func (h *Handler) listQueues(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "limit", "cursor")
	limit, after := q.limit(), q.cursor("queues")
	if err := q.err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	names, err := h.store.Queues(ctx)
	if err != nil {
		return err
	}
	from, found := slices.BinarySearch(names, after)
	if found {
		from++
	}
	names = names[from:]
	page := queuePage{Queues: []inspect.Queue{}}
	if len(names) > limit {
		names = names[:limit]
		page.Next = cursorOf("queues", names[limit-1])
	}
	if len(names) > 0 {
		if page.Queues, err = h.look.Queues(ctx, names...); err != nil {
			return err
		}
	}
	return answer(w, http.StatusOK, page)
}

// showQueue shows one queue.
func (h *Handler) showQueue(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	queue, err := h.look.Queue(ctx, r.PathValue("queue"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, queue)
}

// showTrend shows what happened in the last minutes.
func (h *Handler) showTrend(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "minutes")
	minutes := q.number("minutes", 60, 1, mostMinutes)
	if err := q.err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	trend, err := h.look.Trend(ctx, r.PathValue("queue"), minutes)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"queue": r.PathValue("queue"), "minutes": listOf(trend)})
}

// listOf is a list that is [] and not null when it is empty.
func listOf[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
