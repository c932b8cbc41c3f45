package web_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/web"
)

// streamed is an answer that comes bit by bit.
type streamed struct {
	t      *testing.T
	answer *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

// open begins a batch. Its answer is there before any result is.
func (s *site) open(body io.Reader, path string, change ...func(*http.Request)) *streamed {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, c := range change {
		c(r)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		answer.Body.Close()
	})
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 8<<20)
	return &streamed{t: s.t, answer: answer, lines: lines, cancel: cancel}
}

// next is the next line that is not empty, "" at the end.
func (s *streamed) next() string {
	s.t.Helper()
	for s.lines.Scan() {
		if line := s.lines.Text(); line != "" {
			return line
		}
	}
	return ""
}

// event is the next line as an event that is no heartbeat.
func (s *streamed) event() map[string]any {
	s.t.Helper()
	for {
		line := s.next()
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatalf("%v in %q (%v)", err, line, s.lines.Err())
		}
		if e["event"] != "heartbeat" {
			return e
		}
	}
}

func TestBatchSendsResultsAsTheyCome(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.work("q")
	s.handler.Beat(50 * time.Millisecond)
	mixed := func(function string) io.Reader {
		return strings.NewReader(`{"function":"` + function + `","inputs":["sleep","a"],"window":10}`)
	}
	b := s.open(mixed("mixed"), api+"/batches")
	if e := b.event(); e["result"] != "a" || e["index"] != 1.0 {
		t.Errorf("the first result is %v: the fast one did not come first", e)
	}
	if line := b.next(); line != `{"event":"heartbeat"}` {
		t.Errorf("while a result is waited for there is %q", line)
	}
	if e := b.event(); e["result"] != "sleep" || e["index"] != 0.0 {
		t.Errorf("the second result is %v", e)
	}
	if e := b.event(); e["event"] != "done" || e["results"] != 2.0 || e["failed"] != 0.0 {
		t.Errorf("the end is %v", e)
	}
	if line := b.next(); line != "" {
		t.Errorf("after the end there is %q", line)
	}

	sse := s.open(mixed("mixed"), api+"/batches", header("Accept", "text/event-stream"))
	if kind := sse.answer.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("server-sent events come as %s", kind)
	}
	var all []string
	for line := sse.next(); line != ""; line = sse.next() {
		all = append(all, line)
	}
	text := strings.Join(all, "\n")
	if !strings.HasPrefix(text, "event: result\ndata: {\"event\":\"result\",\"index\":1") || !strings.Contains(text, "\n: heartbeat\n") ||
		!strings.Contains(text, "\nevent: done\ndata: {") {
		t.Errorf("server-sent events:\n%s", text)
	}
}

func TestBatchFailures(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.work("q")
	b := s.open(strings.NewReader(`{"function":"fail","inputs":[1]}`), api+"/batches")
	if e := b.event(); e["failure"].(map[string]any)["message"] != "it is broken" {
		t.Errorf("a failure is %v", e)
	}
	if e := b.event(); e["event"] != "done" || e["failed"] != 1.0 {
		t.Errorf("the end is %v", e)
	}
	b = s.open(strings.NewReader(`{"function":"fail","inputs":[1,2,3,4,5,6,7,8],"fail_after":1,"window":1}`), api+"/batches")
	for e := b.event(); ; e = b.event() {
		if e["event"] == "error" {
			if e["problem"].(map[string]any)["code"] != "too-many-failed" || e["results"] == 8.0 {
				t.Errorf("the end is %v", e)
			}
			break
		}
	}
	empty := s.open(strings.NewReader(`{"function":"echo","inputs":[]}`), api+"/batches")
	if e := empty.event(); e["event"] != "done" || e["results"] != 0.0 {
		t.Errorf("a batch of nothing ends with %v", e)
	}
}

// TestBatchTakesInputsWhileItAnswers sends an input, waits for its result and sends the next one, in one request, over HTTP/1 and 2.
func TestBatchTakesInputsWhileItAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.work("q")
	secure := httptest.NewUnstartedServer(s.handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	two := *s
	two.url, two.client = secure.URL, secure.Client()
	lines := header("Content-Type", "application/x-ndjson")
	for protocol, s := range map[string]*site{"HTTP/1.1": s, "HTTP/2.0": &two} {
		body, feed := io.Pipe()
		b := s.open(body, api+"/batches?function=echo&encoding=base64&as=base64&window=5", lines)
		if b.answer.Proto != protocol {
			t.Errorf("%s: it is %s", protocol, b.answer.Proto)
		}
		for i, input := range []string{"AAE=", "/w==", ""} {
			_, _ = fmt.Fprintf(feed, "%q\n\n", input)
			if e := b.event(); e["index"] != float64(i) || e["result_base64"] != input {
				t.Errorf("%s: the result of %q is %v", protocol, input, e)
			}
		}
		_ = feed.Close()
		if e := b.event(); e["event"] != "done" || e["results"] != 3.0 {
			t.Errorf("%s: the end is %v", protocol, e)
		}
		bad := s.open(strings.NewReader("1\n2\nnonsense\n"), api+"/batches?function=echo", lines)
		e := bad.event()
		for e["event"] == "result" {
			e = bad.event()
		}
		if text, _ := json.Marshal(e); e["event"] != "error" || !strings.Contains(string(text), `"field":"line 3"`) {
			t.Errorf("%s: a line that is no JSON: %s", protocol, text)
		}
	}
}

