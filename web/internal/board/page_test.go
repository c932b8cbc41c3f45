package board_test

import (
	_ "embed"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/web/internal/board"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// audit looks at what a program can tell of accessibility.
//
//go:embed testdata/audit.js
var audit string

// look makes a tab look otherwise.
func (b *tab) look(s screen) {
	b.t.Helper()
	scheme := "light"
	if s.dark {
		scheme = "dark"
	}
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: s.wide, Height: s.high, DeviceScaleFactor: 1, Mobile: s.wide < 600,
	})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// TestEveryPageIsSoundForEverybody opens every page of a Redis where much goes on, on a desktop and a phone, light and dark: nothing is wider than the
// screen, nothing complains, and everything has a name and enough contrast.
func TestEveryPageIsSoundForEverybody(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	r.scene()
	b := r.open(desktop)
	pages := r.pages()
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		for _, s := range []screen{desktop, {wide: 390, high: 844, dark: true}} {
			b.look(s)
			b.visit(pages[name])
			for _, complaint := range eval[[]string](b, audit) {
				t.Errorf("%s at %d: %s", name, s.wide, complaint)
			}
			if wide := eval[int64](b, "document.documentElement.scrollWidth"); wide > s.wide {
				t.Errorf("%s is %d wide on a screen of %d", name, wide, s.wide)
			}
			if name == "nothing" {
				b.forget() // the browser itself logs the 404
			}
			b.quiet(name)
		}
	}
}

// TestPagesOfAnEmptyRedis opens what there is before anything was ever done: each page says what to do next.
func TestPagesOfAnEmptyRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	b := r.open(phone)
	for path, want := range map[string]string{
		"/": "worker-machine work", "/queues/new": "worker-machine enqueue --queue new", "/workers": "worker-machine work",
		"/dead": "There is no queue yet", "/runs": "worker-machine mapreduce", "/batches": "worker-machine map",
	} {
		b.visit(path)
		if text := b.text(); !strings.Contains(text, want) {
			t.Errorf("%s does not say %q: %s", path, want, text)
		}
		for _, complaint := range eval[[]string](b, audit) {
			t.Errorf("%s: %s", path, complaint)
		}
		b.quiet(path)
	}
}

// TestAPageShowsTheRestWhenACallFails breaks a key by hand: the part that needs it says so, with the number of the request and without what
// Redis said; the others are there.
func TestAPageShowsTheRestWhenACallFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	r.storeScene()
	keys := r.store.Keys("mail")
	if err := r.redis.Set(t.Context(), keys.Dead(), "by hand", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/queues/billing", "/dead?queue=mail"} {
		got := r.get(path)
		if got.Status != 200 || strings.Contains(got.Body, "WRONGTYPE") {
			t.Errorf("%s answers %d: %s", path, got.Status, got.Body)
		}
	}
	body := r.get("/dead?queue=mail").Body
	for _, want := range []string{"Redis refused, or is away", "Request <code>01", "By error", "Dead letters"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page of broken letters lacks %q", want)
		}
	}
	r.server.Kill()
	got := r.get("/")
	if got.Status != 200 || !strings.Contains(got.Body, "Overview") || strings.Contains(got.Body, r.server.Addr) || strings.Contains(got.Body, "dial") {
		t.Errorf("without Redis the overview answers %d: %s", got.Status, got.Body)
	}
}

// TestWithoutJavaScript shows data and does things in a browser that runs no scripts.
func TestWithoutJavaScript(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Operate)
	r.storeScene()
	s := desktop
	s.noScript = true
	b := r.open(s)
	b.visit("/")
	b.do(chromedp.WaitVisible(chromedp.CSS(`a[href="/queues/billing"]`)))
	b.press(`a[href="/queues/billing"]`)
	b.press(`form[action="/queues/billing/pause"] button`)
	b.do(chromedp.WaitVisible(chromedp.CSS(".notice")))
	if q, err := r.look.Queue(t.Context(), "billing"); err != nil || !q.Paused {
		t.Errorf("the queue is not paused: %+v, %v", q, err)
	}
	b.press(`form[action="/queues/billing/resume"] button`)
	if q, err := r.look.Queue(t.Context(), "billing"); err != nil || q.Paused {
		t.Errorf("the queue is not resumed: %+v, %v", q, err)
	}
	b.press(`form[action="/theme"] button`)
	b.do(chromedp.WaitVisible(chromedp.CSS(`html[data-theme="dark"]`)))
	b.quiet("no JavaScript")
}

// TestKeyboard goes through a page by the Tab key alone: everything is reached once and is seen to be, and nothing keeps the focus.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Operate)
	r.storeScene()
	b := r.open(desktop)
	b.visit("/queues/billing")
	b.do(chromedp.KeyEvent("\t"))
	if got := eval[string](b, "document.activeElement.textContent"); got != "Skip to the content" {
		t.Errorf("the first stop is %q", got)
	}
	b.do(chromedp.KeyEvent("\r"))
	redistest.Eventually(t, longer, func() bool { return eval[string](b, "document.activeElement.id") == "main" }, "the skip link leads to the content")
	b.visit("/queues/billing")
	const count = `[...document.querySelectorAll("a[href], button, input:not([type=hidden]), summary, [tabindex='0']")].filter((n) => n.checkVisibility()).length`
	stops := eval[int](b, count)
	reached := map[string]bool{}
	for range stops {
		b.do(chromedp.KeyEvent("\t"))
		reached[eval[string](b, `(() => { const n = document.activeElement; n.dataset.stop ||= "stop " + Math.random(); return n.dataset.stop; })()`)] = true
		if !eval[bool](b, `(() => { const n = document.activeElement, s = getComputedStyle(n); return n === document.body || s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2; })()`) {
			t.Errorf("the focus is not seen on %s", eval[string](b, "document.activeElement.outerHTML"))
		}
	}
	if len(reached) < stops-2 { // live updates may replace one that was counted
		t.Errorf("the Tab key reaches %d of %d", len(reached), stops)
	}
	b.do(chromedp.Focus(chromedp.CSS(`form[action="/queues/billing/pause"] button`)))
	b.navigates(chromedp.KeyEvent("\r"))
	if text := b.text(); !strings.Contains(text, "The queue is paused") {
		t.Errorf("the Enter key does not pause: %s", text)
	}
}

func TestLoginAndOut(t *testing.T) {
	t.Parallel()
	var r *rig
	r = newRig(t, guard.Operate, func(cfg *board.Config) { (*rig).withLogin(r, cfg) })
	r.login = true
	r.storeScene()
	b := r.open(desktop)
	b.visit("/queues/billing")
	for _, complaint := range eval[[]string](b, audit) {
		t.Errorf("the login page: %s", complaint)
	}
	if text := b.html(); strings.Contains(text, "chargeCard") || strings.Contains(text, "Overview") {
		t.Error("a stranger sees more than the login")
	}
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "wrong"))
	b.press("form .primary")
	if text := b.text(); !strings.Contains(text, "That token is not known here") {
		t.Errorf("a wrong token: %s", text)
	}
	b.forget() // the browser logs the 401
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), testToken))
	b.press("form .primary")
	if got := eval[string](b, "location.pathname"); got != "/queues/billing" {
		t.Errorf("the login leads to %s, want where one wanted to go", got)
	}
	b.press(`form[action="/logout"] button`)
	if text := b.text(); !strings.Contains(text, "You are logged out") {
		t.Errorf("after the logout: %s", text)
	}
	b.visit("/queues/billing")
	if got := eval[string](b, "location.pathname"); got != "/login" {
		t.Errorf("a page after the logout is %s", got)
	}
	b.quiet("login")
}
