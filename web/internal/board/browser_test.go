package board_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium is the one browser of the test binary; each test has a profile of its own in it.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop context.CancelFunc
}

// startChromium runs the browser. Without one the test fails and says what to install; -short leaves it out.
func startChromium(t testing.TB) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Chromium, left out by -short")
	}
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("there is no Chromium. Install it (apt-get install chromium), or leave such tests out with -short.")
	}
	chromium.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.NoSandbox, // root has no sandbox
			chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true),
		)
		ctx, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
		chromium.ctx, _ = chromedp.NewContext(ctx)
		chromium.stop = stop
		if err := chromedp.Do(chromium.ctx); err != nil {
			t.Errorf("start %s: %v", path, err)
		}
	})
	return chromium.ctx
}

// TestMain ends the browser.
func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		_ = chromedp.Cancel(chromium.ctx)
		chromium.stop()
	}
	os.Exit(code)
}

// tab is a page of the browser, with nothing of other tests in it.
type tab struct {
	t    testing.TB
	ctx  context.Context
	base string

	mu         sync.Mutex
	complaints []string // of the console, and answers that are errors
}

// screen is how large a tab is, and how it looks.
type screen struct {
	wide, high int64
	dark       bool
	noScript   bool
}

var desktop, phone = screen{wide: 1440, high: 900}, screen{wide: 390, high: 844}

// open makes a tab for the dashboard of the rig.
func (r *rig) open(s screen) *tab {
	r.t.Helper()
	b := openTab(r.t, s)
	b.base = r.web.URL
	return b
}

func openTab(t testing.TB, s screen) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(startChromium(t), chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	limited, stop := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(stop)
	b := &tab{t: t, ctx: limited}
	if err := chromedp.Listen(limited, b.hear); err != nil {
		t.Fatal(err)
	}
	call(b, log.Enable, cdp.Empty{})
	b.look(s)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: s.noScript})
	return b
}

// call sends a command of the DevTools protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

// hear notes what a browser complains about: scripts that fail, what the policy blocked, what could not be loaded.
func (b *tab) hear(event any) {
	var text string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = "exception: " + e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		text = fmt.Sprintf("console: %s %v", e.Type, e.Args[0].Value)
	case *log.EventEntryAdded:
		text = "log: " + e.Entry.Text + " " + e.Entry.URL
	case *page.EventJavascriptDialogOpening:
		text = "dialog: " + e.Message
	}
	if text != "" {
		b.mu.Lock()
		b.complaints = append(b.complaints, text)
		b.mu.Unlock()
	}
}

// quiet wants that the browser complained about nothing so far.
func (b *tab) quiet(where string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.complaints) > 0 {
		b.t.Errorf("%s: the browser complains: %s", where, strings.Join(b.complaints, "; "))
	}
	b.complaints = nil
}

// forget drops complaints that were meant to be.
func (b *tab) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = nil
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) visit(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// text is what a person reads in the page.
func (b *tab) text() string {
	b.t.Helper()
	return eval[string](b, "document.body.innerText")
}

// html is the page as the browser understood it.
func (b *tab) html() string {
	b.t.Helper()
	return eval[string](b, "document.documentElement.outerHTML")
}

// press clicks and waits for the page that comes.
func (b *tab) press(selector string) {
	b.t.Helper()
	b.navigates(chromedp.Click(chromedp.CSS(selector)))
}

// navigates waits until what an action begins has led to another page.
func (b *tab) navigates(action chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, longer)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.WaitEvent(page.LoadEventFired, nil, action)); err != nil {
		b.t.Fatalf("the page that was to come: %v", err)
	}
}
