package workermachine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	inspection "github.com/athoune/worker-machine/inspect"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

// TestRightsSuffice works with a user that has the rights PROTOCOL.md names, and asks Redis whether it refused anything.
func TestRightsSuffice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Client(t)
	grant(t, admin, "acl")
	for _, protocol := range []int{2, 3} {
		client := redis.NewClient(&redis.Options{
			Network: server.Network, Addr: server.Addr, Username: "app", Password: "secret", Protocol: protocol,
		})
		t.Cleanup(func() { _ = client.Close() })
		everything(t, client)
	}
	checkRefusals(t, admin)

	app := redis.NewClient(&redis.Options{Network: server.Network, Addr: server.Addr, Username: "app", Password: "secret"})
	t.Cleanup(func() { _ = app.Close() })
	for _, forbidden := range [][]any{
		{"flushdb"},
		{"config", "get", "*"},
		{"keys", "*"},
		{"xgroup", "destroy", "wm:{web}:tasks", "workers"},
		{"set", "other", "1"},
		{"eval", "return redis.call('SET', 'other', '1')", "0"},
		{"publish", "other", "1"},
		{"client", "kill", "type", "normal"},
	} {
		err := app.Do(t.Context(), forbidden...).Err()
		if err == nil || !redis.HasErrorPrefix(err, "NOPERM") && !strings.Contains(err.Error(), "user executing the script can't") {
			t.Errorf("%v: got %v, want a refusal for want of rights", forbidden, err)
		}
	}
}

// TestRightsSufficeOnACluster is the same with the rights for clusters.
func TestRightsSufficeOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 2)
	for _, server := range cluster.Servers {
		grant(t, server.Client(t), "acl", "acl-cluster")
	}
	everything(t, cluster.Client(t, func(o *redis.ClusterOptions) { o.Username, o.Password = "app", "secret" }))
	for _, server := range cluster.Servers {
		checkRefusals(t, server.Client(t))
	}
}

// grant makes the user app with the rights of blocks of PROTOCOL.md.
func grant(t *testing.T, admin *redis.Client, names ...string) {
	t.Helper()
	rule := []any{"acl", "setuser", "app", "on", ">secret"}
	for _, name := range names {
		for _, right := range strings.Fields(strings.Join(blocks(readFile(t, "PROTOCOL.md"), name), " ")) {
			rule = append(rule, right)
		}
	}
	if err := admin.Do(t.Context(), rule...).Err(); err != nil {
		t.Fatal(err)
	}
}

// checkRefusals fails for what the server refused the user.
func checkRefusals(t *testing.T, admin *redis.Client) {
	t.Helper()
	refused, err := admin.Do(t.Context(), "acl", "log", "100").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range refused {
		text := fmt.Sprint(entry)
		// What go-redis tells about itself when it connects, from Redis 7.2 on; it goes on without.
		if !strings.Contains(text, "client|setinfo") && !strings.Contains(text, "maint_notifications") {
			t.Errorf("refused: %s", text)
		}
	}
}

// TestRightsNameWhatScriptsCall finds the rights of scripts that no test above may run.
func TestRightsNameWhatScriptsCall(t *testing.T) {
	t.Parallel()
	rights := strings.Fields(strings.Join(blocks(readFile(t, "PROTOCOL.md"), "acl"), " "))
	paths, err := filepath.Glob("internal/script/lua/*.lua")
	ok(t, err)
	for _, path := range paths {
		for _, match := range regexp.MustCompile(`redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?`).FindAllStringSubmatch(readFile(t, path), -1) {
			command, subcommand := strings.ToLower(match[1]), strings.ToLower(match[1]+"|"+match[2])
			if !slices.Contains(rights, "+"+command) && !slices.Contains(rights, "+"+subcommand) {
				t.Errorf("%s calls %s, which is not among the rights of PROTOCOL.md", path, match[0])
			}
		}
	}
}

// everything does at least once what clients and workers can do.
func everything(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	everythingBy(t, client, client)
}

// everythingBy is the same with a user for clients and one for workers.
func everythingBy(t *testing.T, client, forWorkers redis.UniversalClient) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	store, err := stream.NewStore(client, stream.Config{})
	ok(t, err)
	crew, err := stream.NewStore(forWorkers, stream.Config{})
	ok(t, err)
	c, err := stream.NewClient(store, stream.ClientConfig{MaxQueue: 1000})
	ok(t, err)
	defer func() { ok(t, errors.Join(c.Close(context.WithoutCancel(ctx)), store.Close(), crew.Close())) }()

	_, err = GetTitle.Enqueue(ctx, c, "later", stream.After(50*time.Millisecond), stream.Unique("later", time.Minute), stream.Replicas(0))
	ok(t, err)
	if _, err = GetTitle.Enqueue(ctx, c, "replicated", stream.Replicas(1)); !errors.Is(err, stream.ErrNotReplicated) {
		t.Fatalf("got %v, want ErrNotReplicated", err)
	}
	impatient, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err = GetTitle.Call(impatient, c, "nobody is there"); err == nil {
		t.Fatal("a call without a worker has a result")
	}

	ask := func(ctx context.Context, site string) (string, error) {
		if group.Meta(ctx).Attempt == 1 && site == "retry" {
			return "", group.RetryAfter(time.Millisecond, errors.New("again"))
		}
		if site == "shared" {
			ok(t, group.Shared(ctx).Set(ctx, "seen", []byte(site)))
		}
		return fetchTitle(ctx, site)
	}
	life, end := context.WithCancel(ctx)
	ended := make(chan error, 2)
	for range 2 {
		worker, err := group.NewWorker(crew, group.Config{Lease: 300 * time.Millisecond})
		ok(t, err)
		group.Handle(worker, GetTitle, ask)
		letters.Handle(worker)
		go func() { ended <- worker.Run(life) }()
	}
	runJob(t, c)
	batch := mapreduce.Map(ctx, c, GetTitle, slices.Values([]string{"retry", "shared", "one", "two.invalid"}))
	ok(t, batch.Set(ctx, "agent", []byte("test")))
	for r := range batch.Results() {
		if _, err := batch.Get(ctx, "seen"); err != nil {
			t.Error(err)
		}
		if (r.Err != nil) != (r.Input == "two.invalid") {
			t.Errorf("%s: %v", r.Input, r.Err)
		}
	}
	ok(t, batch.Err())
	for range 2 { // the second one resumes the first
		batch = mapreduce.Map(ctx, c, GetTitle, slices.Values([]string{"one", "two"}), mapreduce.Durable("acl"), mapreduce.Window(1))
		for range batch.Results() {
			if p := batch.Progress(); p.Submitted == 1 {
				break
			}
		}
		ok(t, batch.Err())
	}
	if _, err = mapreduce.Checkpointed(ctx, store, "web", "acl"); err == nil {
		ok(t, mapreduce.Discard(ctx, store, "web", "acl"))
	}
	lookAround(t, crew, forWorkers)
	end()
	ok(t, errors.Join(<-ended, <-ended))
}

