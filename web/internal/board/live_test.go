package board_test

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// untilUpdated waits until a fragment was replaced.
func (b *tab) untilUpdated(id string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Evaluate[bool](`new Promise((done) => new MutationObserver(() => done(true)).observe(document.getElementById("`+id+`"), { childList: true }))`,
			chromedp.EvalAwaitPromise)(ctx, t)
		return err
	})
}

// TestLiveUpdates stores tasks while a browser looks: it shows them without a reload, and keeps the focus and what is unfolded.
func TestLiveUpdates(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Read)
	ctx := t.Context()
	if _, err := bill.Enqueue(ctx, r.client, "first"); err != nil {
		t.Fatal(err)
	}
	b := r.open(desktop)
	b.visit("/")
	eval[bool](b, `(window.same = true, document.querySelector(".numbers summary")?.click(), document.querySelector('#live-queues a[href="/queues/billing"]').focus(), true)`)
	for range 41 {
		if _, err := bill.Enqueue(ctx, r.client, "more"); err != nil {
			t.Fatal(err)
		}
	}
	redistest.Eventually(t, longer, func() bool { return strings.Contains(b.text(), "billing has 42 tasks and no worker") }, "the page shows 42 tasks")
	if !eval[bool](b, `window.same === true`) {
		t.Error("the page was loaded anew")
	}
	if got := eval[string](b, `document.activeElement.getAttribute("href")`); got != "/queues/billing" {
		t.Errorf("the focus went to %q", got)
	}
	if !eval[bool](b, `document.querySelector(".numbers").open`) {
		t.Error("what was unfolded is folded")
	}
	b.quiet("live")
}
