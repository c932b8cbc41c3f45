package web

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/web/internal/problem"
)

const (
	defaultLimit = 50
	mostLimit    = 200
)

// query reads the parameters of a request's URL, and notes what is wrong with them.
type query struct {
	values url.Values
	wrong  []problem.Field
}

// newQuery refuses parameters that are not known: one that is misspelt would be without effect.
func newQuery(r *http.Request, known ...string) *query {
	q := &query{}
	var err error
	if q.values, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		q.fault("", "it is not a query: write name=value, with & between, and percent signs before codes only")
	}
	names := make([]string, 0, len(q.values))
	for name := range q.values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !slices.Contains(known, name) {
			q.fault(clip(name), "there is no such parameter here; there is "+strings.Join(append(known, "nothing else"), ", "))
		} else if len(q.values[name]) > 1 {
			q.fault(name, "it is there more than once")
		}
	}
	return q
}

func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), 40)], "?") }

func (q *query) fault(name, detail string) {
	q.wrong = append(q.wrong, problem.Field{In: "query", Field: name, Detail: detail})
}

// err is nil when nothing was wrong.
func (q *query) err() error {
	if q.wrong == nil {
		return nil
	}
	return problem.Invalid(q.wrong...)
}

// number is a whole number within bounds.
func (q *query) number(name string, standard, least, most int) int {
	text := q.values.Get(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		q.fault(name, fmt.Sprintf("use a whole number from %d to %d", least, most))
		return standard
	}
	return n
}

func (q *query) limit() int { return q.number("limit", defaultLimit, 1, mostLimit) }

// flag is true or false.
func (q *query) flag(name string) bool {
	switch q.values.Get(name) {
	case "", "false", "0":
		return false
	case "true", "1":
		return true
	}
	q.fault(name, "use true or false")
	return false
}

// one is one of some words, the first when there is none.
func (q *query) one(name string, words ...string) string {
	text := q.values.Get(name)
	if text == "" {
		return words[0]
	}
	if !slices.Contains(words, text) {
		q.fault(name, "use "+strings.TrimPrefix(strings.Join(words, ", "), ", "))
		return words[0]
	}
	return text
}

// name is a name, or "" for none.
func (q *query) name(name string) string {
	text := q.values.Get(name)
	if text == "" {
		return ""
	}
	if err := wire.CheckName(name, text); err != nil {
		q.fault(name, err.Error())
		return ""
	}
	return text
}

// duration is at most so long, and 0 where there is none.
func (q *query) duration(name string, most time.Duration) time.Duration {
	text := q.values.Get(name)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		q.fault(name, fmt.Sprintf("use a duration from 0s to %v, such as 30s", most))
		return 0
	}
	return d
}

// cursor is where a page begins. Clients get it from the page before, and it fits only the listing it is of.
func (q *query) cursor(listing string) string {
	text := q.values.Get("cursor")
	if text == "" {
		return ""
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(text)
	of, after, ok := strings.Cut(string(value), "\n")
	if err != nil || !ok || of != listing || after == "" || len(text) > 1024 {
		q.fault("cursor", "it is none that this listing has given: begin without one")
		return ""
	}
	return after
}

// cursorOf is what a client sends for the next page, "" at the end.
func cursorOf(listing, next string) string {
	if next == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(listing + "\n" + next))
}

// readJSON reads a body that is one JSON value of a type.
func readJSON(r io.Reader, into any) error {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return jsonProblem(err)
	}
	switch _, err := decoder.Token(); {
	case err == nil:
		return malformed("There is more than one value in it.")
	case !errors.Is(err, io.EOF):
		return jsonProblem(err)
	}
	return nil
}

func malformed(detail string) *problem.Problem {
	return problem.New(http.StatusBadRequest, "malformed-json", "The body is not the JSON it should be", detail)
}

// jsonProblem says where JSON is not as it should be. The texts of encoding/json that are passed on hold names and places only.
func jsonProblem(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return problem.Invalid(problem.Field{In: "body", Field: kind.Field, Detail: "a JSON " + kind.Value + " does not fit here"})
	case errors.As(err, &syntax):
		return malformed(fmt.Sprintf("At byte %d: %s.", syntax.Offset, syntax.Error()))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return malformed("It ends too early.")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if plain, err := strconv.Unquote(name); err == nil {
			name = plain
		}
		return problem.Invalid(problem.Field{In: "body", Field: clip(name), Detail: "there is no such field"})
	}
	return fmt.Errorf("web: read body: %w", err)
}

// readLines calls use with each line of NDJSON that is not empty, and its number from 0. No line is longer than limit.
func readLines(r io.Reader, limit int64, use func(n int, line []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 16<<10), int(limit))
	for n := 0; lines.Scan(); {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := use(n, line); err != nil {
			return err
		}
		n++
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return &http.MaxBytesError{Limit: limit}
	}
	return lines.Err()
}
