package web

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/web/internal/guard"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const (
	apiBase   = "/api/v1"
	jsonType  = "application/json"
	lineType  = "application/x-ndjson"
	eventType = "text/event-stream"
	bytesType = "application/octet-stream"
)

// action answers a request, or returns why it cannot, before it has written anything.
type action func(w http.ResponseWriter, r *http.Request) error

// route is one request of the API.
type route struct {
	method string
	path   string // below apiBase
	role   Role
	do     action

	takes []string // media types of the body; default JSON where there is one
	gives []string // of the answer; default JSON
	bulk  bool     // many tasks may be in the body
}

// routes is the whole API. The OpenAPI description has the same, and a test compares.
func (h *Handler) routes() []route {
	const queue, task, letters, run = "/queues/{queue}", "/queues/{queue}/tasks/{task}", "/queues/{queue}/letters", "/queues/{queue}/runs/{run}"
	get, post, remove := http.MethodGet, http.MethodPost, http.MethodDelete
	lines, files := []string{jsonType, lineType}, []string{bytesType}
	return []route{
		{method: get, path: "/queues", role: Read, do: h.listQueues},
		{method: get, path: "/doctor", role: Read, do: h.examine},
		{method: get, path: queue, role: Read, do: h.showQueue},
		{method: get, path: queue + "/trend", role: Read, do: h.showTrend},
		{method: get, path: queue + "/workers", role: Read, do: h.listWorkers},
		{method: get, path: queue + "/workers/{worker}", role: Read, do: h.showWorker},
		{method: post, path: queue + "/pause", role: Operate, do: h.pause},
		{method: post, path: queue + "/resume", role: Operate, do: h.resume},

		{method: get, path: queue + "/tasks", role: Read, do: h.listTasks},
		{method: post, path: queue + "/tasks", role: Operate, do: h.enqueue, takes: lines, bulk: true},
		{method: remove, path: queue + "/tasks", role: Admin, do: h.purgeTasks},
		{method: get, path: task, role: Read, do: h.showTask},
		{method: remove, path: task, role: Admin, do: h.deleteTask},
		{method: get, path: task + "/payload", role: Operate, do: h.download("payload"), gives: files},
		{method: get, path: task + "/result", role: Operate, do: h.download("result"), gives: files},
		{method: post, path: queue + "/cancel", role: Operate, do: h.cancel},
		{method: post, path: queue + "/retry", role: Operate, do: h.retry},
		{method: post, path: queue + "/delete", role: Admin, do: h.deleteTasks},

		{method: post, path: queue + "/calls", role: Operate, do: h.call},
		{method: get, path: queue + "/batches", role: Read, do: h.listBatches},
		{method: post, path: queue + "/batches", role: Operate, do: h.batch, takes: lines, gives: []string{lineType, eventType}, bulk: true},

		{method: get, path: letters, role: Read, do: h.listLetters},
		{method: remove, path: letters, role: Admin, do: h.purgeLetters},
		{method: get, path: letters + "/{letter}", role: Read, do: h.showLetter},
		{method: remove, path: letters + "/{letter}", role: Admin, do: h.deleteLetter},
		{method: get, path: queue + "/groups", role: Read, do: h.listGroups},
		{method: post, path: queue + "/replay", role: Operate, do: h.replay},

		{method: get, path: queue + "/runs", role: Read, do: h.listRuns},
		{method: get, path: run, role: Read, do: h.showRun},
		{method: post, path: run + "/cancel", role: Operate, do: h.cancelRun},
	}
}

// addRoutes makes every path of the API refuse the methods it does not take.
func (h *Handler) addRoutes(mux *http.ServeMux) {
	methods := map[string][]string{}
	for _, r := range h.routes() {
		mux.Handle(r.method+" "+apiBase+r.path, guard.Require(r.role, h.handle(r)))
		methods[r.path] = append(methods[r.path], r.method)
		if r.method == http.MethodGet {
			methods[r.path] = append(methods[r.path], http.MethodHead)
		}
	}
	for path, allowed := range methods {
		slices.Sort(allowed)
		mux.HandleFunc(apiBase+path, func(w http.ResponseWriter, _ *http.Request) { notAllowed(w, strings.Join(allowed, ", ")) })
	}
}

