package workermachine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/reclaim"
	"github.com/athoune/worker-machine/stream"
)

var GetTitle = stream.Func[string, string]{Name: "getTitle", Queue: "web"} // client and workers share this

// fetchTitle stands in for a function that asks a site.
func fetchTitle(_ context.Context, site string) (string, error) {
	if strings.HasSuffix(site, ".invalid") {
		return "", group.Drop(fmt.Errorf("no such host: %s", site))
	}
	return "Title of " + site, nil
}

func Example() {
	ctx, store, client, stop := exampleStore()
	defer stop()
	ctx, quit := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer quit()
	sites := []string{"example.org", "example.net"}

	worker, err := group.NewWorker(store, group.Config{Concurrency: 32})
	must(err)
	group.Handle(worker, GetTitle, fetchTitle)   // func(ctx context.Context, site string) (string, error)
	running.Go(func() { must(worker.Run(ctx)) }) // until ctx is done; then it drains

	title, err := GetTitle.Call(ctx, client, "linuxfr.org") // wait for the result
	fmt.Println(title, err)

	for r := range mapreduce.Map(ctx, client, GetTitle, slices.Values(sites)).Results() { // as they come
		fmt.Println(r.Input, r.Value, r.Err)
	}
	// Unordered output:
	// Title of linuxfr.org <nil>
	// example.org Title of example.org <nil>
	// example.net Title of example.net <nil>
}

func Example_store() {
	ctx, _, _, stop := exampleStore()
	defer stop()
	redisURL := "redis://127.0.0.1:6379"

	options, err := redis.ParseURL(redisURL)
	must(err)
	redisClient := redis.NewClient(options) // or NewFailoverClient, or NewClusterClient; it stays yours
	store, err := stream.NewStore(redisClient, stream.Config{Prefix: "shop", Logger: nil})
	must(err)
	client, err := stream.NewClient(store, stream.ClientConfig{MaxQueue: 100_000})
	must(err)

	must(client.Close(ctx)) // in this order, when the program ends
	must(store.Close())
	must(redisClient.Close())
	// Output:
}

func Example_keep() {
	ctx, store, client, stop := exampleStore()
	defer stop()
	ctx, quit := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer quit()
	worker, err := group.NewWorker(store, group.Config{})
	must(err)
	group.Handle(worker, GetTitle, fetchTitle)
	running.Go(func() { must(worker.Run(ctx)) })

	id, err := GetTitle.Enqueue(ctx, client, "linuxfr.org", stream.Keep(time.Hour), stream.Idempotent("order 4711", 24*time.Hour))
	must(err)
	title, err := GetTitle.Await(ctx, client, id) // wakes as soon as the task is done
	must(err)
	outcome, done, err := client.Outcome(ctx, "web", id) // looks, and does not wait
	fmt.Printf("%s, %v, %s, %v\n", title, done, outcome.Payload, err)
	// Output: Title of linuxfr.org, true, "Title of linuxfr.org", <nil>
}

func Example_enqueue() {
	ctx, _, client, stop := exampleStore()
	defer stop()

	id, err := GetTitle.Enqueue(ctx, client, "linuxfr.org",
		stream.After(time.Hour),                  // or stream.At(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
		stream.Unique("front page", 2*time.Hour), // one at a time; the key is free again when the task is done, or after two hours
		stream.Header("trace", "4bf92f35"),       // the handler finds it in its metadata
		stream.MaxAttempts(5),
		stream.Timeout(30*time.Second), // of one attempt
	)
	must(err)

	again, err := GetTitle.Enqueue(ctx, client, "linuxfr.org", stream.Unique("front page", time.Hour))
	fmt.Println(errors.Is(err, stream.ErrDuplicate), again == id)
	// Output: true true
}

func Example_enqueueAll() {
	ctx, _, client, stop := exampleStore()
	defer stop()
	sites := slices.Values([]string{"example.org", "example.net", "linuxfr.org"})

	n, err := GetTitle.EnqueueAll(ctx, client, sites) // many to a round trip; the sequence may be endless
	fmt.Println(n, err)
	// Output: 3 <nil>
}

func Example_call() {
	ctx, client, stop := exampleWorker(group.Config{}, fetchTitle)
	defer stop()

	_, err := GetTitle.Call(ctx, client, "nowhere.invalid")
	var failed *stream.TaskError
	if errors.As(err, &failed) {
		fmt.Println(failed.Function, failed.Attempt, failed.Reason, failed.Message)
	}
	// Output: getTitle 1 dropped no such host: nowhere.invalid
}

