package board_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/guard"
)

// What somebody may write to Redis to attack whoever looks.
const (
	attackImage  = `<img src=x onerror="window.pwned=1">`
	attackScript = `"'></script></pre><script>window.pwned=1</script><svg onload=window.pwned=1>{{.}}${1}javascript:window.pwned=1`
	attackBidi   = "abc\u202egpj.exe\u2066x\u200bz\u00ad\ufeff\x1b[31mred\x00\x07\x7f\r\nline\xff\xfe"
)

var attack = attackImage + attackScript + attackBidi

// hostile fills a Redis with attacks, in every text that a page may show.
func (r *rig) hostile() (task string) {
	r.t.Helper()
	ctx := r.t.Context()
	f := stream.Func[string, string]{Name: "victim", Queue: "q"}
	r.work(group.Config{MaxAttempts: 1, Queues: []group.Queue{{Name: "q"}}}, func(w *group.Worker) {
		group.HandleRaw(w, "victim", func(context.Context, group.Task) ([]byte, error) {
			return nil, errors.New(attack + "\nsecond line " + attack)
		})
	})
	task, err := f.Enqueue(ctx, r.client, attack, stream.Header("x", attack))
	if err != nil {
		r.t.Fatal(err)
	}
	redistest.Eventually(r.t, longer, func() bool {
		q, err := r.look.Queue(ctx, "q")
		return err == nil && q.Dead.N > 0
	}, "the victim fails")
	for _, queue := range []string{"q", "p"} {
		keys := r.store.Keys(queue)
		must := func(err error) {
			if err != nil {
				r.t.Fatal(err)
			}
		}
		must(r.redis.SAdd(ctx, wire.Queues("wm"), queue, attackImage).Err())
		must(r.redis.XAdd(ctx, &redis.XAddArgs{Stream: keys.Dead(), Values: []string{
			"reason", attack, "error", attack, "worker", attack, "entry", attack, "raw", attack,
		}}).Err())
		must(r.redis.XAdd(ctx, &redis.XAddArgs{Stream: keys.Tasks(), Values: []string{attackImage, attack}}).Err())
		must(r.redis.HSet(ctx, keys.Counts(), attackImage, attack, "done", attack).Err())
		run := stream.NewID()
		must(r.redis.ZAdd(ctx, keys.Runs(), redis.Z{Score: 1, Member: run}, redis.Z{Score: 2, Member: attackImage}).Err())
		must(r.redis.HSet(ctx, keys.Run(run).Hash(), "state", attackImage, "job", attack, "note", attack, "reason", attack, "splits", "9", "maps", "4", "made", "1").Err())
	}
	keys := r.store.Keys("p")
	must := r.redis.XGroupCreateMkStream(ctx, keys.Tasks(), "workers", "0").Err()
	if must != nil && !strings.Contains(must.Error(), "BUSYGROUP") {
		r.t.Fatal(must)
	}
	evil := "evil-" + attackImage
	if err := r.redis.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "workers", Consumer: evil, Streams: []string{keys.Tasks(), ">"}}).Err(); err != nil {
		r.t.Fatal(err)
	}
	lease := fmt.Sprintf(`f {"host":%q,"version":%q,"functions":[%q],"queues":[%q],"pid":7}`, "<img src=x onerror=window.pwned=1>", "<svg onload=window.pwned=1>", "<b>", "<i>")
	if err := r.redis.Set(ctx, keys.Lease(evil), lease, 0).Err(); err != nil {
		r.t.Fatal(err)
	}
	return task
}

