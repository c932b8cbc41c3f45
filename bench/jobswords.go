package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/athoune/worker-machine/mapreduce"
)

// The programs that count beside us. grep ends every file with a line end.
const (
	readAll  = `grep -rah --include='*.go' '' "$0" | `
	byAwk    = readAll + `awk '{ n = split($0, w, /[^A-Za-z0-9_]+/); for (i = 1; i <= n; i++) if (w[i] != "") c[w[i]]++ } END { for (k in c) print c[k], k }'`
	bySort   = readAll + `tr -cs 'A-Za-z0-9_' '\n' | sort | uniq -c`
	ofFanOut = 3 // words are counted so much less often
)

// wordCount is how one count went; the times of phases are what was seen every few milliseconds.
type wordCount struct {
	submitted, mapped, reduced, read time.Duration // of each
	progress                         mapreduce.RunProgress
	cpu                              float64 // of workers
	redis                            float64
	peak, left                       float64 // memory of Redis, above what it had before, MiB
	spent                            map[string]time.Duration
}

func (w *wordCount) all() time.Duration { return w.submitted + w.mapped + w.reduced + w.read }

// words measures the word count.
func (s *jobsSettings) words(ctx context.Context) (string, error) {
	want := countsOf(output(ctx, "sh", "-c", bySort, s.root))
	var b strings.Builder
	fmt.Fprintf(&b, "| | split | map tasks | total | submit | map | reduce | read | CPU of workers | of Redis | Redis' memory at most | after |\n")
	fmt.Fprintf(&b, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, c := range []struct{ workers, split int }{{1, 100}, {2, 100}, {4, 100}, {4, 10}, {4, 25}, {4, 400}} {
		best, err := s.bestCount(ctx, c.workers, c.split, want)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "| %d worker%s | %d | %d | **%s** | %s | %s | %s | %s | %.1f s | %.1f s | %.1f MiB | %+.1f MiB |\n", c.workers, plural(c.workers), c.split, best.progress.Maps,
			inSeconds(best.all()), inSeconds(best.submitted), inSeconds(best.mapped), inSeconds(best.reduced), inSeconds(best.read), best.cpu, best.redis, best.peak, best.left)
	}
	began := time.Now()
	if _, err := wordsJob(nil, 100).RunLocal(ctx, goFiles(s.root)); err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "| RunLocal, in one process | 100 | | **%s** |\n", inSeconds(time.Since(began)))
	for _, program := range []struct{ name, text string }{{"`grep \\| awk`", byAwk}, {"`grep \\| tr \\| sort \\| uniq`", bySort}} {
		began := time.Now()
		if got := countsOf(output(ctx, "sh", "-c", program.text, s.root)); !maps.Equal(got, want) {
			return "", fmt.Errorf("%s: found %d words, want %d", program.name, len(got), len(want))
		}
		fmt.Fprintf(&b, "| %s | | | **%s** |\n", program.name, inSeconds(time.Since(began)))
	}
	single, err := s.countWords(ctx, bedding{1, 1}, 100, want)
	if err != nil {
		return "", err
	}
	p := single.progress
	fmt.Fprintf(&b, "\n%d files, %d different words; with a split of 100, %d pairs in %.1f MiB went through the shuffle. All answers were equal to the last word.\n",
		p.Inputs, len(want), p.Pairs, float64(p.Bytes)/(1<<20))
	b.WriteString("\nWhere the time of tasks goes, by one worker that runs one task at a time, split 100:\n\n" + single.breakdown())
	return b.String(), nil
}

// bestCount is the quickest of some.
func (s *jobsSettings) bestCount(ctx context.Context, workers, split int, want map[string]string) (*wordCount, error) {
	var best *wordCount
	for range max(1, s.rounds/ofFanOut) {
		got, err := s.countWords(ctx, bedding{workers, 4}, split, want)
		if err != nil {
			return nil, fmt.Errorf("%d workers, split %d: %w", workers, split, err)
		}
		s.tell("words: %d workers, split %d: %v", workers, split, got.all())
		if best == nil || got.all() < best.all() {
			best = got
		}
	}
	return best, nil
}

// bedding is how many workers there are, and how many handlers each runs at a time.
type bedding struct{ workers, handlers int }

