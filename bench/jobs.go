package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/stream"
)

// jobsPage is the document that holds what is measured here.
const jobsPage = "mapreduce.md"

// jobsSettings are the flags of `bench jobs`.
type jobsSettings struct {
	only      string
	docs      string
	root      string
	rounds    int
	straggler time.Duration
	tasks     int
	progress  io.Writer
}

// jobsParts are what can be measured, each with how to write it.
var jobsParts = map[string]func(*jobsSettings, context.Context) (string, error){
	"words":     (*jobsSettings).words,
	"straggler": (*jobsSettings).stragglers,
	"fanout":    (*jobsSettings).fanOut,
}

// runJobs measures map/reduce jobs, prints tables, and writes them into the page unless told not to.
func runJobs(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s := jobsSettings{progress: stderr}
	flags := flag.NewFlagSet("bench jobs", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.only, "only", "words,straggler,fanout", "only these `parts`")
	flags.StringVar(&s.docs, "docs", "", "write the tables into "+jobsPage+" in this `directory`")
	flags.StringVar(&s.root, "root", filepath.Join(goRoot(ctx), "src"), "count the words of the Go files in this `directory`")
	flags.IntVar(&s.rounds, "rounds", 5, "how often fan-out is measured; words a third of it, at least once")
	flags.DurationVar(&s.straggler, "straggler", time.Minute, "how `long` the slow task takes")
	flags.IntVar(&s.tasks, "tasks", 30_000, "`number` of tasks of the fan-out")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || s.rounds < 1 || s.tasks < 100 || s.straggler < time.Second {
		return errors.New("no arguments, please, 100 tasks at least, and a straggler of 1s or more; see -help")
	}
	parts, err := s.measure(ctx, stdout)
	if err != nil || s.docs == "" {
		return err
	}
	name := filepath.Join(s.docs, jobsPage)
	page, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if page, err = fillJobs(page, parts); err != nil {
		return err
	}
	return os.WriteFile(name, page, 0o644)
}

// measure measures the parts, and prints each when it is done.
func (s *jobsSettings) measure(ctx context.Context, stdout io.Writer) (map[string]string, error) {
	parts := map[string]string{}
	before := load()
	for _, name := range strings.Split(s.only, ",") {
		part, ok := jobsParts[name]
		if !ok {
			return nil, fmt.Errorf("there is no part %s", name)
		}
		text, err := part(s, ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		parts[name] = text
		if _, err := fmt.Fprintf(stdout, "%s\n%s\n", name, text); err != nil {
			return nil, err
		}
	}
	parts["machine"] = jobsMachine(ctx, before)
	_, err := fmt.Fprint(stdout, parts["machine"])
	return parts, err
}

// fillJobs puts parts between their marks, <!-- jobs:NAME --> and <!-- end -->. What was not measured stays.
func fillJobs(page []byte, parts map[string]string) ([]byte, error) {
	for name, text := range parts {
		mark := []byte("<!-- jobs:" + name + " -->\n")
		before, rest, found := bytes.Cut(page, mark)
		_, after, ended := bytes.Cut(rest, []byte("<!-- end -->"))
		if !found || !ended {
			return nil, fmt.Errorf("the page has no mark %s with an end", bytes.TrimSpace(mark))
		}
		page = slices.Concat(before, mark, []byte("\n"+strings.TrimSpace(text)+"\n\n<!-- end -->"), after)
	}
	return page, nil
}

func jobsMachine(ctx context.Context, before string) string {
	all, found := machine(), versions(ctx)
	all["load before"], all["load after"] = before, load()
	for _, name := range []string{"go", "redis-server", ownName} {
		all[name] = found[name]
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "- %s: %s\n", name, all[name])
	}
	return b.String()
}

// bed is a server with workers of its own.
type bed struct {
	*server
	store   *stream.Store
	client  *stream.Client
	workers []*process
	close   []func()
}

// jobsRole is the role of worker processes here; see jobsWorker.
const jobsRole = "jobs"

// newBed starts a server, and workers that play the same part.
func (s *jobsSettings) newBed(ctx context.Context, workers int, j job) (b *bed, err error) {
	b = &bed{}
	defer func() {
		if err != nil {
			b.end()
		}
	}()
	dir, err := os.MkdirTemp("", "bench-jobs")
	if err != nil {
		return b, err
	}
	b.close = append(b.close, func() { _ = os.RemoveAll(dir) })
	if b.server, err = redisBackend(ctx, place{dir: dir}); err != nil {
		return b, err
	}
	b.close = append(b.close, b.stop)
	client := redis.NewClient(&redis.Options{Addr: b.address})
	if b.store, err = stream.NewStore(client, stream.Config{}); err != nil {
		return b, err
	}
	b.close = append(b.close, func() { _ = b.store.Close(); _ = client.Close() })
	if b.client, err = stream.NewClient(b.store, stream.ClientConfig{}); err != nil {
		return b, err
	}
	b.close = append(b.close, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = b.client.Close(ending)
	})
	j.Role, j.System, j.Address = jobsRole, ownName, b.address
	for range workers {
		p, err := spawn(ctx, j)
		if err != nil {
			return b, err
		}
		b.workers = append(b.workers, p)
		b.close = append(b.close, p.stop)
		if _, err = p.await(ctx, "ready"); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (b *bed) end() {
	for _, one := range slices.Backward(b.close) {
		one()
	}
}

// left is the keys of runs that are there.
func (b *bed) left(ctx context.Context, id string) (found []string, err error) {
	for cursor := uint64(0); ; {
		names, next, err := b.redis.Scan(ctx, cursor, "*", 1000).Result()
		if err != nil {
			return nil, err
		}
		found = append(found, slices.DeleteFunc(names, func(name string) bool {
			return !strings.Contains(name, id) && !strings.HasSuffix(name, ":runs")
		})...)
		if cursor = next; cursor == 0 {
			return found, nil
		}
	}
}

func (s *jobsSettings) tell(format string, args ...any) {
	_, _ = fmt.Fprintf(s.progress, format+"\n", args...) // nobody has to see it
}

func goRoot(ctx context.Context) string { return strings.TrimSpace(output(ctx, "go", "env", "GOROOT")) }