// TestNothingFromRedisRuns looks at every page of a Redis full of attacks: nothing of it becomes an element, runs, or hides what it is.
func TestNothingFromRedisRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t, guard.Admin)
	task := r.hostile()
	b := r.open(desktop)
	pages := map[string]string{
		"overview": "/", "queue": "/queues/q", "other queue": "/queues/p", "running": "/queues/p?state=running", "dead tasks": "/queues/q?state=dead",
		"dead": "/dead?queue=q", "other dead": "/dead?queue=p", "workers": "/workers?queue=p", "runs": "/runs?queue=p", "batches": "/batches?queue=q",
		"task": "/queues/q/tasks/" + task + "?payload=1",
	}
	for i, g := range r.groupsOf("q") {
		pages[fmt.Sprint("group ", i)] = "/dead?queue=q&group=" + g
		pages[fmt.Sprint("question ", i)] = "/dead/confirm?queue=q&do=replay&group=" + g
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		b.visit(pages[name])
		if eval[bool](b, `"pwned" in window || !!document.querySelector("main img, main script, main [onerror], main [onload], a[href^='javascript' i]")`) {
			t.Errorf("%s: something of Redis became part of the page", name)
		}
		if text := b.text(); strings.ContainsAny(text, "\u202e\u2066\u200b\ufeff\x1b\x00\x07") {
			t.Errorf("%s: characters that are not seen are there", name)
		}
		b.quiet(name)
	}
	for page, want := range map[string]string{"dead": attackImage, "task": "[U+202E]gpj.exe", "workers": "evil-" + attackImage, "runs": attackImage} {
		b.visit(pages[page])
		if text := b.text(); !strings.Contains(text, want) {
			t.Errorf("%s does not show what was written, %q: %s", page, want, text)
		}
	}
	// The same by live updates, which are put into the page by a script.
	b.visit("/workers?queue=p")
	redistest.Eventually(t, longer, func() bool { return eval[bool](b, `document.getElementById("live-text").textContent === "Live"`) }, "it is live")
	b.do(b.untilUpdated("live-workers"))
	if eval[bool](b, `"pwned" in window || !!document.querySelector("main img, main script, main [onerror]")`) {
		t.Error("a live update became part of the page")
	}
	b.quiet("live")
}

func (r *rig) groupsOf(queue string) (ids []string) {
	groups, _, err := r.look.LetterGroups(r.t.Context(), queue)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, g := range groups {
		ids = append(ids, g.ID)
	}
	return ids
}

// TestPayloadsAreHidden shows a payload only to whoever asks for it and may, never more than 4 kB, and as hex where it is no text.
func TestPayloadsAreHidden(t *testing.T) {
	t.Parallel()
	secret := "s3cret-" + strings.Repeat("x", 6000)
	r := newRig(t, guard.Operate)
	f := stream.Func[[]byte, []byte]{Name: "f", Queue: "q", Codec: stream.Raw}
	text, err := f.Enqueue(t.Context(), r.client, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	binary, err := f.Enqueue(t.Context(), r.client, []byte{0xff, 0xfe, 0, 'A'})
	if err != nil {
		t.Fatal(err)
	}
	page := "/queues/q/tasks/"
	if body := r.get(page + text).Body; strings.Contains(body, "s3cret") || !strings.Contains(body, "Show the payload") {
		t.Error("the payload is shown before anybody asked")
	}
	body := r.get(page + text + "?payload=1").Body
	if !strings.Contains(body, "s3cret") || strings.Count(body, "x") > 4096+500 || !strings.Contains(body, "the first 4 kB are shown") {
		t.Errorf("the payload that was asked for is not its first 4 kB")
	}
	if body := r.get(page + binary + "?payload=1").Body; !strings.Contains(body, "ff fe 00 41") || !strings.Contains(body, "shown in hex") {
		t.Error("a payload that is no text is not shown in hex")
	}
	download := r.get(page + text + "/payload")
	if download.Body != secret || download.Header.Get("Content-Type") != "application/octet-stream" ||
		!strings.HasPrefix(download.Header.Get("Content-Disposition"), "attachment") || download.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the download is not a file: %v", download.Header)
	}
	r.role = guard.Read
	if body := r.get(page + text + "?payload=1").Body; strings.Contains(body, "s3cret") {
		t.Error("the role read sees a payload")
	}
	if got := r.get(page + text + "/payload"); got.Status != 403 || strings.Contains(got.Body, "s3cret") {
		t.Errorf("the role read downloads a payload: %d", got.Status)
	}
	if _, err := r.look.Task(t.Context(), "q", text); errors.Is(err, inspect.ErrNotFound) {
		t.Error("the task is gone")
	}
}
