package board

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/web/internal/guard"
)

//go:embed templates
var templateFiles embed.FS

// page is one address that people look at.
type page struct {
	path  string // pattern, without the base
	nav   string // which entry of the navigation is the current one
	role  guard.Role
	open  bool // to everybody
	live  bool // has fragments that are replaced as they change
	files []string
	load  func(ctx context.Context, a args) (content, error)
}

// content is what a page shows.
type content struct {
	Title string
	Body  any
	Live  bool // there is something that will change
}

// layout is a page's templates.
type layout struct {
	set       *template.Template
	fragments []string // names of those templates that are replaced live
}

// livePrefix begins the name of a template that is a fragment, and is the ID of the element that holds it.
const livePrefix = "live-"

// parseTemplates reads the templates of each page: what all share, and its own.
func parseTemplates(base string, pages map[string]page) (map[string]*layout, error) {
	funcs := funcsFor(base)
	shared, err := template.New("layout.html").Funcs(funcs).Option("missingkey=error").
		ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	layouts := map[string]*layout{}
	for name, p := range pages {
		files := append([]string{"templates/" + name + ".html"}, p.files...)
		if layouts[name], err = parsePage(shared, files); err != nil {
			return nil, err
		}
	}
	layouts["problem"], err = parsePage(shared, []string{"templates/problem.html"})
	return layouts, err
}

func parsePage(shared *template.Template, files []string) (*layout, error) {
	set, err := shared.Clone()
	if err != nil {
		return nil, err
	}
	if set, err = set.ParseFS(templateFiles, files...); err != nil {
		return nil, err
	}
	l := &layout{set: set}
	for _, t := range set.Templates() {
		if strings.HasPrefix(t.Name(), livePrefix) {
			l.fragments = append(l.fragments, t.Name())
		}
	}
	slices.Sort(l.fragments)
	return l, nil
}

// view is what the layout around a page needs.
type view struct {
	content
	Nav     string
	Role    string
	Operate bool
	Admin   bool
	Session bool // somebody is logged in and may log out
	Theme   string
	Here    string // path and query of this page
	LiveURL string
	Notice  string
	Refresh bool // without JavaScript the page reloads itself
}

// serve answers with a page.
func (b *board) serve(name string) http.HandlerFunc {
	p := b.pages[name]
	return func(w http.ResponseWriter, r *http.Request) {
		if !p.open && !b.allow(w, r, p.role) {
			return
		}
		a, err := newArgs(r, guard.Of(r.Context()))
		if err != nil {
			b.problem(w, r, err)
			return
		}
		if name == "login" && b.cfg.Login == nil {
			http.Redirect(w, r, b.cfg.Base+"/", http.StatusSeeOther)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), loadTimeout)
		defer cancel()
		c, err := p.load(ctx, a)
		if err != nil {
			b.problem(w, r, err)
			return
		}
		if p.live && c.Live {
			r = r.WithContext(context.WithValue(r.Context(), liveKey{}, b.cfg.Base+"/live/"+name+"?"+a.Encode()))
		}
		b.write(w, r, http.StatusOK, name, c)
	}
}

type liveKey struct{}

// write renders a page into memory first: a page that breaks in the middle would be an answer that looks whole.
func (b *board) write(w http.ResponseWriter, r *http.Request, status int, name string, c content) {
	role := guard.Of(r.Context())
	v := view{
		content: c, Nav: b.pages[name].nav, Role: roleName(role), Operate: role >= guard.Operate, Admin: role >= guard.Admin,
		Session: b.cfg.Login != nil && role > guard.Nobody, Theme: themeOf(r), Here: b.cfg.Base + r.URL.RequestURI(), Notice: notice(r),
	}
	v.LiveURL, _ = r.Context().Value(liveKey{}).(string)
	v.Refresh = name == "bulk" && c.Live
	if role == guard.Nobody || name == "login" {
		v.Role = "" // nothing around it
	}
	var page bytes.Buffer
	if err := b.templates[name].set.ExecuteTemplate(&page, "layout.html", v); err != nil {
		b.logger.Error("the dashboard could not render a page",
			zap.String("page", name), zap.String("request", requestID(r.Context())), zap.Error(err))
		http.Error(w, "The page could not be rendered. Request "+requestID(r.Context()), http.StatusInternalServerError)
		return
	}
	text := visible(page.Bytes())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // a browser that left needs no answer
}

// visible replaces what would change the look of the text around it: control characters, those that turn the direction of writing, those
// that have no width, and bytes that are no UTF-8. It is for rendered pages, where what has a meaning in HTML is escaped already, so that no template
// can forget it.
func visible(page []byte) []byte {
	if !slices.ContainsFunc(page, func(c byte) bool { return c >= utf8.RuneSelf || c < ' ' && c != '\n' || c == 0x7f }) {
		return page
	}
	out := make([]byte, 0, len(page)+64)
	for len(page) > 0 {
		r, size := utf8.DecodeRune(page)
		switch {
		case r == utf8.RuneError:
			out = utf8.AppendRune(out, r)
		case r == '\n' || r == '\t' || r >= ' ' && !deceptive(r):
			out = append(out, page[:size]...)
		case r < ' ':
			const pictures = 0x2400
			out = utf8.AppendRune(out, pictures+r)
		default:
			out = fmt.Appendf(out, "[U+%04X]", r)
		}
		page = page[size:]
	}
	return out
}

// deceptive tells whether a character is there to be not seen. The joiners are letters' own business.
func deceptive(r rune) bool {
	const nonJoiner, joiner, lineSeparator, paragraphSeparator = 0x200c, 0x200d, 0x2028, 0x2029
	if r == nonJoiner || r == joiner {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf) || r == lineSeparator || r == paragraphSeparator
}

// path joins a path below the base of names that may hold anything.
func path(base string, parts ...any) string {
	var s strings.Builder
	s.WriteString(base)
	for _, p := range parts {
		s.WriteString("/" + url.PathEscape(fmt.Sprint(p)))
	}
	return s.String()
}

// query is a path with a query of names and values; empty values are left out.
func query(to string, pairs ...any) string {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := fmt.Sprint(pairs[i+1]); value != "" {
			values.Set(fmt.Sprint(pairs[i]), value)
		}
	}
	if len(values) == 0 {
		return to
	}
	return to + "?" + values.Encode()
}

// funcsFor are the functions of the templates.
func funcsFor(base string) template.FuncMap {
	return template.FuncMap{
		"path": func(parts ...any) string { return path(base, parts...) }, "query": query, "static": func(file string) string { return staticPath(base, file) },
		"n": thousands, "count": counted, "compact": compact, "bytes": byteSize, "seconds": seconds, "duration": durationText,
		"ago": ago, "iso": isoTime, "full": fullTime, "short": short, "first": firstLine, "percent": percent, "share": share,
		"dict": dict, "plural": plural, "more": moreThanLine, "decimal": decimal, "hundred": func(part float64) float64 { return part * 100 },
	}
}

// dict is a map for a template that takes several values.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m
}
