package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web"
)

const patience = 30 * time.Second

// site is a server of ours on a private Redis, with a real socket in between.
type site struct {
	t       *testing.T
	redis   *redistest.Server
	store   *stream.Store
	handler *web.Handler
	logs    *observer.ObservedLogs
	url     string
	client  *http.Client
	token   string
	stop    context.CancelFunc
	ended   chan error
}

// newSite serves until the test ends.
func newSite(t *testing.T, cfg web.Config, args ...string) *site {
	t.Helper()
	server := redistest.Start(t, args...)
	return siteOn(t, server, server.Client(t), cfg)
}

func siteOn(t *testing.T, server *redistest.Server, client redis.UniversalClient, cfg web.Config) *site {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	store, err := stream.NewStore(client, stream.Config{Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := web.New(store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &site{
		t: t, redis: server, store: store, handler: handler, logs: logs, url: "http://" + listener.Addr().String() + cfg.Base,
		client: &http.Client{Transport: &http.Transport{}, Timeout: patience}, stop: stop, ended: make(chan error, 1),
	}
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	go func() { s.ended <- web.Serve(ctx, listener, handler, nil) }()
	t.Cleanup(func() {
		s.end()
		_ = store.Close()
	})
	return s
}

// end stops the server and waits for it.
func (s *site) end() {
	s.stop()
	s.client.CloseIdleConnections()
	select {
	case err := <-s.ended:
		s.ended <- nil
		if err != nil {
			s.t.Errorf("serve: %v", err)
		}
	case <-time.After(patience):
		s.t.Error("the server did not end")
	}
}

// work runs a worker with the functions that the tests call.
func (s *site) work(queues ...string) {
	s.t.Helper()
	var list []group.Queue
	for _, queue := range queues {
		list = append(list, group.Queue{Name: queue})
	}
	worker, err := group.NewWorker(s.store, group.Config{Queues: list, Concurrency: 4, Drain: time.Second})
	if err != nil {
		s.t.Fatal(err)
	}
	group.HandleRaw(worker, "echo", func(_ context.Context, task group.Task) ([]byte, error) { return task.Payload, nil })
	group.HandleRaw(worker, "fail", func(context.Context, group.Task) ([]byte, error) {
		return nil, group.Drop(fmt.Errorf("it is broken"))
	})
	group.HandleRaw(worker, "mixed", func(_ context.Context, task group.Task) ([]byte, error) {
		if strings.Contains(string(task.Payload), "sleep") {
			<-time.After(700 * time.Millisecond)
		}
		return task.Payload, nil
	})
	group.HandleRaw(worker, "slow", func(ctx context.Context, task group.Task) ([]byte, error) {
		select {
		case <-time.After(700 * time.Millisecond):
			return task.Payload, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		<-done
	})
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do sends one request; a body makes it JSON.
func (s *site) do(method, path, body string, change ...func(*http.Request)) reply {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	for _, c := range change {
		c(r)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{status: answer.StatusCode, header: answer.Header, body: text}
}

// must is do for requests that have to be answered with a status; it decodes the answer.
func (s *site) must(status int, method, path, body string, change ...func(*http.Request)) map[string]any {
	s.t.Helper()
	got := s.do(method, path, body, change...)
	if got.status != status {
		s.t.Fatalf("%s %s: got %d %s, want %d", method, path, got.status, got.body, status)
	}
	var value map[string]any
	if len(bytes.TrimSpace(got.body)) > 0 {
		if err := json.Unmarshal(got.body, &value); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, got.body)
		}
	}
	return value
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if value == "" {
			r.Header.Del(name)
			return
		}
		r.Header.Set(name, value)
	}
}

func tokenFor(role string) string {
	return map[string]string{
		"read": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGread", "operate": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGoperate",
		"admin": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGadmin",
	}[role]
}

func threeKeys(t *testing.T) []web.Key {
	t.Helper()
	keys, err := web.ReadKeys(strings.NewReader("read:" + tokenFor("read") + "\noperate:" + tokenFor("operate") + "\nadmin:" + tokenFor("admin")))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
