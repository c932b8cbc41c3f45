package web

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const mostRuns = 200

// listWorkers lists the workers of a queue.
func (h *Handler) listWorkers(w http.ResponseWriter, r *http.Request) error {
	q, queue := newQuery(r, "cursor"), r.PathValue("queue")
	after := q.cursor("workers")
	if err := q.err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	page, err := h.look.Workers(ctx, queue, after)
	if err != nil {
		return err
	}
	page.Workers, page.Next = listOf(page.Workers), cursorOf("workers", page.Next)
	return answer(w, http.StatusOK, page)
}

// showWorker shows one worker and its tasks.
func (h *Handler) showWorker(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	worker, err := h.look.Worker(ctx, r.PathValue("queue"), r.PathValue("worker"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, worker)
}

// listTasks lists tasks of one state.
func (h *Handler) listTasks(w http.ResponseWriter, r *http.Request) error {
	q, queue := newQuery(r, "state", "function", "worker", "limit", "cursor"), r.PathValue("queue")
	filter := inspect.Filter{Function: q.name("function"), Worker: q.name("worker"), Limit: q.limit()}
	if filter.Worker != "" {
		filter.State = inspect.State(q.one("state", string(inspect.Running)))
	} else {
		filter.State = inspect.State(q.one("state", string(inspect.Waiting), string(inspect.Running), string(inspect.Delayed), string(inspect.Dead)))
	}
	listing := "tasks " + string(filter.State)
	filter.After = q.cursor(listing)
	if err := q.err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	page, err := h.look.Tasks(ctx, queue, filter)
	if err != nil {
		return err
	}
	page.Tasks, page.Next = listOf(page.Tasks), cursorOf(listing, page.Next)
	return answer(w, http.StatusOK, page)
}

// listBatches lists sessions and durable batches.
func (h *Handler) listBatches(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	batches, more, err := h.look.Batches(ctx, r.PathValue("queue"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"batches": listOf(batches), "more": more})
}

// run is a map/reduce run as clients see it.
type run struct {
	ID       string             `json:"run"`
	Job      string             `json:"job"`
	Queue    string             `json:"queue"`
	State    mapreduce.RunState `json:"state"`
	Reason   string             `json:"reason,omitempty"`
	Note     string             `json:"note,omitempty"`
	MapsDone int                `json:"maps_done"`
	Maps     int                `json:"maps"`
	Done     int                `json:"reduces_done"`
	Reduces  int                `json:"reduces"`
	Failed   int                `json:"failed"`
	Bytes    int64              `json:"bytes"`
	Pairs    int64              `json:"pairs"`
	Started  time.Time          `json:"started"`
	Elapsed  float64            `json:"elapsed_seconds"`
	ETA      float64            `json:"eta_seconds"`
}

func runOf(r mapreduce.RunInfo) run {
	return run{
		ID: r.ID, Job: r.Job, Queue: r.Queue, State: r.State, Reason: r.Reason, Note: r.Note, MapsDone: r.MapsDone, Maps: r.Maps, Done: r.ReducesDone,
		Reduces: r.Reduces, Failed: r.Failed, Bytes: r.Bytes, Pairs: r.Pairs, Started: r.Started, Elapsed: r.Elapsed.Seconds(), ETA: r.ETA.Seconds(),
	}
}

// listRuns lists map/reduce runs, the latest first.
func (h *Handler) listRuns(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	infos, err := h.look.Runs(ctx, r.PathValue("queue"))
	if err != nil {
		return err
	}
	runs := make([]run, 0, min(len(infos), mostRuns))
	for _, info := range infos[:min(len(infos), mostRuns)] {
		runs = append(runs, runOf(info))
	}
	return answer(w, http.StatusOK, map[string]any{"runs": runs, "more": len(infos) > mostRuns})
}

// findRun finds the run that a path names.
func (h *Handler) findRun(r *http.Request) (mapreduce.RunInfo, error) {
	ctx, cancel := within(r.Context())
	defer cancel()
	info, err := mapreduce.FindRun(ctx, h.store, r.PathValue("run"))
	if err == nil && info.Queue != r.PathValue("queue") {
		err = mapreduce.ErrNoRun
	}
	return info, err
}

// showRun shows one run.
func (h *Handler) showRun(w http.ResponseWriter, r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	info, err := h.findRun(r)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, runOf(info))
}

// cancelRun ends a run everywhere.
func (h *Handler) cancelRun(w http.ResponseWriter, r *http.Request) error {
	if err := noBody(r); err != nil {
		return err
	}
	info, err := h.findRun(r)
	if err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	if err := mapreduce.CancelRun(ctx, h.store, info.ID); err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]string{"run": info.ID, "queue": info.Queue})
}

// examine checks the server, and one queue or all of them.
func (h *Handler) examine(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r, "queue")
	var queues []string
	if name := q.name("queue"); name != "" {
		queues = append(queues, name)
	}
	if err := q.err(); err != nil {
		return err
	}
	ctx, cancel := within(r.Context())
	defer cancel()
	checks, err := h.look.Doctor(ctx, queues...)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"checks": listOf(checks)})
}

// noBody refuses what would be ignored. An empty object is nothing too.
func noBody(r *http.Request) error {
	if err := newQuery(r).err(); err != nil {
		return err
	}
	text, err := io.ReadAll(r.Body)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return err
	}
	var nothing struct{}
	return readJSON(bytes.NewReader(text), &nothing)
}

// letterFilter reads the parameters that choose dead letters.
func (q *query) letterFilter() inspect.LetterFilter {
	filter := inspect.LetterFilter{Reason: q.values.Get("reason"), Function: q.name("function"), Group: q.values.Get("group")}
	q.wrong = append(q.wrong, wrongLetters("query", filter)...)
	return filter
}

func wrongLetters(in string, filter inspect.LetterFilter) (wrong []problem.Field) {
	if filter.Group != "" && !groupID.MatchString(filter.Group) {
		wrong = append(wrong, problem.Field{In: in, Field: "group", Detail: "use the ID of a group, 16 hex digits, as /groups lists them"})
	}
	if len(filter.Reason) > mostReason {
		wrong = append(wrong, problem.Field{In: in, Field: "reason", Detail: "it is longer than any reason"})
	}
	return wrong
}