func Example_config() {
	_, store, _, stop := exampleStore()
	defer stop()

	worker, err := group.NewWorker(store, group.Config{
		Queues:      []group.Queue{{Name: "web", Weight: 3}, {Name: "mail"}}, // three times out of four web goes first
		Concurrency: 32,
		MaxAttempts: 10,
		Timeout:     time.Minute,
		Backoff:     group.Backoff{Min: time.Second, Max: time.Minute},
		Drain:       20 * time.Second,
		Hooks:       group.Hooks{Dead: func(m group.Metadata, reason string, err error) { fmt.Println(m.ID, reason, err) }},
	})
	must(err)
	fmt.Println(worker.Name() != "")
	// Output: true
}

func Example_decisions() {
	errNotReady, errRateLimited := errors.New("not ready"), errors.New("rate limited")
	ask := func(_ context.Context, site string) (string, error) {
		return "", map[string]error{"a": errNotReady, "b": errRateLimited}[site]
	}

	handler := func(ctx context.Context, site string) (string, error) {
		title, err := ask(ctx, site)
		switch {
		case errors.Is(err, errNotReady):
			return "", group.Snooze(time.Minute) // again in a minute; costs no attempt
		case errors.Is(err, errRateLimited):
			return "", group.RetryAfter(10*time.Second, err) // again in ten seconds; costs one
		case title == "":
			return "", group.Drop(errors.New("a page without a title")) // a dead letter at once
		}
		return title, err // any other error: again after a backoff, until MaxAttempts
	}
	for _, site := range []string{"a", "b", "c"} {
		_, err := handler(context.Background(), site)
		fmt.Println(err)
	}
	// Output:
	// group: snoozed for 1m0s
	// rate limited
	// a page without a title
}

func Example_middleware() {
	timing := func(next group.Handler) group.Handler {
		return func(ctx context.Context, task group.Task) ([]byte, error) {
			began := time.Now()
			result, err := next(ctx, task)
			fmt.Println(task.Function, task.Attempt, time.Since(began) < time.Minute, err)
			return result, err
		}
	}
	ctx, client, stop := exampleWorker(group.Config{Middleware: []group.Middleware{timing}}, fetchTitle)
	defer stop()

	_, err := GetTitle.Call(ctx, client, "linuxfr.org")
	must(err)
	// Output: getTitle 1 true <nil>
}

func Example_metadata() {
	handler := func(ctx context.Context, site string) (string, error) {
		m := group.Meta(ctx) // ID, attempt, headers, queue
		return fmt.Sprintf("%s, attempt %d of %d, trace %s", site, m.Attempt, m.MaxAttempts, m.Headers["trace"]), nil
	}
	ctx, client, stop := exampleWorker(group.Config{}, handler)
	defer stop()

	title, err := GetTitle.Call(ctx, client, "linuxfr.org", stream.Header("trace", "4bf92f35"))
	fmt.Println(title, err)
	// Output: linuxfr.org, attempt 1 of 25, trace 4bf92f35 <nil>
}

func Example_map() {
	ctx, client, stop := exampleWorker(group.Config{}, fetchTitle)
	defer stop()
	sites := slices.Values([]string{"example.org", "nowhere.invalid", "linuxfr.org"})

	batch := mapreduce.Map(ctx, client, GetTitle, sites,
		mapreduce.InOrder(),      // instead of as they come
		mapreduce.Window(1000),   // at most so many inputs whose result you have not seen
		mapreduce.FailAfter(100), // otherwise a batch goes on whatever fails
	)
	for r := range batch.Results() {
		var failed *stream.TaskError
		if errors.As(r.Err, &failed) {
			fmt.Println(r.Index, failed.Reason, failed.Message)
			continue
		}
		fmt.Println(r.Index, r.Value)
	}
	must(batch.Err()) // why it ended early; nil when no result is missing

	p := batch.Progress() // from any goroutine, at any time
	fmt.Println(p.Submitted, p.Done, p.Failed, p.InFlight)
	// Output:
	// 0 Title of example.org
	// 1 dropped no such host: nowhere.invalid
	// 2 Title of linuxfr.org
	// 3 2 1 0
}

