package web_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/athoune/worker-machine/web"
)

// describe reads the description as a client gets it.
func (s *site) describe() *openapi3.T {
	s.t.Helper()
	got := s.do(http.MethodGet, "/api/openapi.json", "")
	document, err := openapi3.NewLoader().LoadFromData(got.body)
	if err != nil {
		s.t.Fatalf("load the description: %v", err)
	}
	return document
}

func TestDescriptionIsValid(t *testing.T) {
	t.Parallel()
	document := newSite(t, web.Config{}).describe()
	if err := document.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(document.OpenAPI, "3.1") {
		t.Errorf("it is of version %s", document.OpenAPI)
	}
}

// TestDescriptionHasAllRoutes compares both ways, with the role each request needs.
func TestDescriptionHasAllRoutes(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Base: "/jobs"})
	document := s.describe()
	var described []string
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			if path == "/healthz" || path == "/readyz" {
				continue
			}
			role, _ := strings.CutPrefix(operation.Description, "Role: ")
			described = append(described, method+" "+path+" "+strings.TrimSuffix(role, "."))
		}
	}
	routes := s.handler.Routes()
	slices.Sort(described)
	slices.Sort(routes)
	for _, r := range routes {
		if !slices.Contains(described, r) {
			t.Errorf("the description lacks %s", r)
		}
	}
	for _, d := range described {
		if !slices.Contains(routes, d) {
			t.Errorf("there is no route %s", d)
		}
	}
	if document.Servers[0].URL != "/jobs/" {
		t.Errorf("the description says that the server is at %s", document.Servers[0].URL)
	}
}

// checker is an http.RoundTripper that holds each request and its answer to the description.
type checker struct {
	t      *testing.T
	router routers.Router
	next   http.RoundTripper
	seen   map[string]int // operation and status
}

func (s *site) check() *checker {
	s.t.Helper()
	document := s.describe()
	document.Servers = openapi3.Servers{{URL: s.url}}
	router, err := gorillamux.NewRouter(document)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &checker{t: s.t, router: router, next: s.client.Transport, seen: map[string]int{}}
	s.client.Transport = c
	return c
}

// RoundTrip fails the test where request or answer are not as described. Requests that are wrong on purpose are answered with a problem.
func (c *checker) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	answer, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	route, parameters, err := c.router.FindRoute(r)
	if err != nil {
		c.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return answer, nil
	}
	c.seen[route.Operation.OperationID]++
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}
	r.Body = io.NopCloser(bytes.NewReader(body))
	input := &openapi3filter.RequestValidationInput{Request: r, PathParams: parameters, Route: route, Options: options}
	ctx := context.WithoutCancel(r.Context())
	if answer.StatusCode < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(ctx, input); err != nil && !strings.Contains(r.Header.Get("Content-Type"), "ndjson") {
			c.t.Errorf("%s %s was taken, and the description refuses it: %v", r.Method, r.URL, err)
		}
	}
	output := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: answer.StatusCode, Header: answer.Header, Options: options}
	output.SetBodyBytes(text)
	if !strings.Contains(answer.Header.Get("Content-Type"), "ndjson") && !strings.Contains(answer.Header.Get("Content-Type"), "event-stream") {
		if err := openapi3filter.ValidateResponse(ctx, output); err != nil {
			c.t.Errorf("%s %s: the answer %d %s is not as described: %v", r.Method, r.URL, answer.StatusCode, text, err)
		}
	}
	return answer, nil
}