func (s *jobsSettings) countWords(ctx context.Context, on bedding, split int, want map[string]string) (*wordCount, error) {
	b, err := s.newBed(ctx, on.workers, job{CPUs: 1, Work: workOptions{Concurrency: on.handlers}})
	if err != nil {
		return nil, err
	}
	defer b.end()
	if err = b.rehearse(ctx); err != nil {
		return nil, err
	}
	w := &wordCount{}
	baseline, err := b.mebibytes(ctx)
	if err != nil {
		return nil, err
	}
	before, err := b.spent(ctx)
	if err != nil {
		return nil, err
	}
	redisBefore, err := b.cpu(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	run, err := wordsJob(nil, split).Submit(ctx, b.client, goFiles(s.root))
	if err != nil {
		return nil, err
	}
	w.submitted = time.Since(began)
	if err = w.watch(ctx, b, run, baseline); err != nil {
		return nil, err
	}
	after, err := b.spent(ctx)
	if err != nil {
		return nil, err
	}
	redisAfter, err := b.cpu(ctx)
	if err != nil {
		return nil, err
	}
	w.redis, w.cpu = redisAfter-redisBefore, after.CPU-before.CPU
	w.spent = after.Spent
	for name, took := range before.Spent {
		w.spent[name] -= took
	}
	if err = w.take(ctx, run, want); err != nil {
		return nil, err
	}
	return w, w.emptied(ctx, b, run.ID, baseline)
}

// rehearse counts a few words, so that connections and scripts are there.
func (b *bed) rehearse(ctx context.Context) error {
	run, err := wordsJob(nil, 1).Submit(ctx, b.client, slices.Values([]string{"jobs.go", "jobswords.go", "jobswork.go", "main.go", "rows.go", "lab.go"}))
	if err != nil {
		return err
	}
	for _, err := range run.Results(ctx) {
		if err != nil {
			return err
		}
	}
	return (&wordCount{}).emptied(ctx, b, run.ID, 0)
}

// watch notes when phases end, and how much Redis holds at most.
func (w *wordCount) watch(ctx context.Context, b *bed, run *mapreduce.Run[string, int], baseline float64) (err error) {
	began := time.Now()
	for w.progress.State != mapreduce.RunDone {
		if err = pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		if w.progress, err = run.Progress(ctx); err != nil {
			return err
		}
		used, err := b.mebibytes(ctx)
		if err != nil {
			return err
		}
		w.peak = max(w.peak, used-baseline)
		switch took := time.Since(began); w.progress.State {
		case mapreduce.RunMapping:
			w.mapped = took
		case mapreduce.RunReducing, mapreduce.RunDone:
			w.reduced = took - w.mapped
		default:
			return run.Wait(ctx)
		}
	}
	return nil
}

// take reads the results and compares them.
func (w *wordCount) take(ctx context.Context, run *mapreduce.Run[string, int], want map[string]string) error {
	began, got := time.Now(), make(map[string]string, len(want))
	for pair, err := range run.Results(ctx) {
		if err != nil {
			return err
		}
		got[pair.Key] = fmt.Sprint(pair.Value)
	}
	w.read = time.Since(began)
	if !maps.Equal(got, want) {
		return fmt.Errorf("found %d words, want %d, or other counts", len(got), len(want))
	}
	return nil
}

// emptied waits until nothing of the run is left, and notes by how much the memory of Redis has grown.
func (w *wordCount) emptied(ctx context.Context, b *bed, id string, baseline float64) error {
	for {
		left, err := b.left(ctx, id)
		if err != nil {
			return err
		}
		due, err := b.redis.ZCard(ctx, b.store.Keys(queueName).Due()).Result()
		if err != nil {
			return err
		}
		if len(left) == 0 && due == 0 {
			used, err := b.mebibytes(ctx)
			w.left = used - baseline
			return err
		}
		if err = pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%q are left: %w", left, err)
		}
	}
}

// mebibytes is the memory that Redis uses.
func (b *bed) mebibytes(ctx context.Context) (float64, error) {
	fields, err := b.info(ctx, "memory")
	return number(fields, "used_memory") / (1 << 20), err
}

// spent is what all workers did so far.
func (b *bed) spent(ctx context.Context) (report, error) {
	all := report{Spent: map[string]time.Duration{}}
	for _, p := range b.workers {
		if err := p.say("times"); err != nil {
			return all, err
		}
		r, err := p.await(ctx, "times")
		if err != nil {
			return all, err
		}
		all.CPU += r.CPU
		for name, took := range r.Spent {
			all.Spent[name] += took
		}
	}
	return all, nil
}

// breakdown is a table of what tasks did.
func (w *wordCount) breakdown() string {
	var b strings.Builder
	line := func(phase, what string, took, of time.Duration) {
		fmt.Fprintf(&b, "| %s | %s | %.2f s | %.0f %% |\n", phase, what, took.Seconds(), 100*took.Seconds()/max(of.Seconds(), 1e-9))
	}
	b.WriteString("| | | time | share of its phase |\n| --- | --- | --- | --- |\n")
	maps, reduces := w.spent[inMaps], w.spent[inReduces]
	put := w.spent["run_put shuffle"]
	get, out := w.spent["hmget shuffle"], w.spent["run_put out"]
	line("map", "mapper: read the file, cut it, emit", w.spent[inMapper], maps)
	line("map", "sort, combine, encode, begin and end", maps-w.spent[inMapper]-put, maps)
	line("map", "shuffle: send segments", put, maps)
	line("reduce", "shuffle: fetch segments", get, reduces)
	line("reduce", "merge, decode, reduce, encode, begin and end", reduces-get-out, reduces)
	line("reduce", "write results", out, reduces)
	return b.String()
}

// countsOf reads lines of a count and a word.
func countsOf(text string) map[string]string {
	counts := map[string]string{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 2 {
			counts[fields[1]] = fields[0]
		}
	}
	return counts
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
