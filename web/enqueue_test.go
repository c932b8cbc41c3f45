package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web"
)

func TestEnqueueOne(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	for name, body := range map[string]string{
		"JSON":            `{"function":"echo","payload":{"a":[1,2]}}`,
		"base64":          `{"function":"echo","payload_base64":"AAEC/w=="}`,
		"no payload":      `{"function":"echo"}`,
		"later":           `{"function":"echo","payload":1,"after":"1h"}`,
		"at a time":       `{"function":"echo","payload":1,"at":"2090-01-02T03:04:05Z"}`,
		"all that can be": `{"function":"f","payload":null,"unique":{"key":"k1","ttl":"1m"},"max_attempts":3,"timeout":"2s","headers":{"to":"bob"},"keep":"1h"}`,
	} {
		got := s.do(http.MethodPost, "/api/v1/queues/mail/tasks", body)
		if got.status != http.StatusCreated || !strings.HasPrefix(got.header.Get("Location"), "/api/v1/queues/mail/tasks/0") {
			t.Errorf("%s: got %d %s, Location %q", name, got.status, got.body, got.header.Get("Location"))
		}
	}
	if n := s.store.Client().XLen(t.Context(), s.store.Keys("mail").Tasks()).Val(); n != 4 {
		t.Errorf("%d tasks wait, want 4", n)
	}
	if n := s.store.Client().ZCard(t.Context(), s.store.Keys("mail").Due()).Val(); n != 2 {
		t.Errorf("%d tasks are due later, want 2", n)
	}
}

func TestEnqueuedPayloadsArriveAsTheyWereSent(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.work("q")
	client, err := stream.NewClient(s.store, stream.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	for body, want := range map[string]string{
		`"payload": {"b":1, "a":"é<\u0000"}`: `{"b":1, "a":"é<\u0000"}`,
		`"payload":null`:                     `null`,
		`"payload":12345678901234567890.123`: `12345678901234567890.123`,
		`"payload_base64":"AAH/"`:            "\x00\x01\xff",
		`"payload_base64":""`:                "",
		`"max_attempts":1`:                   "",
	} {
		task := s.must(http.StatusCreated, http.MethodPost, "/api/v1/queues/q/tasks", `{"function":"echo","keep":"1m",`+body+`}`)
		outcome, err := client.Await(t.Context(), "q", task["task"].(string))
		if err != nil || string(outcome.Payload) != want {
			t.Errorf("%s became %q, %v; want %q", body, outcome.Payload, err, want)
		}
	}
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	s.work("q")
	key := header("Idempotency-Key", "order-17")
	first := s.must(http.StatusCreated, http.MethodPost, "/api/v1/queues/q/tasks", `{"function":"echo","payload":1}`, key)
	second := s.must(http.StatusOK, http.MethodPost, "/api/v1/queues/q/tasks", `{"function":"echo","payload":1}`, key)
	if first["task"] != second["task"] || first["duplicate"] != false || second["duplicate"] != true {
		t.Errorf("sent twice: %v, then %v", first, second)
	}
	other := s.must(http.StatusCreated, http.MethodPost, "/api/v1/queues/q/tasks", `{"function":"echo"}`, header("Idempotency-Key", "order-18"))
	if other["task"] == first["task"] {
		t.Error("another key gave the same task")
	}
	many := `[{"function":"echo","payload":1},{"function":"echo","payload":2}]`
	a := s.must(http.StatusOK, http.MethodPost, "/api/v1/queues/q/tasks", many, header("Idempotency-Key", "both"))["items"].([]any)
	b := s.must(http.StatusOK, http.MethodPost, "/api/v1/queues/q/tasks", many, header("Idempotency-Key", "both"))["items"].([]any)
	for i := range a {
		x, y := a[i].(map[string]any), b[i].(map[string]any)
		if x["task"] != y["task"] || y["duplicate"] != true {
			t.Errorf("task %d sent twice: %v, then %v", i, x, y)
		}
	}
	if a[0].(map[string]any)["task"] == a[1].(map[string]any)["task"] {
		t.Error("two tasks of a request are one")
	}
	for _, bad := range []string{"a b", strings.Repeat("k", 256), "é"} {
		s.must(http.StatusBadRequest, http.MethodPost, "/api/v1/queues/q/tasks", `{"function":"echo"}`, header("Idempotency-Key", bad))
	}
	s.must(http.StatusUnprocessableEntity, http.MethodPost, "/api/v1/queues/q/tasks", `{"function":"echo","unique":{"key":"x"}}`, key)
}

func TestEnqueueMany(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	list := `[{"function":"a"},{"function":"b c"},{"nonsense":1},7,{"function":"d","timeout":"soon"},{"function":"e"}]`
	lines := strings.NewReplacer("},", "}\n", "7,", "7\n\n", "[", "", "]", "").Replace(list)
	for kind, body := range map[string]string{"application/json": list, "application/x-ndjson": lines} {
		got := s.must(http.StatusOK, http.MethodPost, "/api/v1/queues/q/tasks", body, header("Content-Type", kind))
		items := got["items"].([]any)
		if got["stored"] != 2.0 || got["failed"] != 4.0 || len(items) != 6 {
			t.Fatalf("%s: got %v", kind, got)
		}
		for i, it := range items {
			m := it.(map[string]any)
			stored := i == 0 || i == 5
			if m["index"] != float64(i) || (m["task"] != nil) != stored || (m["problem"] != nil) == stored {
				t.Errorf("%s: item %d is %v", kind, i, m)
			}
		}
	}
	many := "[" + strings.Repeat(`{"function":"a"},`, 1000) + `{"function":"a"}]`
	s.must(http.StatusRequestEntityTooLarge, http.MethodPost, "/api/v1/queues/other/tasks", many)
	if n := s.store.Client().XLen(t.Context(), s.store.Keys("other").Tasks()).Val(); n != 0 {
		t.Errorf("%d tasks of a request with too many were stored", n)
	}
	s.must(http.StatusOK, http.MethodPost, "/api/v1/queues/q/tasks", "[]")
}

func TestFullQueueSaysWhenToTryAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Client: stream.ClientConfig{MaxQueue: 2}})
	const path, task = "/api/v1/queues/q/tasks", `{"function":"a"}`
	got := s.must(http.StatusOK, http.MethodPost, path, "["+task+","+task+","+task+","+task+"]")
	if got["stored"] != 2.0 || got["failed"] != 2.0 {
		t.Errorf("got %v", got)
	}
	last := got["items"].([]any)[3].(map[string]any)["problem"].(map[string]any)
	if last["code"] != "not-tried" {
		t.Errorf("the task after the one that did not fit: %v", last)
	}
	for _, body := range []string{task, "[" + task + "," + task + "]"} {
		full := s.do(http.MethodPost, path, body)
		if full.status != http.StatusTooManyRequests || full.header.Get("Retry-After") != "5" || !strings.Contains(string(full.body), "queue-full") {
			t.Errorf("%s: got %d %s, Retry-After %q", body, full.status, full.body, full.header.Get("Retry-After"))
		}
	}
}
