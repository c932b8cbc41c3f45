package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web"
)

const api = "/api/v1/queues/q"

// TestEveryRequestIsAnsweredAsDescribed goes through the whole API on a queue with tasks in every state, and holds each request and
// answer to the description.
func TestEveryRequestIsAnsweredAsDescribed(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	document := s.describe()
	c := s.check()
	s.work("q", "r")

	s.must(200, "GET", "/healthz", "")
	if got := s.must(200, "GET", "/readyz", ""); got["ready"] != true {
		t.Errorf("not ready: %v", got)
	}
	s.must(200, "POST", api+"/calls", `{"function":"echo","payload":{"x":1}}`)
	s.must(202, "POST", api+"/calls?wait=1ms", `{"function":"echo","payload":1,"after":"1h"}`)
	failed := s.must(200, "POST", api+"/calls", `{"function":"fail","payload":"p","headers":{"to":"bob"}}`)
	if failed["state"] != "failed" || failed["failure"].(map[string]any)["message"] != "it is broken" {
		t.Errorf("a call that fails: %v", failed)
	}
	const idle = "/api/v1/queues/idle" // nobody works on it for a while
	s.must(200, "POST", idle+"/pause", "")
	waiting := s.must(201, "POST", idle+"/tasks", `{"function":"echo","payload":[1,2]}`)["task"].(string)
	doomed := s.must(201, "POST", idle+"/tasks", `{"function":"echo"}`)["task"].(string)
	delayed := s.must(201, "POST", idle+"/tasks", `{"function":"echo","payload":3,"after":"1h","keep":"1h"}`)["task"].(string)
	s.must(200, "POST", idle+"/tasks", `[{"function":"echo"},{"function":"echo","timeout":"1s"}]`)
	s.must(200, "POST", idle+"/tasks", "{\"function\":\"echo\"}\n{}\n", header("Content-Type", "application/x-ndjson"))

	s.must(200, "GET", "/api/v1/queues", "")
	if got := s.must(200, "GET", idle, ""); got["paused"] != true {
		t.Errorf("a paused queue: %v", got)
	}
	s.must(200, "GET", idle+"/trend?minutes=5", "")
	s.must(200, "GET", "/api/v1/doctor?queue=q", "")
	worker := s.must(200, "GET", api+"/workers", "")["workers"].([]any)[0].(map[string]any)["worker"].(string)
	s.must(200, "GET", api+"/workers/"+worker, "")
	for _, state := range []string{"waiting", "running", "delayed", "dead"} {
		got := s.must(200, "GET", idle+"/tasks?limit=2&state="+state, "")
		if next, ok := got["next"].(string); ok {
			s.must(200, "GET", idle+"/tasks?limit=2&state="+state+"&cursor="+next, "")
			s.must(400, "GET", idle+"/letters?cursor="+next, "")
		}
	}
	if got := s.must(200, "GET", idle+"/tasks/"+waiting+"?payload=true", ""); got["state"] != "waiting" || len(got["payload"].([]any)) != 2 {
		t.Errorf("a waiting task: %v", got)
	}
	got := s.do("GET", idle+"/tasks/"+waiting+"/payload", "")
	if string(got.body) != "[1,2]" || got.header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("a payload as a file: %s %v", got.body, got.header)
	}
	s.must(200, "DELETE", idle+"/tasks/"+doomed, "")
	s.must(404, "DELETE", idle+"/tasks/"+doomed, "")
	s.must(404, "GET", idle+"/tasks/"+doomed, "")

	s.must(200, "POST", idle+"/resume", "{}")
	s.work("idle")
	s.must(200, "POST", idle+"/retry", `{"tasks":["`+delayed+`"]}`)
	done := s.must(200, "GET", idle+"/tasks/"+delayed+"?wait=20s", "")
	if done["state"] != "done" || done["result"] != 3.0 {
		t.Errorf("a task that was waited for: %v", done)
	}
	if got := s.do("GET", idle+"/tasks/"+delayed+"/result", ""); string(got.body) != "3" {
		t.Errorf("a result as a file: %d %s", got.status, got.body)
	}
	s.batchAndLetters(failed["task"].(string))
	s.runs()

	for _, item := range document.Paths.Map() {
		for _, operation := range item.Operations() {
			if c.seen[operation.OperationID] == 0 {
				t.Errorf("%s was never asked for", operation.OperationID)
			}
		}
	}
}