// handle checks what all requests have in common.
func (h *Handler) handle(route route) http.Handler {
	if route.takes == nil {
		route.takes = []string{jsonType}
	}
	if route.gives == nil {
		route.gives = []string{jsonType}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		limit := h.cfg.Limits.Body
		if route.bulk {
			limit = h.cfg.Limits.Bulk
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		err := checkHeader(route, r)
		if err == nil {
			err = checkPath(route, r)
		}
		if err == nil {
			err = route.do(w, r)
		}
		if err != nil {
			h.fail(w, r, err)
		}
		h.log.Debug("request", zap.String("request", w.Header().Get(problem.RequestID)), zap.String("method", r.Method),
			zap.String("path", r.URL.Path), zap.Duration("took", time.Since(began)), zap.Error(err))
	})
}

// checkHeader refuses bodies and wishes of other kinds. What changes something says what it sends, also when that is nothing: a page
// elsewhere cannot make a browser say application/json without asking first.
func checkHeader(route route, r *http.Request) error {
	if route.method == http.MethodPost {
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		encoding := r.Header.Get("Content-Encoding")
		if err != nil || !slices.Contains(route.takes, kind) || encoding != "" && encoding != "identity" {
			return problem.New(http.StatusUnsupportedMediaType, "unsupported-media-type", "The body is of another type",
				"Send it as "+strings.Join(route.takes, " or ")+", not compressed, and say so in Content-Type, without a body too.")
		}
	}
	if accepted(r, route.gives) == "" {
		return problem.New(http.StatusNotAcceptable, "not-acceptable", "There is no answer of the types in Accept",
			"There is "+strings.Join(route.gives, " and ")+".")
	}
	return nil
}

// accepted is the first of the types that a request's Accept likes best, "" for none.
func accepted(r *http.Request, types []string) string {
	header := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(header) == "" {
		return types[0]
	}
	best, liked := "", 0.0
	for _, kind := range types {
		if q := likes(header, kind); q > liked {
			best, liked = kind, q
		}
	}
	return best
}

// likes is the weight of a type: that of the closest range in an Accept header.
func likes(header, kind string) float64 {
	family, _, _ := strings.Cut(kind, "/")
	weight, closeness := 0.0, 0
	for part := range strings.SplitSeq(header, ",") {
		wanted, parameters, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		near := slices.Index([]string{"*/*", family + "/*", kind}, wanted) + 1
		if near > closeness {
			q, err := strconv.ParseFloat(parameters["q"], 64)
			if err != nil {
				q = 1
			}
			weight, closeness = q, near
		}
	}
	return weight
}

// checkPath holds the names in a path to the rule of all names, before anything is done with them.
func checkPath(route route, r *http.Request) error {
	var wrong []problem.Field
	for _, name := range []string{"queue", "worker", "task", "letter", "run"} {
		if !strings.Contains(route.path, "{"+name+"}") {
			continue
		}
		value := r.PathValue(name)
		detail := ""
		if err := wire.CheckName(name, value); err != nil {
			detail = err.Error()
		} else if (name == "task" || name == "run") && checkID(value) != nil {
			detail = "an ID has 26 characters, as answers and listings have them"
		} else if name == "letter" && !letterID.MatchString(value) {
			detail = "the ID of a dead letter is two numbers and a dash, as listings have them"
		}
		if detail != "" {
			wrong = append(wrong, problem.Field{In: "path", Field: name, Detail: detail})
		}
	}
	if wrong != nil {
		return problem.Invalid(wrong...)
	}
	return nil
}

// fail answers with the problem that an error is. What the error says goes to the log.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // the client has left
	}
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		h.log.Warn("request failed", zap.String("request", w.Header().Get(problem.RequestID)), zap.String("method", r.Method),
			zap.String("path", r.URL.Path), zap.Int("status", p.Status), zap.String("code", p.Code), zap.Error(err))
	}
	problem.Write(w, p)
}

// giveUp bounds a request that reads or changes something in Redis in one go.
const giveUp = 15 * time.Second

func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, giveUp, fmt.Errorf("no answer for %v: %w", giveUp, context.DeadlineExceeded))
}
