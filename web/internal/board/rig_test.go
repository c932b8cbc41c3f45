package board_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/board"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// rig is a dashboard on a Redis of its own.
type rig struct {
	t      testing.TB
	server *redistest.Server
	redis  *redis.Client
	store  *stream.Store
	client *stream.Client
	look   *inspect.Inspector
	web    *httptest.Server
	role   guard.Role
	login  bool

	mu       sync.Mutex
	requests []string
}

// newRig starts a dashboard whose callers all have the role.
func newRig(t testing.TB, role guard.Role, edit ...func(*board.Config)) *rig {
	t.Helper()
	r := &rig{t: t, server: redistest.Start(t), role: role}
	r.redis = r.server.Client(t)
	var err error
	if r.store, err = stream.NewStore(r.server.Client(t), stream.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	if r.client, err = stream.NewClient(r.store, stream.ClientConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.client.Close(context.WithoutCancel(t.Context())) })
	r.look = inspect.New(r.store)
	cfg := board.Config{}
	for _, change := range edit {
		change(&cfg)
	}
	pages, err := board.New(r.look, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.web = httptest.NewServer(http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, q.Method+" "+q.URL.RequestURI())
		r.mu.Unlock()
		pages.ServeHTTP(w, q.WithContext(guard.With(q.Context(), r.roleOf(q))))
	})))
	t.Cleanup(func() {
		r.web.CloseClientConnections()
		r.web.Close()
	})
	return r
}

// testToken lets callers in where there is a login.
const testToken = "correct-horse-battery-staple"

func (r *rig) roleOf(q *http.Request) guard.Role {
	if !r.login {
		return r.role
	}
	if cookie, err := q.Cookie("session"); err == nil && cookie.Value == testToken {
		return r.role
	}
	return guard.Nobody
}

// withLogin makes the dashboard ask for testToken.
func (r *rig) withLogin(cfg *board.Config) {
	cfg.Login = func(w http.ResponseWriter, _ *http.Request, token string) bool {
		if token != testToken {
			return false
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		return true
	}
	cfg.Logout = func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Path: "/", MaxAge: -1})
	}
}

// work runs a worker until the end of the test, or stop.
func (r *rig) work(cfg group.Config, register func(*group.Worker)) (stop func()) {
	r.t.Helper()
	worker, err := group.NewWorker(r.store, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	register(worker)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var ended sync.WaitGroup
	ended.Go(func() { _ = worker.Run(ctx) })
	stop = func() {
		cancel()
		ended.Wait()
	}
	r.t.Cleanup(stop)
	return stop
}