func (s *site) batchAndLetters(task string) {
	s.t.Helper()
	letters := s.must(200, "GET", api+"/letters?reason=dropped&function=fail", "")["letters"].([]any)
	letter := letters[0].(map[string]any)
	id := letter["letter"].(string)
	if letter["task"] != task || letter["payload"] != nil {
		s.t.Errorf("a dead letter: %v", letter)
	}
	if got := s.must(200, "GET", api+"/letters/"+id+"?payload=true", ""); got["payload"] != "p" {
		s.t.Errorf("a dead letter with its payload: %v", got)
	}
	group := s.must(200, "GET", api+"/groups", "")["groups"].([]any)[0].(map[string]any)["group"].(string)
	if got := s.must(200, "POST", api+"/replay", `{"group":"`+group+`"}`); got["replayed"] != 1.0 {
		s.t.Errorf("a replay: %v", got)
	}
	redistest.Eventually(s.t, patience, func() bool { // it fails again
		return s.store.Client().XLen(s.t.Context(), s.store.Keys("q").Dead()).Val() == 1
	})
	id = s.must(200, "GET", api+"/letters", "")["letters"].([]any)[0].(map[string]any)["letter"].(string)
	s.must(200, "DELETE", api+"/letters/"+id, "")
	s.must(404, "GET", api+"/letters/"+id, "")
	s.must(400, "DELETE", api+"/letters", "")
	s.must(200, "DELETE", api+"/letters?all=true", "")
	s.must(200, "DELETE", api+"/tasks?state=dead", "")

	got := s.do("POST", api+"/batches", `{"function":"echo","inputs":[1,"two",{"three":3}],"in_order":true}`)
	if lines := strings.Split(strings.TrimSpace(string(got.body)), "\n"); got.status != 200 || len(lines) != 4 || !strings.Contains(lines[3], `"event":"done","results":3,"failed":0`) {
		s.t.Errorf("a batch: %d %s", got.status, got.body)
	}
	s.must(200, "GET", api+"/batches", "")
	later := s.must(201, "POST", api+"/tasks", `{"function":"echo","after":"1h"}`)["task"].(string)
	if got := s.must(200, "POST", api+"/cancel", `{"tasks":["`+later+`"]}`); got["removed"] != 1.0 {
		s.t.Errorf("cancel: %v", got)
	}
	last := s.must(201, "POST", api+"/tasks", `{"function":"echo","after":"1h"}`)["task"].(string)
	if got := s.must(200, "POST", api+"/delete", `{"tasks":["`+last+`"]}`); got["removed"] != 1.0 {
		s.t.Errorf("delete: %v", got)
	}
}

// runs leaves a run open, and cancels it.
func (s *site) runs() {
	s.t.Helper()
	info := s.must(200, "GET", "/api/v1/queues/r/runs", "")
	if _, ok := info["runs"].([]any); !ok {
		s.t.Errorf("runs: %v", info)
	}
	s.must(404, "GET", "/api/v1/queues/r/runs/"+stream.NewID(), "")
	s.must(404, "POST", "/api/v1/queues/r/runs/"+stream.NewID()+"/cancel", "")
}

func TestCallsGoOnAfterTheirTime(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.work("q")
	got := s.do("POST", api+"/calls?wait=50ms", `{"function":"slow","payload":"late"}`)
	at := got.header.Get("Location")
	if got.status != http.StatusAccepted || !strings.HasPrefix(at, api+"/tasks/") {
		t.Fatalf("got %d %s, Location %q", got.status, got.body, at)
	}
	done := s.must(200, "GET", at+"?wait=20s", "")
	if done["state"] != "done" || done["result"] != "late" {
		t.Errorf("asked again: %v", done)
	}
	again := s.must(200, "POST", api+"/calls", `{"function":"echo","payload":1}`, header("Idempotency-Key", "k"))
	same := s.must(200, "POST", api+"/calls", `{"function":"echo","payload":1}`, header("Idempotency-Key", "k"))
	if again["task"] != same["task"] || same["result"] != 1.0 {
		t.Errorf("the same call twice: %v, then %v", again, same)
	}
	bytes := s.must(200, "POST", api+"/calls?as=base64", `{"function":"echo","payload_base64":"AP8="}`)
	if bytes["result_base64"] != "AP8=" {
		t.Errorf("bytes: %v", bytes)
	}
}