// letters counts letters; a 7 fails.
var letters = mapreduce.Job[string, string, int, int]{
	Name: "letters", Queue: "web", Split: 1, MaxAttempts: 1,
	Map: func(_ context.Context, text string, emit func(string, int)) error {
		for _, letter := range text {
			emit(string(letter), 1)
		}
		if text == "7" {
			return errors.New("7")
		}
		return nil
	},
	Reduce: func(_ context.Context, _ string, counts iter.Seq[int]) (sum int, err error) {
		for n := range counts {
			sum += n
		}
		return sum, nil
	},
}

// runJob does what can be done with runs.
func runJob(t *testing.T, c *stream.Client) {
	t.Helper()
	ctx := t.Context()
	run, err := letters.Submit(ctx, c, slices.Values([]string{"ab", "7", "bc"}), mapreduce.Tolerate(1), mapreduce.Within(time.Minute))
	ok(t, err)
	_, err = mapreduce.FindRun(ctx, c.Store(), run.ID)
	ok(t, err)
	_, err = mapreduce.Runs(ctx, c.Store(), "web")
	ok(t, err)
	for _, err := range run.Results(ctx) {
		ok(t, err)
	}
	run, err = letters.Submit(ctx, c, slices.Values([]string{"7"}))
	ok(t, err)
	if err = run.Wait(ctx); !errors.Is(err, mapreduce.ErrTasksFailed) {
		t.Errorf("got %v, want ErrTasksFailed", err)
	}
	ok(t, run.Cancel(ctx))
}

// lookAround does what workers do about dead ones, and asks for what lies there.
func lookAround(t *testing.T, store *stream.Store, client redis.UniversalClient) {
	t.Helper()
	ctx := t.Context()
	look(t, store)
	for letter, err := range reclaim.List(ctx, store, "web", reclaim.NewestFirst()) {
		ok(t, err)
		_, err = reclaim.Replay(ctx, store, "web", letter.ID)
		ok(t, err)
	}
	_, err := reclaim.Purge(ctx, store, "web", "1-1")
	if err != nil && !errors.Is(err, reclaim.ErrNoLetter) {
		t.Error(err)
	}
	_, err = store.Queues(ctx)
	ok(t, err)
	keys := store.Keys("web")
	for _, command := range [][]any{
		{"info", "server"},
		{"time"},
		{"xlen", keys.Tasks()},
		{"zcard", keys.Due()},
		{"hgetall", keys.Counts()},
		{"exists", keys.Lease("x")},
		{"xpending", keys.Tasks(), store.Group()},
		{"xinfo", "consumers", keys.Tasks(), store.Group()},
		{"xrange", keys.Tasks(), "-", "+"},
		{"hmget", keys.Crashes(), "1-1"}, // after a lost delivery only
	} {
		if err := client.Do(ctx, command...).Err(); err != nil {
			t.Errorf("%v: %v", command, err)
		}
	}
	r, err := reclaim.New(store, "web", "someone-else", reclaim.Config{})
	ok(t, err)
	_, err = r.Look(ctx)
	ok(t, err)
	_, err = r.Audit(ctx, 1)
	ok(t, err)
}

// look does what inspect reads.
func look(t *testing.T, store *stream.Store) {
	t.Helper()
	ctx, i := t.Context(), inspection.New(store)
	_, err := i.Queues(ctx)
	ok(t, err)
	workers, err := i.Workers(ctx, "web", "")
	ok(t, err)
	for _, worker := range workers.Workers {
		if _, err = i.Worker(ctx, "web", worker.Name); !errors.Is(err, inspection.ErrNotFound) { // it may be leaving
			ok(t, err)
		}
	}
	for _, state := range []inspection.State{inspection.Waiting, inspection.Running, inspection.Delayed, inspection.Dead} {
		page, err := i.Tasks(ctx, "web", inspection.Filter{State: state, Limit: 1})
		ok(t, err)
		if page.Next != "" {
			_, err = i.Tasks(ctx, "web", inspection.Filter{State: state, After: page.Next})
			ok(t, err)
		}
	}
	if _, err = i.Task(ctx, "", stream.NewID()); !errors.Is(err, inspection.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
