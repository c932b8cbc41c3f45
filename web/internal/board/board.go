// Package board is the dashboard: pages for people, rendered on the server.
//
//	pages, err := board.New(inspector, board.Config{Login: guard.Login, Logout: guard.Logout})
//
// Every page works without JavaScript: links, plain forms that answer with a redirect, and progress that reloads. With it, parts of a page
// are replaced as they change. What comes from Redis was written by anybody: it is escaped by html/template, and control and bidi
// characters are made visible in whatever is written (see visible).
package board

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// Config tunes the dashboard. The zero value is one without login: whoever mounts it says who the caller is, by [guard.With].
type Config struct {
	// Base is the path it is mounted at, without a slash at the end; "" for the root. Requests come without it, links have it.
	Base string

	// Login lets the bearer of a token in, by a cookie, or tells that it is not one. Nil: there is no login.
	Login func(w http.ResponseWriter, r *http.Request, token string) bool
	// Logout ends what Login began.
	Logout func(w http.ResponseWriter, r *http.Request)
	// Redact is given every payload and result before anybody sees it, and returns what may be seen. Nil: all.
	Redact func(queue, function string, payload []byte) []byte
	// Ending ends live updates when it is closed; nil: they end with the browser's request only.
	Ending <-chan struct{}
}

// Times that pages and live updates take.
const (
	loadTimeout = 5 * time.Second // of all that a page asks Redis
	maxForm     = 64 << 10        // bytes of a posted form
)

// board serves the pages.
type board struct {
	cfg       Config
	look      *inspect.Inspector
	logger    *zap.Logger
	templates map[string]*layout
	pages     map[string]page
	live      *hub
	bulks     *bulks
}

// New returns the pages, to be mounted behind the guard that checks callers and notes their role in the request's context. A caller
// without a role is sent to the login page, if there is one; only that page and /static/ are for everybody.
func New(look *inspect.Inspector, cfg Config) (http.Handler, error) {
	if cfg.Base != "" && (!strings.HasPrefix(cfg.Base, "/") || strings.HasSuffix(cfg.Base, "/")) {
		return nil, fmt.Errorf("board: Base is %q: want a path such as /queues, or nothing for the root", cfg.Base)
	}
	b, err := newBoard(look, cfg)
	if err != nil {
		return nil, err
	}
	return b.routes(), nil
}

func newBoard(look *inspect.Inspector, cfg Config) (*board, error) {
	b := &board{cfg: cfg, look: look, logger: look.Store().Logger(), bulks: newBulks()}
	b.pages = b.allPages()
	b.live = newHub(b.refresh)
	var err error
	if b.templates, err = parseTemplates(cfg.Base, b.pages); err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	return b, nil
}

// routes is the mux of all there is.
func (b *board) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, h http.HandlerFunc) { mux.HandleFunc(method+" "+path, h) }
	for name, p := range b.pages {
		handle("GET", p.path, b.serve(name))
	}
	handle("GET", "/static/{file}", b.static)
	handle("GET", "/live/{page}", b.serveLive)
	handle("GET", "/find", b.find)
	handle("GET", "/queues/{queue}/tasks/{id}/{part}", b.download)
	handle("POST", "/theme", b.theme)
	handle("POST", "/login", b.login)
	handle("POST", "/logout", b.logout)
	handle("POST", "/queues/{queue}/pause", b.post(guard.Operate, b.pause))
	handle("POST", "/queues/{queue}/resume", b.post(guard.Operate, b.resume))
	handle("POST", "/queues/{queue}/purge", b.post(guard.Admin, b.purge))
	handle("POST", "/queues/{queue}/tasks/{id}/cancel", b.post(guard.Operate, b.cancel))
	handle("POST", "/queues/{queue}/tasks/{id}/retry", b.post(guard.Operate, b.retry))
	handle("POST", "/queues/{queue}/tasks/{id}/delete", b.post(guard.Admin, b.remove))
	handle("POST", "/dead/replay", b.post(guard.Operate, b.replayLetters))
	handle("POST", "/dead/purge", b.post(guard.Admin, b.purgeLetters))
	handle("POST", "/bulk/{id}/stop", b.post(guard.Operate, b.stopBulk))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if !b.allow(w, r, guard.Read) {
			return
		}
		b.problem(w, r, &failure{status: http.StatusNotFound, title: "There is no such page", text: "The address may be mistyped, or from an older version."})
	})
	return secured(mux)
}

// policy allows nothing but what the board itself serves; the guard in front may have set it already.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'"

// secured sets the headers that every answer has, and limits what may be posted.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		// Other sites get none. Without one to ourselves, browsers would send the forms of plain HTTP as of no origin, and they were refused.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next.ServeHTTP(w, noteRequest(w, r))
	})
}