// TestCallersThatLeaveTakeTheirTasksWithThem: nobody could ever ask for the outcome.
func TestCallersThatLeaveTakeTheirTasksWithThem(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	tasks := s.store.Keys("q").Tasks()
	leave := func(change func(*http.Request)) {
		before := s.store.Client().XLen(t.Context(), tasks).Val()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r, _ := http.NewRequestWithContext(ctx, "POST", s.url+api+"/calls", strings.NewReader(`{"function":"echo"}`))
			r.Header.Set("Content-Type", "application/json")
			change(r)
			if answer, err := s.client.Do(r); err == nil {
				answer.Body.Close()
			}
		}()
		redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), tasks).Val() == before+1 })
		cancel()
		<-done
	}
	leave(header("Idempotency-Key", "k"))
	leave(func(*http.Request) {})
	redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), tasks).Val() == 1 },
		"the task of a caller without a key stays, or that of one with a key does not")
}

func TestPagesGoOnWhereTheyEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	for _, queue := range []string{"a", "b", "c", "d", "e"} {
		s.must(201, "POST", "/api/v1/queues/"+queue+"/tasks", `{"function":"f"}`)
	}
	var names []string
	cursor := ""
	for range 4 {
		page := s.must(200, "GET", "/api/v1/queues?limit=2&cursor="+cursor, "")
		for _, q := range page["queues"].([]any) {
			names = append(names, q.(map[string]any)["queue"].(string))
		}
		next, more := page["next"].(string)
		if !more {
			break
		}
		cursor = url.QueryEscape(next)
	}
	if got := strings.Join(names, ""); got != "abcde" {
		t.Errorf("all pages: %q", got)
	}
	for _, bad := range []string{"limit=0", "limit=201", "limit=x", "cursor=x", "cursor=" + strings.Repeat("A", 4000), "Limit=5", "limit=1&limit=2", "%zz"} {
		if got := s.must(400, "GET", "/api/v1/queues?"+bad, ""); got["code"] != "invalid-request" || got["errors"] == nil {
			t.Errorf("%s: %v", bad, got)
		}
	}
}

func TestRequestsThatAreWrongSayWhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.check()
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"no JSON":                    {"POST", api + "/tasks", `{"function":`, 400, "malformed-json"},
		"two values":                 {"POST", api + "/tasks", `{"function":"f"} {}`, 400, "malformed-json"},
		"nothing":                    {"POST", api + "/tasks", ``, 400, "malformed-json"},
		"an unknown field":           {"POST", api + "/tasks", `{"function":"f","priority":3}`, 422, `"field":"priority"`},
		"a field of another type":    {"POST", api + "/tasks", `{"function":7}`, 422, `"field":"function"`},
		"a nested field":             {"POST", api + "/tasks", `{"function":"f","unique":{"key":7}}`, 422, `"field":"unique.key"`},
		"no function":                {"POST", api + "/tasks", `{}`, 422, `"field":"function"`},
		"a bad function":             {"POST", api + "/tasks", `{"function":"a b"}`, 422, `"field":"function"`},
		"two payloads":               {"POST", api + "/tasks", `{"function":"f","payload":1,"payload_base64":""}`, 422, `"field":"payload_base64"`},
		"bad base64":                 {"POST", api + "/tasks", `{"function":"f","payload_base64":"*"}`, 422, `"field":"payload_base64"`},
		"two times":                  {"POST", api + "/tasks", `{"function":"f","after":"1s","at":"2030-01-01T00:00:00Z"}`, 422, `"field":"at"`},
		"a bad time":                 {"POST", api + "/tasks", `{"function":"f","at":"tomorrow"}`, 422, `"field":"at"`},
		"a bad duration":             {"POST", api + "/tasks", `{"function":"f","after":"-1s"}`, 422, `"field":"after"`},
		"too many attempts":          {"POST", api + "/tasks", `{"function":"f","max_attempts":9999999}`, 422, `"field":"max_attempts"`},
		"a bad header":               {"POST", api + "/tasks", `{"function":"f","headers":{"a b":"c"}}`, 422, `"field":"headers"`},
		"all at once":                {"POST", api + "/tasks", `{"function":"","timeout":"x","keep":"y"}`, 422, `"field":"keep"`},
		"a bad queue":                {"POST", "/api/v1/queues/a%7Db/tasks", `{"function":"f"}`, 400, `"field":"queue"`},
		"a bad task":                 {"GET", api + "/tasks/123", "", 400, `"field":"task"`},
		"a bad letter":               {"GET", api + "/letters/123", "", 400, `"field":"letter"`},
		"a bad run":                  {"GET", api + "/runs/abc", "", 400, `"field":"run"`},
		"a bad wait":                 {"POST", api + "/calls?wait=5h", `{"function":"f"}`, 400, `"field":"wait"`},
		"no IDs":                     {"POST", api + "/cancel", `{"tasks":[]}`, 422, `"field":"tasks"`},
		"bad IDs":                    {"POST", api + "/delete", `{"tasks":["x"]}`, 422, `"field":"tasks.0"`},
		"a letter to cancel":         {"POST", api + "/cancel", `{"tasks":["1-1"]}`, 422, `"field":"tasks.0"`},
		"purge without a state":      {"DELETE", api + "/tasks", "", 400, `"field":"state"`},
		"purge what runs":            {"DELETE", api + "/tasks?state=running", "", 400, `"field":"state"`},
		"a body where there is none": {"POST", api + "/pause", `{"for":"1h"}`, 422, `"field":"for"`},
		"a batch of nothing known":   {"POST", api + "/batches", `{"function":"f","inputs":[1],"window":-1,"as":"x"}`, 422, `"field":"window"`},
		"a batch of bad base64":      {"POST", api + "/batches", `{"function":"f","inputs":[1,"*"],"encoding":"base64"}`, 422, `"field":"inputs.1"`},
	} {
		got := s.do(c.method, c.path, c.body)
		if got.status != c.status || !strings.Contains(string(got.body), c.want) || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %s, want %d and %s", name, got.status, got.body, c.status, c.want)
		}
		var told struct {
			Type, Title, Code string
			Status            int
			RequestID         string `json:"request_id"`
		}
		if err := json.Unmarshal(got.body, &told); err != nil || told.Type != "urn:worker-machine:problem:"+told.Code || told.Title == "" ||
			told.Status != got.status || told.RequestID == "" || told.RequestID != got.header.Get("X-Request-Id") {
			t.Errorf("%s: the problem is %+v, %v", name, told, err)
		}
	}
	if n := s.store.Client().DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("requests that are wrong have made %d keys", n)
	}
}

func TestPathsAndMethodsAndTypes(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	for name, c := range map[string]struct {
		method, path, kind, accept string
		status                     int
		header                     string // name: value
	}{
		"an unknown path":              {"GET", "/api/v1/nothing", "", "", 404, ""},
		"an unknown version":           {"GET", "/api/v2/queues", "", "", 404, ""},
		"a wrong method":               {"PUT", "/api/v1/queues", "", "", 405, "Allow: GET, HEAD"},
		"a wrong method of many":       {"PATCH", api + "/tasks", "", "", 405, "Allow: DELETE, GET, HEAD, POST"},
		"a POST to health":             {"POST", "/healthz", "application/json", "", 405, "Allow: GET, HEAD"},
		"a form":                       {"POST", api + "/tasks", "application/x-www-form-urlencoded", "", 415, ""},
		"plain text":                   {"POST", api + "/pause", "text/plain", "", 415, ""},
		"no type":                      {"POST", api + "/pause", "", "", 415, ""},
		"lines where there is one":     {"POST", api + "/calls", "application/x-ndjson", "", 415, ""},
		"JSON with a charset":          {"POST", api + "/resume", "application/json; charset=utf-8", "", 200, ""},
		"an answer we have not":        {"GET", "/api/v1/queues", "", "text/csv", 406, ""},
		"an answer of any type":        {"GET", "/api/v1/queues", "", "text/html, */*;q=0.1", 200, "Content-Type: application/json"},
		"an answer that is ruled out":  {"GET", "/api/v1/queues", "", "application/json;q=0, */*", 406, ""},
		"events where there are none":  {"GET", "/api/v1/queues", "", "text/event-stream", 406, ""},
		"HEAD":                         {"HEAD", "/api/v1/queues", "", "", 200, ""},
		"a path that is not clean":     {"GET", "/api/v1//queues", "", "", 404, ""},
		"a path that goes up":          {"GET", "/api/v1/queues/../queues", "", "", 404, ""},
		"metrics that are not there":   {"GET", "/metrics", "", "", 404, ""},
		"an upgrade nobody speaks":     {"GET", "/api/v1/queues/", "", "", 404, ""},
		"a queue without a name":       {"GET", "/api/v1/queues//tasks", "", "", 404, ""},
		"a slash at the end of a path": {"GET", api + "/tasks/", "", "", 404, ""},
	} {
		got := s.do(c.method, c.path, "", header("Content-Type", c.kind), header("Accept", c.accept))
		name1, value, _ := strings.Cut(c.header, ": ")
		if got.status != c.status || c.header != "" && got.header.Get(name1) != value {
			t.Errorf("%s: got %d %s %v, want %d %s", name, got.status, got.body, got.header, c.status, c.header)
		}
		if c.status >= 400 && got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: the problem is %s", name, got.header.Get("Content-Type"))
		}
	}
	gzipped := s.do("POST", api+"/tasks", `{}`, header("Content-Encoding", "gzip"))
	if gzipped.status != http.StatusUnsupportedMediaType {
		t.Errorf("a compressed body: %d", gzipped.status)
	}
}