func Example_reduce() {
	ctx, client, stop := exampleWorker(group.Config{}, fetchTitle)
	defer stop()
	sites := slices.Values([]string{"example.org", "nowhere.invalid", "linuxfr.org"})

	batch := mapreduce.Map(ctx, client, GetTitle, sites)
	letters, err := mapreduce.Reduce(ctx, batch, 0, func(sum int, r mapreduce.Result[string, string]) (int, error) {
		if r.Err == nil { // returning the error instead would end the batch
			sum += len(r.Value)
		}
		return sum, nil
	})
	fmt.Println(letters, err)
	// Output: 40 <nil>
}

func Example_durable() {
	ctx, client, stop := exampleWorker(group.Config{}, fetchTitle)
	defer stop()
	sites := slices.Values([]string{"example.org", "linuxfr.org"}) // of a file, a range of numbers, a query with an order
	store := client.Store()

	batch := mapreduce.Map(ctx, client, GetTitle, sites, mapreduce.Durable("titles")) // the same call begins and resumes
	letters, err := mapreduce.Reduce(ctx, batch, 0, func(sum int, r mapreduce.Result[string, string]) (int, error) {
		return sum + len(r.Value), r.Err
	})
	switch {
	case errors.Is(err, mapreduce.ErrTakenOver): // somebody else runs it now
	case errors.Is(err, mapreduce.ErrOtherInputs): // sites are not what they were
	}

	checkpoint, lookErr := mapreduce.Checkpointed(ctx, store, "web", "titles") // from anywhere, while it runs or is interrupted

	fmt.Println(letters, err, checkpoint, errors.Is(lookErr, mapreduce.ErrNoCheckpoint))
	// Output: 40 <nil> <nil> true
}

func Example_shared() {
	handler := func(ctx context.Context, site string) (string, error) {
		agent, err := group.Shared(ctx).Get(ctx, "agent")
		return site + " for " + string(agent), err
	}
	ctx, client, stop := exampleWorker(group.Config{}, handler)
	defer stop()

	batch := mapreduce.Map(ctx, client, GetTitle, slices.Values([]string{"linuxfr.org"}))
	must(batch.Set(ctx, "agent", []byte("Mozilla"))) // before the loop; gone with the batch
	for r := range batch.Results() {
		fmt.Println(r.Value, r.Err)
	}
	// Output: linuxfr.org for Mozilla <nil>
}

func Example_deadLetters() {
	ctx, client, stop := exampleWorker(group.Config{}, fetchTitle)
	defer stop()
	_, err := GetTitle.Call(ctx, client, "nowhere.invalid")
	store, queue := client.Store(), "web"
	fmt.Println(err != nil)

	for letter, err := range reclaim.List(ctx, store, queue) {
		must(err)
		fmt.Printf("%s(%s): %s: %s\n", letter.Function, letter.Payload, letter.Reason, letter.Error)
		_, err = reclaim.Replay(ctx, store, queue, letter.ID) // or reclaim.Purge
		must(err)
	}
	// Output:
	// true
	// getTitle("nowhere.invalid"): dropped: no such host: nowhere.invalid
}

// must is what these examples do about an error.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// TestMain leaves the examples out with -short, as the tests that need a server leave themselves out.
func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		must(flag.Set("test.skip", "^Example"))
	}
	os.Exit(m.Run())
}

// bystander stands in for a test, which an example does not have: it keeps the cleanups and panics on failure.
type bystander struct {
	testing.TB
	cleanups []func()
}

func (o *bystander) Helper()                           {}
func (o *bystander) Cleanup(f func())                  { o.cleanups = append(o.cleanups, f) }
func (o *bystander) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (o *bystander) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (o *bystander) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// exampleStore starts a Redis server of its own. stop ends ctx, then all of it.
func exampleStore() (ctx context.Context, store *stream.Store, client *stream.Client, stop func()) {
	o := &bystander{}
	store, err := stream.NewStore(redistest.Start(o).Client(o), stream.Config{})
	must(err)
	client, err = stream.NewClient(store, stream.ClientConfig{})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	return ctx, store, client, func() {
		must(client.Close(ctx))
		cancel()
		for _, f := range slices.Backward(o.cleanups) {
			f()
		}
	}
}

// exampleWorker is exampleStore with a worker for GetTitle.
func exampleWorker(
	cfg group.Config, handler func(context.Context, string) (string, error),
) (ctx context.Context, client *stream.Client, stop func()) {
	ctx, store, client, end := exampleStore()
	worker, err := group.NewWorker(store, cfg)
	must(err)
	group.Handle(worker, GetTitle, handler)
	life, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(life) }()
	return ctx, client, func() {
		cancel()
		must(<-ended)
		end()
	}
}
