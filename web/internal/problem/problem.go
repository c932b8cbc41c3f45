// Package problem tells clients what went wrong, as RFC 9457 has it.
//
// A problem says nothing that Go or Redis said: those texts name addresses and users, and are in the log, under the ID of the request.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// ContentType is the media type of problems.
const ContentType = "application/problem+json"

// RequestID is the header that names a request, in answers and, if the client likes, in requests.
const RequestID = "X-Request-Id"

const typePrefix = "urn:worker-machine:problem:"

// Problem is what went wrong with a request.
type Problem struct {
	Type      string  `json:"type"` // a URN that ends with the code
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Code      string  `json:"code"` // stable: for programs
	Detail    string  `json:"detail,omitempty"`
	RequestID string  `json:"request_id,omitempty"`
	Errors    []Field `json:"errors,omitempty"`

	RetryAfter time.Duration `json:"-"` // a header
}

// Field is what is wrong with one part of a request.
type Field struct {
	In     string `json:"in"`    // body, query, path or header
	Field  string `json:"field"` // with dots where it is inside of another
	Detail string `json:"detail"`
}

// New makes a problem. The title is the same for all of one code; the detail says what to do.
func New(status int, code, title, detail string) *Problem {
	return &Problem{Type: typePrefix + code, Title: title, Status: status, Code: code, Detail: detail}
}

// Error is the code, and the detail.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Retry says after how long it may be worth to try again.
func (p *Problem) Retry(after time.Duration) *Problem {
	p.RetryAfter = after
	return p
}

// Invalid is the problem of a request whose fields are wrong.
func Invalid(fields ...Field) *Problem {
	status, code := http.StatusBadRequest, "invalid-request"
	title := "The request is not as it should be"
	for _, f := range fields {
		if f.In == "body" {
			status, code = http.StatusUnprocessableEntity, "invalid-body"
			title = "Fields of the body are not as they should be"
		}
	}
	p := New(status, code, title, "See errors.")
	p.Errors = fields
	return p
}

// Write answers a request with a problem. It fills in the ID of the request.
func Write(w http.ResponseWriter, p *Problem) {
	told := *p
	told.RequestID = w.Header().Get(RequestID)
	text, err := json.Marshal(told)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	header := w.Header()
	header.Set("Content-Type", ContentType)
	if p.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(text, '\n')) // a client that has left reads no problem
}
