package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/board"
	"github.com/athoune/worker-machine/web/internal/guard"
	"github.com/athoune/worker-machine/web/internal/problem"
)

// Handler serves the API, the dashboard, health and metrics of the queues of one store. It is safe for concurrent use. Close it when
// its server has stopped.
type Handler struct {
	cfg     Config
	store   *stream.Store
	look    *inspect.Inspector
	client  *stream.Client
	guard   *guard.Guard
	log     *zap.Logger
	entry   http.Handler
	streams guard.Slots
	viewers guard.Slots
	waiters guard.Slots
	ready   readiness

	heartbeat time.Duration // of streams
	slow      time.Duration // how long a client may take to take what it asked for

	stop     sync.Once
	stopping chan struct{}
}

// defaultRetryFor is how long an enqueue goes on while Redis does not answer: somebody waits for the answer.
const defaultRetryFor = 5 * time.Second

// New returns a Handler. It dials nothing. All that is wrong with cfg is reported at once.
func New(store *stream.Store, cfg Config) (*Handler, error) {
	err := cfg.check()
	fill(&cfg.Client.RetryFor, defaultRetryFor)
	h := &Handler{cfg: cfg, store: store, stopping: make(chan struct{}), heartbeat: heartbeat, slow: slowClient}
	if store == nil {
		return nil, errors.Join(errors.New("web: store is nil: make it with stream.NewStore"), err)
	}
	h.log, h.look = store.Logger(), inspect.New(store)
	cas := make([]guard.CA, len(cfg.ClientCAs))
	for i, ca := range cfg.ClientCAs {
		cas[i] = guard.CA(ca)
	}
	var bad error
	h.guard, bad = guard.New(guard.Config{
		Base: cfg.Base, Keys: cfg.Keys, CAs: cas, Hosts: cfg.Hosts, Secure: cfg.Secure, Session: cfg.Session, Logger: h.log,
	})
	if bad != nil {
		err = errors.Join(err, bad)
	}
	if h.client, bad = stream.NewClient(store, cfg.Client); bad != nil {
		err = errors.Join(err, fmt.Errorf("web: Client: %w", bad))
	}
	if err != nil {
		return nil, err
	}
	h.streams, h.viewers, h.waiters = guard.NewSlots(cfg.Limits.Streams), guard.NewSlots(cfg.Limits.Viewers), guard.NewSlots(cfg.Limits.Waiters)
	routes, err := h.mux()
	if err != nil {
		return nil, err
	}
	h.entry = h.guard.Handler(isProbe, routes)
	return h, nil
}

// Open tells whether no key is needed, which is why only callers on this machine are served.
func (h *Handler) Open() bool { return h.guard.Open() }

// Close ends what waits and streams, and the client. Call it after the server's Shutdown, or before it to have that end sooner.
func (h *Handler) Close(ctx context.Context) error {
	h.Stop()
	return h.client.Close(ctx)
}

// Stop makes /readyz say so, and ends requests that wait or stream; others go on. [Serve] calls it.
func (h *Handler) Stop() { h.stop.Do(func() { close(h.stopping) }) }

// TLS adds to the configuration of a server what client certificates need. It returns a copy.
func (h *Handler) TLS(base *tls.Config) *tls.Config {
	cfg := base.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if len(h.cfg.ClientCAs) == 0 {
		return cfg
	}
	cfg.ClientCAs = x509.NewCertPool()
	for _, ca := range h.cfg.ClientCAs {
		for _, certificate := range ca.Certificates {
			cfg.ClientCAs.AddCert(certificate)
		}
	}
	cfg.ClientAuth = tls.VerifyClientCertIfGiven // probes have none; requests without one need a key
	return cfg
}

// ServeHTTP answers a request. Its path begins with Config.Base, or lacks it where http.StripPrefix took it away.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.cfg.Base != "" && r.URL.Path == h.cfg.Base {
		http.Redirect(w, r, h.cfg.Base+"/", http.StatusMovedPermanently)
		return
	}
	if strings.HasPrefix(r.URL.Path, h.cfg.Base+"/") && h.cfg.Base != "" {
		r2 := *r
		url := *r.URL
		url.Path, url.RawPath = strings.TrimPrefix(url.Path, h.cfg.Base), strings.TrimPrefix(url.RawPath, h.cfg.Base)
		r2.URL = &url
		r = &r2
	}
	h.entry.ServeHTTP(w, r)
}

// isProbe tells requests that need no Host, no key and no origin: they learn whether the server is well.
func isProbe(r *http.Request) bool {
	return (r.URL.Path == "/healthz" || r.URL.Path == "/readyz") && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// mux puts all handlers in their places.
func (h *Handler) mux() (http.Handler, error) {
	mux := http.NewServeMux()
	h.addRoutes(mux)
	mux.HandleFunc("/healthz", only(h.health))
	mux.HandleFunc("/readyz", only(h.readyz))
	mux.HandleFunc("/api/openapi.json", only(h.serveDescription))
	mux.HandleFunc("/api/", notFound)
	if h.cfg.Metrics != nil {
		mux.Handle("/metrics", guard.Require(guard.Read, h.cfg.Metrics))
	} else {
		mux.HandleFunc("/metrics", notFound)
	}
	pages := http.Handler(http.HandlerFunc(notFound))
	if !h.cfg.NoDashboard {
		cfg := board.Config{Base: h.cfg.Base, Redact: h.cfg.Redact, Ending: h.stopping}
		if !h.guard.Open() {
			cfg.Login, cfg.Logout = h.guard.Login, h.guard.Logout
		}
		made, err := board.New(h.look, cfg)
		if err != nil {
			return nil, fmt.Errorf("web: dashboard: %w", err)
		}
		pages = h.pages(made)
	}
	mux.Handle("/", pages)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isClean(r.URL.Path) { // ServeMux would send the client elsewhere, and not know of Base
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

func isClean(p string) bool {
	clean := path.Clean(p)
	return p == clean || p == clean+"/" && clean != "/"
}

// pages is the dashboard. Strangers get the way in from it, if they have a browser.
func (h *Handler) pages(board http.Handler) http.Handler {
	board = http.MaxBytesHandler(board, h.cfg.Limits.Body)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stranger := guard.Check(r.Context(), guard.Read) != nil
		open := r.URL.Path == "/login" || strings.HasPrefix(r.URL.Path, "/static/")
		browser := r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
		switch {
		case stranger && !open && !browser:
			guard.Require(guard.Read, board).ServeHTTP(w, r)
		case !strings.HasPrefix(r.URL.Path, "/live/"):
			board.ServeHTTP(w, r)
		case !h.viewers.Take():
			problem.Write(w, busyProblem())
		default:
			defer h.viewers.Free()
			board.ServeHTTP(w, r)
		}
	})
}

// only refuses requests that change something, of which these handlers know nothing.
func only(get http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			notAllowed(w, "GET, HEAD")
			return
		}
		get(w, r)
	}
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	problem.Write(w, problem.New(http.StatusNotFound, "no-such-path", "There is nothing at this path", "/api/openapi.json names all there are."))
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	problem.Write(w, problem.New(http.StatusMethodNotAllowed, "method-not-allowed", "This path does not take this method", "It takes "+allow+"."))
}
