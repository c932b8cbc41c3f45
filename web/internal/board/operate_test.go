package board_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// fails works on tasks that fail until it is told that all is well, and counts those that are done.
func (r *rig) fails() (well *atomic.Bool, done *atomic.Int64) {
	well, done = new(atomic.Bool), new(atomic.Int64)
	r.work(group.Config{MaxAttempts: 1, Queues: []group.Queue{{Name: "q"}}}, func(w *group.Worker) {
		group.HandleRaw(w, "f", func(_ context.Context, task group.Task) ([]byte, error) {
			if well.Load() {
				done.Add(1)
				return nil, nil
			}
			if strings.HasSuffix(string(task.Payload), `7"`) {
				return nil, errors.New("a seven")
			}
			return nil, fmt.Errorf("no route to host %s", task.Payload)
		})
	})
	return well, done
}

func (r *rig) dead(queue string) int64 {
	q, err := r.look.Queue(r.t.Context(), queue)
	if err != nil {
		return -1
	}
	return q.Dead.N
}

func (r *rig) enqueue(n int) {
	r.t.Helper()
	f := stream.Func[string, string]{Name: "f", Queue: "q"}
	for i := range n {
		if _, err := f.Enqueue(r.t.Context(), r.client, fmt.Sprint(i)); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestReplayOfADeadLetter(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Operate)
	well, done := r.fails()
	r.enqueue(1)
	redistest.Eventually(t, longer, func() bool { return r.dead("q") == 1 }, "the task is dead")
	b := r.open(phone)
	b.visit("/")
	b.press(`a[href="/dead?queue=q"]`)
	if text := b.text(); !strings.Contains(text, "no route to host") {
		t.Errorf("the page of dead letters does not show the error: %s", text)
	}
	well.Store(true)
	b.press(`.letters form button`)
	if text := b.text(); !strings.Contains(text, "The task is back in its queue") || !strings.Contains(text, "No dead letters in q") {
		t.Errorf("after the replay: %s", text)
	}
	redistest.Eventually(t, longer, func() bool { return done.Load() == 1 && r.dead("q") == 0 }, "the task ran again")
	b.quiet("replay")
}

// TestBulkReplayAndPurge replays all letters of one error, and purges those of the other, after a question each.
func TestBulkReplayAndPurge(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	well, done := r.fails()
	r.enqueue(600)
	redistest.Eventually(t, longer, func() bool { return r.dead("q") == 600 }, "the tasks are dead")
	well.Store(true)
	b := r.open(desktop)
	b.visit("/dead?queue=q")
	if text := b.text(); !strings.Contains(text, "540") || !strings.Contains(text, "60") {
		t.Errorf("the groups are not there: %s", text)
	}
	b.press(".groups li:first-child .actions a:first-child")
	if text := b.text(); !strings.Contains(text, "Replay 540 dead letters?") || done.Load() != 0 {
		t.Errorf("it does not ask: %s", text)
	}
	b.press(".ask .primary")
	redistest.Eventually(t, longer, func() bool { return strings.Contains(b.text(), "540 replayed") }, "the progress is shown to its end")
	redistest.Eventually(t, longer, func() bool { return done.Load() == 540 && r.dead("q") == 60 }, "the tasks of the group ran again")
	b.press(".bulk .button")
	b.press(".groups li:first-child .actions a.danger")
	if eval[bool](b, `document.querySelector(".ask form").checkValidity()`) {
		t.Error("purging needs no confirmation")
	}
	b.do(chromedp.Click(chromedp.CSS(".ask input[type=checkbox]")))
	b.press(".ask .danger")
	redistest.Eventually(t, longer, func() bool { return strings.Contains(b.text(), "60 purged") }, "the purge is shown to its end")
	if n := r.dead("q"); n != 0 {
		t.Errorf("%d letters are left", n)
	}
	b.quiet("bulk")
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Operate)
	well, done := r.fails()
	well.Store(true)
	b := r.open(desktop)
	b.visit("/queues/q")
	b.press(`form[action="/queues/q/pause"] button`)
	if text := b.text(); !strings.Contains(text, "The queue is paused") || !strings.Contains(text, "Resume") {
		t.Errorf("after pausing: %s", text)
	}
	r.enqueue(3)
	redistest.Eventually(t, longer, func() bool { return strings.Contains(b.text(), "q is paused while 3 tasks wait") }, "the page says that tasks wait")
	if done.Load() != 0 {
		t.Error("a paused queue is worked on")
	}
	b.press(`form[action="/queues/q/resume"] button`)
	redistest.Eventually(t, longer, func() bool { return done.Load() == 3 }, "the tasks are done")
	b.quiet("pause")
}

// TestTasksAreChangedOnTheirPages cancels, runs and deletes tasks.
func TestTasksAreChangedOnTheirPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	f := stream.Func[string, string]{Name: "f", Queue: "q"}
	ids := make([]string, 3)
	for i := range ids {
		var err error
		if ids[i], err = f.Enqueue(t.Context(), r.client, "x", stream.After(longer*100)); err != nil {
			t.Fatal(err)
		}
	}
	b := r.open(desktop)
	b.visit("/find?task=" + strings.ToLower(ids[0]))
	if got := eval[string](b, "location.pathname"); got != "/queues/q/tasks/"+ids[0] {
		t.Errorf("the search leads to %s", got)
	}
	b.press(`form[action$="/cancel"] button`)
	if text := b.text(); !strings.Contains(text, "The task is cancelled") {
		t.Errorf("after cancelling: %s", text)
	}
	b.visit("/queues/q/tasks/" + ids[1])
	b.press(`form[action$="/retry"] button`)
	if text := b.text(); !strings.Contains(text, "The task is back in its queue") {
		t.Errorf("after running one: %s", text)
	}
	if h, err := r.look.Task(t.Context(), "q", ids[1]); err != nil || h.State == inspect.Delayed && time.Until(h.Due) > time.Minute {
		t.Errorf("the task that was to run now: %+v, %v", h, err)
	}
	b.visit("/queues/q/tasks/" + ids[2])
	if eval[bool](b, `document.querySelector("form.inline-ask").checkValidity()`) {
		t.Error("deleting needs no confirmation")
	}
	b.do(chromedp.Click(chromedp.CSS("form.inline-ask input[type=checkbox]")))
	b.press(`form.inline-ask button`)
	if text := b.text(); !strings.Contains(text, "The task is deleted") {
		t.Errorf("after deleting: %s", text)
	}
	if _, err := f.Enqueue(t.Context(), r.client, "x"); err != nil {
		t.Fatal(err)
	}
	b.visit("/queues/q?state=waiting")
	b.press("a.danger")
	b.do(chromedp.SendKeys(chromedp.CSS("#confirm"), "another"))
	b.press(".ask .danger")
	if text := b.text(); !strings.Contains(text, "Nothing was removed") {
		t.Errorf("after a wrong confirmation: %s", text)
	}
	b.forget() // the browser logs the 400
	b.visit("/queues/q/purge?state=waiting")
	b.do(chromedp.SendKeys(chromedp.CSS("#confirm"), "q"))
	b.press(".ask .danger")
	redistest.Eventually(t, longer, func() bool { return strings.Contains(b.text(), "1 purged") }, "the queue is purged")
	b.quiet("tasks")
}