// TestBelowABase mounts the handler both ways.
func TestBelowABase(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Base: "/jobs/here"})
	got := s.do("POST", "/api/v1/queues/q/tasks", `{"function":"f"}`)
	if got.status != 201 || !strings.HasPrefix(got.header.Get("Location"), "/jobs/here/api/v1/queues/q/tasks/") {
		t.Errorf("below its base: %d, Location %q", got.status, got.header.Get("Location"))
	}
	if got := s.do("GET", "", ""); got.status != http.StatusMovedPermanently || got.header.Get("Location") != "/jobs/here/" {
		t.Errorf("the base itself: %d, Location %q", got.status, got.header.Get("Location"))
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/jobs/here/api/v1/queues", nil)
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	http.StripPrefix("/jobs/here", s.handler).ServeHTTP(w, r)
	if w.Code != 200 || !bytes.Contains(w.Body.Bytes(), []byte(`"queue":"q"`)) {
		t.Errorf("with StripPrefix: %d %s", w.Code, w.Body)
	}
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.must(200, "GET", "/readyz", "", header("Host", "probe"))
	s.redis.Kill()
	redistest.Eventually(t, patience, func() bool { return s.do("GET", "/readyz", "").status == http.StatusServiceUnavailable })
	got := s.must(503, "GET", "/readyz", "")
	if text, _ := json.Marshal(got); !strings.Contains(string(text), `"check":"redis.reachable"`) || strings.Contains(string(text), s.redis.Addr) {
		t.Errorf("without Redis: %s", text)
	}
	s.must(200, "GET", "/healthz", "")
	began := time.Now()
	away := s.do("GET", "/api/v1/queues", "")
	if away.status != http.StatusServiceUnavailable || away.header.Get("Retry-After") == "" || time.Since(began) > 20*time.Second {
		t.Errorf("without Redis: %d %s after %v", away.status, away.body, time.Since(began))
	}
	s.redis.Restart()
	redistest.Eventually(t, patience, func() bool { return s.do("GET", "/readyz", "").status == http.StatusOK })
}

func TestReadyzOfServersThatCannotServe(t *testing.T) {
	t.Parallel()
	master := redistest.StartTCP(t)
	replica := siteOn(t, nil, redistest.StartReplica(t, master).Client(t), web.Config{})
	if got := replica.do("GET", "/readyz", ""); got.status != 503 || !strings.Contains(string(got.body), `"check":"redis.writable","ok":false`) {
		t.Errorf("a replica: %d %s", got.status, got.body)
	}
	full := newSite(t, web.Config{}, "--maxmemory", "100kb")
	if got := full.do("GET", "/readyz", ""); got.status != 503 || !strings.Contains(string(got.body), `"check":"redis.memory","ok":false`) {
		t.Errorf("a full one: %d %s", got.status, got.body)
	}
}
