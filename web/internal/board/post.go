package board

import (
	"context"
	"net/http"
	"net/url"

	"github.com/athoune/worker-machine/web/internal/guard"
)

// post runs what a form asks for. It answers with a redirect, so that a reload does not do it again.
func (b *board) post(role guard.Role, do func(w http.ResponseWriter, r *http.Request, a args) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !b.allow(w, r, role) {
			return
		}
		a, err := newArgs(r, guard.Of(r.Context()))
		if err == nil {
			err = formError(r.ParseForm())
		}
		if err != nil {
			b.problem(w, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), loadTimeout)
		defer cancel()
		if err := do(w, r.WithContext(ctx), a); err != nil {
			b.problem(w, r, err)
		}
	}
}

func formError(err error) error {
	if err == nil {
		return nil
	}
	return &failure{status: http.StatusBadRequest, title: "The form could not be read", text: "It was cut off, or is larger than any form of these pages.", cause: err}
}

// notices are what pages say after something was done. Only these can be shown: the address of a page cannot make it say anything else.
var notices = map[string]string{
	"paused":    "The queue is paused. What runs goes on; nothing new is taken until it is resumed.",
	"resumed":   "The queue is resumed. Workers take tasks again.",
	"cancelled": "The task is cancelled. It had not started; whoever waits for it was told.",
	"told":      "The worker was told to stop the task. It ends as soon as its handler returns.",
	"retried":   "The task is back in its queue and runs as soon as a worker is free.",
	"deleted":   "The task is deleted.",
	"gone":      "Nothing was done: the task was not there any more.",
	"stopped":   "It stops after the step it is in. What is done stays done.",
	"loggedout": "You are logged out.",
}

// redirect goes to a page that then says what was done.
func (b *board) redirect(w http.ResponseWriter, r *http.Request, to, done string) {
	u, err := url.Parse(to)
	if err != nil {
		u = &url.URL{Path: b.cfg.Base + "/"}
	}
	u.Fragment = "" // the notice is at the top
	values := u.Query()
	values.Set("done", done)
	u.RawQuery = values.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}

// notice is what the page says about what was done before.
func notice(r *http.Request) string { return notices[r.URL.Query().Get("done")] }
