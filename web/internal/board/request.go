package board

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// args are the values that choose what a page shows, of its path and its query, checked. They hold nothing else, so that browsers that look at
// the same thing share one answer.
type args struct {
	url.Values
	role guard.Role // Nobody for live updates, which all roles share
}

// argNames are those a page may have; the others of a query are not for it.
var argNames = []string{"queue", "id", "name", "state", "function", "reason", "group", "after", "do", "payload", "next"}

const maxArg = 200 // bytes

// newArgs reads the arguments of a request.
func newArgs(r *http.Request, role guard.Role) (args, error) {
	a := args{Values: url.Values{}, role: role}
	query := r.URL.Query()
	for _, name := range argNames {
		value := r.PathValue(name)
		if value == "" {
			value = query.Get(name)
		}
		if value == "" || name == "next" && len(value) > maxArg {
			continue
		}
		if err := checkArg(name, value); err != nil {
			return args{}, err
		}
		a.Set(name, value)
	}
	return a, nil
}

// checkArg is the border: whatever names a thing in Redis has the form of such a name.
func checkArg(name, value string) error {
	var err error
	switch name {
	case "queue", "function", "name":
		err = wire.CheckName(map[string]string{"queue": "queue", "function": "function", "name": "worker"}[name], value)
	case "id":
		err = checkID(value)
	default:
		if len(value) > maxArg {
			err = fmt.Errorf("%s is longer than %d bytes", name, maxArg)
		}
	}
	if err != nil {
		return &failure{status: http.StatusBadRequest, title: "That address cannot be right", text: sentence(err.Error())}
	}
	return nil
}

// checkID wants the ID of a task, a run or a bulk operation.
func checkID(id string) error {
	if probe := (wire.Task{ID: id, Function: "f"}); len(id) > maxArg || probe.Check() != nil {
		return errors.New("an ID has 26 letters and digits, such as 01M842GNH5PAD9BP9VDYDARKF0")
	}
	return nil
}

// failure is an error that a person gets to see as a page.
type failure struct {
	status      int
	title, text string
	cause       error // for the log only
}

// Error is what the log says.
func (f *failure) Error() string { return f.title }

// Unwrap is the cause.
func (f *failure) Unwrap() error { return f.cause }

// failureOf makes a page of any error, without its text: that may hold what is not for everybody.
func failureOf(err error) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, inspect.ErrNotFound):
		return &failure{
			status: http.StatusNotFound, title: "Nothing of that name or ID was found", cause: err,
			text: "It may be done and its result not kept, or it has been removed, or it never was.",
		}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{
			status: http.StatusGatewayTimeout, title: "Redis did not answer in time", cause: err,
			text: "Try again in a moment. If it stays so, look at the doctor page, or type: worker-machine doctor",
		}
	default:
		return &failure{
			status: http.StatusBadGateway, title: "Redis refused, or is away", cause: err,
			text: "The log of this server has the reason, under the number of the request. To look for it, type: worker-machine doctor",
		}
	}
}

type requestKey struct{}

// noteRequest gives the request a number, that of whoever stands in front if there is one, for error cards and the log.
func noteRequest(w http.ResponseWriter, r *http.Request) *http.Request {
	const header = "X-Request-Id"
	id := w.Header().Get(header)
	if id == "" {
		id = stream.NewID()
		w.Header().Set(header, id)
	}
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
}

// requestID is the number of the request that a context belongs to.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// allow tells whether the caller has the role. If not it has answered: with the login page, or with what is missing.
func (b *board) allow(w http.ResponseWriter, r *http.Request, role guard.Role) bool {
	has := guard.Of(r.Context())
	switch {
	case has >= role:
		return true
	case has == guard.Nobody && b.cfg.Login != nil:
		to := b.cfg.Base + "/login"
		if r.Method == http.MethodGet && r.URL.Path != "/" {
			to += "?next=" + url.QueryEscape(b.cfg.Base+r.URL.RequestURI())
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return false
	default:
		b.problem(w, r, &failure{
			status: http.StatusForbidden, title: "Your role does not allow that",
			text: fmt.Sprintf("You may %s; this needs the role %s. Ask whoever runs this server for a token of that role.", roleVerb(has), roleName(role)),
		})
		return false
	}
}

func roleName(role guard.Role) string {
	switch role {
	case guard.Read:
		return "read"
	case guard.Operate:
		return "operate"
	case guard.Admin:
		return "admin"
	default:
		return "none"
	}
}

func roleVerb(role guard.Role) string {
	switch role {
	case guard.Read:
		return "look (role read)"
	case guard.Operate:
		return "look and operate (role operate)"
	case guard.Admin:
		return "do everything (role admin)"
	default:
		return "do nothing here"
	}
}

// local is a path of this server to go to, or the overview: a link must not lead elsewhere through a redirect.
func (b *board) local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil || strings.ContainsAny(to, "\\\r\n\t") ||
		!strings.HasPrefix(u.Path, b.cfg.Base+"/") || strings.HasPrefix(u.Path, "//") {
		return b.cfg.Base + "/"
	}
	return u.RequestURI()
}

// back is the page that the posted form stands on.
func (b *board) back(r *http.Request) string { return b.local(r.PostFormValue("back")) }

// problem answers with a page that says what is wrong.
func (b *board) problem(w http.ResponseWriter, r *http.Request, err error) {
	f := failureOf(err)
	if f.status >= http.StatusInternalServerError {
		b.logger.Warn("the dashboard could not answer", zap.String("request", requestID(r.Context())), zap.Error(f.cause))
	}
	b.write(w, r, f.status, "problem", content{Title: f.title, Body: problemBody{
		Status: f.status, Title: f.title, Text: f.text, Request: requestID(r.Context()),
	}})
}

// problemBody is what the page of a failure shows.
type problemBody struct {
	Status               int
	Title, Text, Request string
}

// part is a piece of a page. A page whose other pieces could be had is shown with a card in the place of this one.
type part[T any] struct {
	V       T
	Trouble *problemBody
}

// try fills a part.
func try[T any](ctx context.Context, b *board, call func(context.Context) (T, error)) part[T] {
	v, err := call(ctx)
	if err == nil {
		return part[T]{V: v}
	}
	f := failureOf(err)
	b.logger.Warn("a part of the dashboard could not be loaded", zap.String("request", requestID(ctx)), zap.Error(err))
	return part[T]{Trouble: &problemBody{Status: f.status, Title: f.title, Text: f.text, Request: requestID(ctx)}}
}
