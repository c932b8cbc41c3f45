package board_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

const longer = 20 * time.Second

// The functions of the scene.
var (
	getTitle  = stream.Func[string, string]{Name: "getTitle", Queue: "web"}
	fetchFeed = stream.Func[string, int]{Name: "fetchFeed", Queue: "web"}
	sendMail  = stream.Func[string, string]{Name: "sendMail", Queue: "mail"}
	resize    = stream.Func[string, string]{Name: "resize", Queue: "images"}
	bill      = stream.Func[string, string]{Name: "chargeCard", Queue: "billing"}
	report    = stream.Func[string, string]{Name: "monthlyReport", Queue: "reports"}
	countWord = func() *mapreduce.Job[string, string, int, int] {
		job := mapreduce.New("wordcount", emitWords, addCounts)
		job.Queue, job.Partitions, job.Split = "analytics", 8, 5
		return job
	}()
)

func emitWords(ctx context.Context, text string, emit func(string, int)) error {
	if strings.HasPrefix(text, "slow") {
		<-ctx.Done()
		return ctx.Err()
	}
	for word := range strings.FieldsSeq(text) {
		emit(word, 1)
	}
	return nil
}

func addCounts(_ context.Context, _ string, counts iter.Seq[int]) (n int, err error) {
	for count := range counts {
		n += count
	}
	return n, nil
}

// deliver fails as mail servers do.
func deliver(_ context.Context, to string) (string, error) {
	switch {
	case strings.HasPrefix(to, "a"):
		return "", group.Drop(fmt.Errorf("smtp: 550 5.1.1 <%s>: recipient rejected: user unknown in virtual mailbox table", to))
	case strings.HasPrefix(to, "b"):
		return "", group.Drop(errors.New("dial tcp 10.1.2.3:587: i/o timeout"))
	case strings.HasPrefix(to, "c"):
		return "", errors.New("smtp: 451 4.3.2 please try again later")
	default:
		return "250 2.0.0 accepted", nil
	}
}

// scene is a Redis where much goes on: workers at work, failures, a queue without a worker, one that is paused, runs, a batch.
func (r *rig) scene() {
	r.t.Helper()
	for range 3 {
		r.work(group.Config{Concurrency: 8, MaxAttempts: 3, Drain: time.Millisecond, Backoff: group.Backoff{Min: time.Hour, Max: time.Hour}}, serveScene)
	}
	r.storeScene()
	if err := r.look.Pause(r.t.Context(), "reports"); err != nil {
		r.t.Fatal(err)
	}
	r.runScene()
	redistest.Eventually(r.t, longer, func() bool {
		web, _ := r.look.Queue(r.t.Context(), "web")
		mail, _ := r.look.Queue(r.t.Context(), "mail")
		images, _ := r.look.Queue(r.t.Context(), "images")
		return web.Totals["done"] >= 60 && mail.Dead.N >= 20 && mail.Delayed.N >= 10 && images.Running.N >= 6
	}, "the scene is set")
}

func serveScene(w *group.Worker) {
	group.Handle(w, getTitle, func(_ context.Context, site string) (string, error) { return "Welcome to " + site, nil })
	group.Handle(w, fetchFeed, func(_ context.Context, site string) (int, error) { return len(site), nil })
	group.Handle(w, sendMail, deliver)
	group.Handle(w, resize, func(ctx context.Context, _ string) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	})
	countWord.Handle(w)
}

func (r *rig) storeScene() {
	r.t.Helper()
	ctx := r.t.Context()
	var errs []error
	store := func(_ string, err error) { errs = append(errs, err) }
	for i := range 40 {
		store(getTitle.Enqueue(ctx, r.client, fmt.Sprintf("site%d.example.org", i), stream.Header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")))
		store(fetchFeed.Enqueue(ctx, r.client, fmt.Sprintf("https://site%d.example.org/feed.xml", i)))
		store(sendMail.Enqueue(ctx, r.client, fmt.Sprintf("%c%d@example.org", 'a'+i%4, i)))
		store(bill.Enqueue(ctx, r.client, fmt.Sprintf("customer %d", i)))
	}
	for i := range 12 {
		store(report.Enqueue(ctx, r.client, fmt.Sprintf("2026-%02d", i+1)))
	}
	for i := range 6 {
		store(resize.Enqueue(ctx, r.client, fmt.Sprintf("photo-%d.jpg", i)))
	}
	store(getTitle.Enqueue(ctx, r.client, "tomorrow.example.org", stream.After(24*time.Hour)))
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
}

// runScene makes a run that is done, and one that is under way; and a batch that waits.
func (r *rig) runScene() {
	r.t.Helper()
	ctx := r.t.Context()
	texts := make([]string, 400)
	for i := range texts {
		texts[i] = "to be or not to be"
	}
	done, err := countWord.Submit(ctx, r.client, slices.Values(texts))
	if err == nil {
		err = done.Wait(ctx)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range texts {
		if i%8 == 0 {
			texts[i] = "slow"
		}
	}
	if _, err := countWord.Submit(ctx, r.client, slices.Values(texts)); err != nil {
		r.t.Fatal(err)
	}
	waits, cancel := context.WithCancel(ctx)
	r.t.Cleanup(cancel)
	go func() {
		for range mapreduce.Map(waits, r.client, resize, slices.Values([]string{"a.jpg", "b.jpg", "c.jpg"})).Results() {
		}
	}()
}

// pages are the addresses of everything there is to see in the scene.
func (r *rig) pages() map[string]string {
	r.t.Helper()
	ctx := r.t.Context()
	workers, err := r.look.Workers(ctx, "images", "")
	if err != nil || len(workers.Workers) == 0 {
		r.t.Fatalf("no worker: %v", err)
	}
	runs, err := r.look.Runs(ctx, "analytics")
	if err != nil || len(runs) < 2 {
		r.t.Fatalf("%d runs: %v", len(runs), err)
	}
	letters, err := r.look.Letters(ctx, "mail", inspect.LetterFilter{})
	if err != nil || len(letters.Letters) == 0 {
		r.t.Fatalf("no letter: %v", err)
	}
	return map[string]string{
		"overview": "/", "queue": "/queues/mail?state=delayed", "running": "/queues/images?state=running", "dead": "/dead?queue=mail",
		"workers": "/workers?queue=images", "worker": "/queues/images/workers/" + workers.Workers[0].Name, "run": "/queues/analytics/runs/" + runs[0].ID,
		"runs": "/runs?queue=analytics", "batches": "/batches?queue=images", "doctor": "/doctor", "confirm": "/dead/confirm?queue=mail&do=purge",
		"empty": "/queues/mail/purge?state=delayed", "task": "/queues/mail/tasks/" + letters.Letters[0].TaskID + "?payload=1", "nothing": "/no/such/page",
		"unused": "/queues/nobody",
	}
}
