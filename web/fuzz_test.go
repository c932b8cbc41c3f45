package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web"
)

// fuzzed is a handler whose Redis is never there: what is refused early is refused without it, and what is not says that it is away.
func fuzzed(f *testing.F) *web.Handler {
	f.Helper()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	f.Cleanup(func() { client.Close() })
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		f.Fatal(err)
	}
	handler, err := web.New(store, web.Config{Client: stream.ClientConfig{RetryFor: 1}})
	if err != nil {
		f.Fatal(err)
	}
	return handler
}

// serve answers one request, and fails where a handler panicked, or told what Redis or Go said.
func serve(t *testing.T, handler http.Handler, r *http.Request) {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code == http.StatusInternalServerError {
		t.Errorf("%s %s: 500 %s", r.Method, r.URL, w.Body)
	}
	for _, leak := range []string{"127.0.0.1:1", "connection refused", "redis:", "json: "} {
		if strings.Contains(w.Body.String(), leak) {
			t.Errorf("%s %s tells %q: %s", r.Method, r.URL, leak, w.Body)
		}
	}
	if w.Code >= 400 && !strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json") && strings.HasPrefix(r.URL.Path, "/api/") {
		t.Errorf("%s %s: %d as %s", r.Method, r.URL, w.Code, w.Header().Get("Content-Type"))
	}
}

func request(t *testing.T, method string, at *url.URL, body io.Reader) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost/", body)
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = at.Path, at.RawPath, at.RawQuery
	r.RemoteAddr = "127.0.0.1:1000"
	r.Header.Set("Content-Type", "application/json")
	return r
}

func FuzzBodies(f *testing.F) {
	handler := fuzzed(f)
	paths := []string{"/tasks", "/calls?wait=1ms", "/batches", "/cancel", "/retry", "/delete", "/replay", "/pause"}
	for _, seed := range []string{
		``, `{}`, `[]`, `[{}]`, `null`, `{"function":"f"}`, `{"function":"f","payload":{"a":[1,null,"\u0000"]}}`, `{"function":"f","payload_base64":"AA=="}`,
		`{"function":"f","unique":{"key":"k","ttl":"1h"},"after":"1s","headers":{"a":"b"}}`, `{"function":"f","inputs":[1,2],"window":1}`,
		`{"tasks":["01ARZ3NDEKTSV4RRFFQ69G5FAV"]}`, `{"group":"0123456789abcdef"}`, `[{"function":"f"},7,"x"]`, "\x00\xff", `{"function":"f"`, `{"tasks":null}`,
		"{\"function\":\"f\"}\n{\"function\":\"g\"}\n", strings.Repeat("[", 20000), `{"a":1,"a":2}`, `{"at":"9999-12-31T23:59:59.999999999+23:59","function":"f"}`,
	} {
		for i := range paths {
			f.Add(byte(i), i%2 == 0, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, lines bool, body []byte) {
		at, err := url.Parse("/api/v1/queues/q" + paths[int(which)%len(paths)])
		if err != nil {
			t.Fatal(err)
		}
		r := request(t, http.MethodPost, at, strings.NewReader(string(body)))
		if lines {
			r.Header.Set("Content-Type", "application/x-ndjson")
		}
		serve(t, handler, r)
	})
}

func FuzzPathsAndQueries(f *testing.F) {
	handler := fuzzed(f)
	for _, seed := range []string{
		"/", "/api/v1/queues?limit=5&cursor=x", "/api/v1/queues/q/tasks?state=dead&function=f", "/api/v1/queues/%7Bq%7D", "/api/v1/queues/../../etc/passwd",
		"/static/../board.go", "/static/board.css", "/api/v1/queues/q/tasks/01ARZ3NDEKTSV4RRFFQ69G5FAV?wait=1ms&payload=true&as=base64", "//", "/%00", "/a;b",
		"/api/v1/queues/q/letters/1-1", "/api/v1/queues/q/trend?minutes=99999", "/api/v1/queues/q%2Ftasks", "/login", "/api/v1/queues?%zz", "/live/x?y=z",
	} {
		f.Add(false, seed)
		f.Add(true, seed)
	}
	f.Fuzz(func(t *testing.T, remove bool, text string) {
		method := map[bool]string{false: http.MethodGet, true: http.MethodDelete}[remove]
		at, err := url.ParseRequestURI(text)
		if err != nil || strings.HasPrefix(at.Path, "/live/") || !strings.HasPrefix(at.Path, "/") {
			return
		}
		serve(t, handler, request(t, method, at, http.NoBody))
	})
}

func FuzzHosts(f *testing.F) {
	handler := fuzzed(f)
	for _, seed := range []string{"localhost", "127.0.0.1:80", "[::1]:80", "evil.example", "[::1", "localhost:", ":80", "\x00", "localhost\r\nX: y", "[fe80::1%25a]:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		at := &url.URL{Path: "/api/openapi.json"}
		r := request(t, http.MethodGet, at, http.NoBody)
		r.Host = host
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		name := strings.ToLower(host)
		ours := strings.HasPrefix(name, "localhost") || strings.HasPrefix(name, "127.0.0.1") || strings.HasPrefix(name, "[")
		if w.Code == http.StatusOK && !ours {
			t.Errorf("Host %q is let in", host)
		}
		if w.Code != http.StatusOK && w.Code != http.StatusMisdirectedRequest {
			t.Errorf("Host %q: %d", host, w.Code)
		}
	})
}
