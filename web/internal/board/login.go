package board

import (
	"context"
	"net/http"
)

// loginBody is the page that asks for a token.
type loginBody struct {
	Next  string
	Wrong bool
}

func (b *board) loginPage(_ context.Context, a args) (content, error) {
	return content{Title: "Log in", Body: loginBody{Next: a.Get("next")}}, nil
}

// login lets somebody in who has a token, and goes where they wanted to go.
func (b *board) login(w http.ResponseWriter, r *http.Request) {
	if b.cfg.Login == nil {
		http.Redirect(w, r, b.cfg.Base+"/", http.StatusSeeOther)
		return
	}
	if err := formError(r.ParseForm()); err != nil {
		b.problem(w, r, err)
		return
	}
	next := r.PostFormValue("next")
	if !b.cfg.Login(w, r, r.PostFormValue("token")) {
		b.write(w, r, http.StatusUnauthorized, "login", content{Title: "Log in", Body: loginBody{Next: next, Wrong: true}})
		return
	}
	http.Redirect(w, r, b.local(next), http.StatusSeeOther)
}

func (b *board) logout(w http.ResponseWriter, r *http.Request) {
	if b.cfg.Logout != nil {
		b.cfg.Logout(w, r)
	}
	b.redirect(w, r, b.cfg.Base+"/login", "loggedout")
}
