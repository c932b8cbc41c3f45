package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/embedded"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
	"github.com/athoune/worker-machine/cmd/worker-machine/internal/site"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// demoCrews are the numbers of worker processes the demo shows.
var demoCrews = []int{1, 4, 10}

// getTitle is the function of the demo: it fetches a page and returns its title.
func getTitle(queue string) stream.Func[string, string] {
	return stream.Func[string, string]{Name: "getTitle", Queue: queue}
}

const demoQueue = "web"

func (a *app) demoCommand() *cobra.Command {
	var delay time.Duration
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Fetch the titles of ten slow pages with 1, 4 and 10 worker processes",
		Long: `Fetch the titles of ten slow pages with 1, 4 and 10 worker processes, and show how long that takes.

It needs nothing: the pages are served by this program, one of them fails, the workers are processes of it, and so is the Redis
unless --redis names a real one (REDIS_URL is not looked at). Nothing is left behind.`,
		Example: "  worker-machine demo\n  worker-machine demo --delay 200ms --json\n  worker-machine demo --redis redis://127.0.0.1:6379",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), delay) },
	}
	cmd.Flags().DurationVar(&delay, "delay", time.Second, "how long a page takes to answer")
	return cmd
}

// demoRun is one line of the demo's table, and one object of --json.
type demoRun struct {
	Workers int     `json:"workers"`
	Done    int     `json:"done"`
	Failed  int     `json:"failed"`
	Seconds float64 `json:"seconds"`
	Ideal   float64 `json:"ideal_seconds"`
}

func (a *app) demo(ctx context.Context, delay time.Duration) (err error) {
	const shortest = time.Millisecond
	if delay < shortest {
		return usagef("--delay: at least %v", shortest)
	}
	if a.redis == "" {
		server, err := embedded.Start("127.0.0.1:0")
		if err != nil {
			return err
		}
		defer server.Close()
		a.redis = server.URL()
	}
	a.prefix += "-demo-" + strings.ToLower(stream.NewID())
	target, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	defer func() { err = errors.Join(err, forget(context.WithoutCancel(ctx), target.client, a.prefix)) }()
	pages, err := site.Start(ctx, delay)
	if err != nil {
		return err
	}
	defer pages.Close()
	crew := newCrew(a)
	defer func() { err = errors.Join(err, crew.dismiss()) }()
	runs, err := a.demoRuns(ctx, target, pages, crew, delay)
	if err != nil {
		return err
	}
	return a.printRuns(runs)
}

// demoRuns maps the pages over each crew.
func (a *app) demoRuns(ctx context.Context, target *connection, pages *site.Site, crew *crew, delay time.Duration) ([]demoRun, error) {
	a.tell("Ten pages, each of which takes %v to answer; one of them fails.\n", delay)
	client, err := stream.NewClient(target.store, stream.ClientConfig{LaneTTL: time.Minute})
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close(context.WithoutCancel(ctx)) }()
	var runs []demoRun
	for _, workers := range demoCrews {
		if err := crew.grow(ctx, workers); err != nil {
			return nil, err
		}
		a.tell("\n%s:\n", counted(workers, "worker process", "worker processes"))
		rounds := (site.Pages + workers - 1) / workers
		run := demoRun{Workers: workers, Ideal: (time.Duration(rounds) * delay).Seconds()}
		began := time.Now()
		batch := mapreduce.Map(ctx, client, getTitle(demoQueue), slices.Values(pages.URLs()),
			mapreduce.TaskOptions(stream.MaxAttempts(1)))
		for result := range batch.Results() {
			a.tellResult(time.Since(began), result)
			if result.Err != nil {
				run.Failed++
			} else {
				run.Done++
			}
		}
		run.Seconds = time.Since(began).Seconds()
		if err := batch.Err(); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// tell writes what is for people; with --json there is none of it.
func (a *app) tell(format string, args ...any) {
	if !a.json {
		_ = a.printf(format, args...)
	}
}

func (a *app) tellResult(at time.Duration, r mapreduce.Result[string, string]) {
	what := r.Value
	if r.Err != nil {
		what = "error: " + r.Err.Error()
		var task *stream.TaskError
		if errors.As(r.Err, &task) {
			what = "error: " + task.Message
		}
	}
	a.tell("  %6.2fs  %s\n", at.Seconds(), plain.Line(what))
}

func (a *app) printRuns(runs []demoRun) error {
	if a.json {
		for i := range runs {
			const thousandth = 1000
			runs[i].Seconds = float64(int(runs[i].Seconds*thousandth+0.5)) / thousandth
		}
		return a.printJSON(map[string]any{"runs": runs})
	}
	rows := make([][]string, len(runs))
	for i, run := range runs {
		rows[i] = []string{
			fmt.Sprint(run.Workers), fmt.Sprint(run.Done), fmt.Sprint(run.Failed),
			fmt.Sprintf("%.2f s", run.Seconds), fmt.Sprintf("%.2f s", run.Ideal),
		}
	}
	a.tell("\n")
	return plain.Table(a.stdout, []string{"workers", "titles", "errors", "time", "ideal"}, rows)
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// forget removes all keys of a prefix. Nobody else has this prefix.
func forget(ctx context.Context, client redis.UniversalClient, prefix string) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	remove := func(ctx context.Context, node redis.Cmdable) error {
		var cursor uint64
		for {
			keys, next, err := node.Scan(ctx, cursor, prefix+":*", 1000).Result()
			if err != nil {
				return err
			}
			for _, key := range keys { // one by one: on a cluster they are in different slots
				if err := client.Unlink(ctx, key).Err(); err != nil {
					return err
				}
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}
	var err error
	if cluster, ok := client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return remove(ctx, node) })
	} else {
		err = remove(ctx, client)
	}
	if err != nil {
		return fmt.Errorf("remove the keys of the demo (%s:*): %w", prefix, err)
	}
	return nil
}
