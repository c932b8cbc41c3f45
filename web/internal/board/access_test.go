package board_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/web/internal/board"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// answer is what a request got.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// get asks without a browser, and follows no redirect.
func (r *rig) get(path string) answer {
	r.t.Helper()
	return r.send(http.MethodGet, path, nil)
}

func (r *rig) post(path string, form url.Values) answer {
	r.t.Helper()
	return r.send(http.MethodPost, path, form)
}

func (r *rig) send(method, path string, form url.Values) answer {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.web.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{Status: response.StatusCode, Header: response.Header, Body: string(body)}
}

const someID = "01M842GNH5PAD9BP9VDYDARKF0"

// TestRolesDecideWhatMayBeDone asks for everything that changes something with each role below the one it needs.
func TestRolesDecideWhatMayBeDone(t *testing.T) {
	t.Parallel()
	needs := map[string]guard.Role{
		"/queues/q/pause": guard.Operate, "/queues/q/resume": guard.Operate, "/queues/q/purge": guard.Admin,
		"/queues/q/tasks/" + someID + "/cancel": guard.Operate, "/queues/q/tasks/" + someID + "/retry": guard.Operate,
		"/queues/q/tasks/" + someID + "/delete": guard.Admin, "/dead/replay": guard.Operate, "/dead/purge": guard.Admin,
		"/bulk/" + someID + "/stop": guard.Operate,
	}
	for _, role := range []guard.Role{guard.Nobody, guard.Read, guard.Operate} {
		r := newRig(t, role)
		for path, need := range needs {
			response := r.post(path, url.Values{})
			if refused := response.Status == http.StatusForbidden; refused != (role < need) {
				t.Errorf("POST %s with role %d answers %d; it needs role %d", path, role, response.Status, need)
			}
		}
		if response := r.get("/"); (response.Status == http.StatusOK) != (role >= guard.Read) {
			t.Errorf("the overview with role %d answers %d", role, response.Status)
		}
		if response := r.get("/live/overview?queue=%7Bq"); role < guard.Read && response.Status != http.StatusForbidden {
			t.Errorf("live updates with role %d answer %d", role, response.Status)
		}
	}
}

func TestNothingChangesByGet(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	for _, path := range []string{"/queues/q/pause", "/dead/replay", "/dead/purge", "/logout", "/theme"} {
		if response := r.get(path); response.Status != http.StatusNotFound {
			t.Errorf("GET %s answers %d, want 404", path, response.Status)
		}
	}
}

func TestNamesAreCheckedAtTheBorder(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	for name, path := range map[string]string{
		"a hash tag as a queue":      "/queues/%7Bq%7D",
		"a pattern as a queue":       "/queues/*",
		"a path as a queue":          "/queues/..%2f..%2fetc",
		"a line break in a queue":    "/queues/a%0d%0aSet-Cookie:x",
		"a long queue":               "/queues/" + strings.Repeat("q", 129),
		"a queue in a query":         "/dead?queue=%7Bq",
		"a function in a query":      "/queues/q?function=%3Cb%3E",
		"an ID that is none":         "/queues/q/tasks/17",
		"an ID with other letters":   "/queues/q/tasks/01M842GNH5PAD9BP9VDYDARK%3C%3E",
		"a worker that is none":      "/queues/q/workers/a%20b",
		"a place in a list too long": "/queues/q?after=" + strings.Repeat("9", 300),
		"a search for no ID":         "/find?task=../../x",
	} {
		response := r.get(path)
		if response.Status != http.StatusBadRequest {
			t.Errorf("%s: %s answers %d, want 400", name, path, response.Status)
		}
		if strings.Contains(response.Body, "<b>") && strings.Contains(path, "%3Cb%3E") {
			t.Errorf("%s: it comes back as it was", name)
		}
	}
	if response := r.post("/dead/replay", url.Values{"queue": {"{q}"}}); response.Status != http.StatusBadRequest {
		t.Errorf("a posted queue that is none answers %d, want 400", response.Status)
	}
}

func TestOnlyKnownFilesAreServed(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Nobody)
	for _, name := range []string{"..%2fboard.go", "%2e%2e/board.go", "nothing.js", "board.css%00", "..%5cboard.go", "templates", ""} {
		if response := r.get("/static/" + name); response.Status == http.StatusOK {
			t.Errorf("/static/%s is served", name)
		}
	}
	if response := r.get("/static/board.css"); response.Status != http.StatusOK {
		t.Errorf("the style sheet answers %d", response.Status)
	}
}

func TestEveryAnswerHasItsHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	for _, path := range []string{"/", "/login", "/no/such/page", "/queues/*", "/static/board.js"} {
		response := r.get(path)
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'", "X-Content-Type-Options": "nosniff", "X-Request-Id": "01",
		} {
			if got := response.Header.Get(header); !strings.HasPrefix(got, want) {
				t.Errorf("%s: header %s is %q, want %q", path, header, got, want)
			}
		}
		if strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") && response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be stored: %q", path, response.Header.Get("Cache-Control"))
		}
	}
}

// TestLoginLeadsNowhereElse tries to make the way back after a login one to another site.
func TestLoginLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	var r *rig
	r = newRig(t, guard.Read, func(cfg *board.Config) { (*rig).withLogin(r, cfg) })
	r.login = true
	for next, want := range map[string]string{
		"/queues/web?state=dead": "/queues/web?state=dead",
		"https://evil.example/":  "/", "//evil.example/": "/", `/\evil.example/`: "/", "javascript:alert(1)": "/", "/\t/evil.example": "/", "": "/",
		"///evil.example": "/",
	} {
		response := r.post("/login", url.Values{"token": {testToken}, "next": {next}})
		if got := response.Header.Get("Location"); got != want {
			t.Errorf("login with next %q leads to %q, want %q", next, got, want)
		}
	}
	response := r.get("/queues/web?state=dead")
	if got, want := response.Header.Get("Location"), "/login?next=%2Fqueues%2Fweb%3Fstate%3Ddead"; got != want {
		t.Errorf("a page without a session leads to %q, want %q", got, want)
	}
}