// TestClientsThatLeaveCancelTheirBatch: what has not started is taken out of the queue.
func TestClientsThatLeaveCancelTheirBatch(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	tasks := s.store.Keys("q").Tasks()
	inputs := strings.TrimSuffix(strings.Repeat("1,", 500), ",")
	b := s.open(strings.NewReader(`{"function":"echo","inputs":[`+inputs+`]}`), api+"/batches")
	redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), tasks).Val() > 0 })
	b.cancel()
	redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), tasks).Val() == 0 }, "tasks of a client that has left stay")

	body, feed := io.Pipe()
	b = s.open(body, api+"/batches?function=echo", header("Content-Type", "application/x-ndjson"))
	_, _ = io.WriteString(feed, "1\n")
	redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), tasks).Val() == 1 })
	b.cancel()
	redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), tasks).Val() == 0 }, "tasks of a client that left while it sent stay")
	_ = feed.Close()
}

// TestBatchesAreBounded: there are no more at a time, and none holds more than its window.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Limits: web.Limits{Streams: 1, Waiters: 1}})
	tasks := s.store.Keys("q").Tasks()
	inputs := strings.TrimSuffix(strings.Repeat("1,", 5000), ",")
	b := s.open(strings.NewReader(`{"function":"echo","inputs":[`+inputs+`],"window":100}`), api+"/batches")
	redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), tasks).Val() > 0 })
	got := s.do("POST", api+"/batches", `{"function":"echo","inputs":[1]}`)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || !strings.Contains(string(got.body), `"busy"`) {
		t.Errorf("a second batch: %d %s", got.status, got.body)
	}
	items := 0
	for _, m := range s.store.Client().XRange(t.Context(), tasks, "-", "+").Val() {
		text := fmt.Sprint(m.Values)
		n := 1
		if _, after, ok := strings.Cut(text, " n="); ok {
			_, _ = fmt.Sscan(after, &n)
		}
		items += n
	}
	if items > 100 {
		t.Errorf("%d inputs are under way, want at most the window of 100", items)
	}
	b.cancel()
	redistest.Eventually(t, patience, func() bool {
		return s.do("POST", api+"/batches", `{"function":"echo","inputs":[]}`).status == http.StatusOK
	}, "the place of a batch whose client left stays taken")
}

func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Limits: web.Limits{Waiters: 1}})
	tasks := s.store.Keys("q").Tasks()
	done := make(chan int, 1)
	go func() { done <- s.do("POST", api+"/calls?wait=20s", `{"function":"nobody"}`).status }()
	redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), tasks).Val() == 1 })
	got := s.do("POST", api+"/calls", `{"function":"echo"}`)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("a second caller: %d %s", got.status, got.body)
	}
	s.handler.Stop() // ends the first one with what there is
	if status := <-done; status != http.StatusAccepted {
		t.Errorf("a caller when the server stops: %d, want 202: the task goes on", status)
	}
}

// TestStoppingEndsStreams: a batch is told, waits end, and the server is gone long before their time.
func TestStoppingEndsStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	b := s.open(strings.NewReader(`{"function":"nobody","inputs":[1,2]}`), api+"/batches")
	redistest.Eventually(t, patience, func() bool { return s.store.Client().XLen(t.Context(), s.store.Keys("q").Tasks()).Val() > 0 })
	began := time.Now()
	go s.stop()
	if e := b.event(); e["event"] != "error" || e["problem"].(map[string]any)["code"] != "stopping" {
		t.Errorf("the batch ends with %v", e)
	}
	s.end()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the end took %v", took)
	}
	if n := s.store.Client().XLen(t.Context(), s.store.Keys("q").Tasks()).Val(); n != 0 {
		t.Errorf("%d tasks of a batch that nobody waits for are left", n)
	}
}

// TestLongWaitsOutliveTheTimeouts: a server ends requests that take their time, but for those that wait or stream.
func TestLongWaitsOutliveTheTimeouts(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.work("q")
	s.handler.Beat(100 * time.Millisecond)
	short := httptest.NewUnstartedServer(s.handler)
	short.Config.ReadTimeout, short.Config.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond
	short.EnableHTTP2 = true
	short.StartTLS()
	t.Cleanup(short.Close)
	one := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}} //nolint:gosec // a test
	for protocol, client := range map[string]*http.Client{"HTTP/1.1": one, "HTTP/2.0": short.Client()} {
		s := *s
		s.url, s.client = short.URL, client
		if got := s.must(200, "POST", api+"/calls", `{"function":"slow","payload":1}`); got["result"] != 1.0 {
			t.Errorf("%s: a slow call: %v", protocol, got)
		}
		b := s.open(strings.NewReader(`{"function":"slow","inputs":[1,2]}`), api+"/batches")
		if b.answer.Proto != protocol {
			t.Errorf("%s: it is %s", protocol, b.answer.Proto)
		}
		for e := b.event(); e["event"] != "done"; e = b.event() {
			if e["event"] != "result" || e["failure"] != nil {
				t.Errorf("%s: a slow batch: %v", protocol, e)
				break
			}
		}
	}
}
