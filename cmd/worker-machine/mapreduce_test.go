package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/programs"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
)

// The programs of a word count.
const (
	wordsMap    = `LC_ALL=C tr -cs a-z '\n' | sed '/^$/d; s/$/\t1/'`
	wordsReduce = `awk -F '\t' '$1 != k { if (NR > 1) print k "\t" n; k = $1; n = 0 } { n += $2 } END { print k "\t" n }'`
)

var wordsFlags = []string{"--shell", "--map", wordsMap, "--reduce", wordsReduce}

// corpus writes files of words into a directory, and returns what counting them gives.
func corpus(t *testing.T, files int) (dir, text, want string) {
	t.Helper()
	dir = t.TempDir()
	counts := map[string]int{}
	var all strings.Builder
	for i := range files {
		var b strings.Builder
		for j := range 200 + 37*i {
			word := []string{"the", "a", "map", "of", "words", strings.Repeat("x", i+1)}[(j*j+i)%6]
			counts[word]++
			b.WriteString(word + []string{" ", "\n", ", ", "\r\n"}[j%4])
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.txt", i)), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		all.WriteString(b.String() + "\n")
	}
	var lines []string
	for word, n := range counts {
		lines = append(lines, fmt.Sprintf("%s\t%d\n", word, n))
	}
	slices.Sort(lines)
	return dir, all.String(), strings.Join(lines, "")
}

func mapreduceArgs(args ...string) []string {
	return append(append([]string{"mapreduce"}, wordsFlags...), args...)
}

func TestMapreduceLocal(t *testing.T) {
	t.Parallel()
	dir, text, want := corpus(t, 5)
	c := consoleAt(t, "redis://127.0.0.1:1") // there is none
	for name, args := range map[string][]string{
		"as it is":      {"--input", dir + "/*.txt"},
		"below":         {"--input", filepath.Dir(dir) + "/**/*.txt"},
		"small splits":  {"--input", dir + "/*", "--split", "100", "--combine"},
		"one partition": {"--input", dir + "/*.txt", "--partitions", "1", "--per-file", "-c", "1"},
		"stdin":         {"--input", "-", "--split", "1k"},
	} {
		if got := c.must(text, mapreduceArgs(append(args, "--local", "--progress", "always")...)...); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	out := filepath.Join(t.TempDir(), "result")
	_, errs, _ := c.run("", mapreduceArgs("--local", "--input", dir+"/*.txt", "--output", out, "--partitions", "3")...)
	wantAll(t, errs, "1 map tasks, 3 reduce tasks, ")
	var lines []string
	for i := range 3 {
		text, err := os.ReadFile(filepath.Join(out, fmt.Sprintf("part-%05d", i)))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, slices.Collect(strings.Lines(string(text)))...)
	}
	slices.Sort(lines)
	if got := strings.Join(lines, ""); got != want {
		t.Errorf("files: got\n%s", got)
	}
	_, errs, code := c.run("", mapreduceArgs("--local", "--input", dir+"/*.txt", "--output", out)...)
	if code != exitUsage {
		t.Errorf("a directory that is not empty: exit code %d", code)
	}
	wantAll(t, errs, "is not empty; name a directory that is not there")
	first, _, _ := strings.Cut(c.must("", mapreduceArgs("--local", "--input", dir+"/*.txt", "--json")...), "\n")
	if first != `{"key":"a","value":"`+strings.TrimPrefix(strings.SplitN(want, "\n", 2)[0], "a\t")+`"}` {
		t.Errorf("JSON: %s", first)
	}
}

func TestMapreduceFailures(t *testing.T) {
	t.Parallel()
	dir, _, _ := corpus(t, 2)
	c := consoleAt(t, "redis://127.0.0.1:1")
	out := filepath.Join(t.TempDir(), "result")
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no input":            {[]string{"--map", "cat", "--reduce", "cat"}, exitUsage, "--input is missing"},
		"no programs":         {[]string{"--input", dir + "/*"}, exitUsage, "--map: it is missing"},
		"missing program":     {[]string{"--input", dir + "/*", "--map", "no-such-program", "--reduce", "cat"}, exitUsage, `--map: program "no-such-program": not found`},
		"shell text":          {[]string{"--input", dir + "/*", "--map", "cat | wc", "--reduce", "cat"}, exitUsage, "--shell"},
		"no file matches":     {[]string{"--input", dir + "/*.none", "--map", "cat", "--reduce", "cat"}, exitFailed, "no file matches"},
		"none below":          {[]string{"--input", dir + "/**/*.none", "--map", "cat", "--reduce", "cat"}, exitFailed, "no file matches"},
		"bad pattern":         {[]string{"--input", dir + "/[", "--map", "cat", "--reduce", "cat"}, exitUsage, "it is no pattern"},
		"bad pattern below":   {[]string{"--input", dir + "/**/a/b", "--map", "cat", "--reduce", "cat"}, exitUsage, "only the name of a file"},
		"missing file":        {[]string{"--input", dir + "/gone", "--map", "cat", "--reduce", "cat"}, exitFailed, "gone: no such file"},
		"directory":           {[]string{"--input", dir, "--map", "cat", "--reduce", "cat"}, exitFailed, "is a directory; name its files, as in '" + dir + "/*'"},
		"stdin and a file":    {[]string{"--input", "-", "--input", dir + "/0.txt", "--map", "cat", "--reduce", "cat"}, exitUsage, "cannot stand beside files"},
		"failing map":         {[]string{"--input", dir + "/0.txt", "--map", "sh -c 'echo oh >&2; exit 3'", "--reduce", "cat", "--output", out}, exitFailed, "map task 0 (" + dir + "/0.txt): sh: exit status 3: oh"},
		"killed map":          {[]string{"--input", dir + "/*", "--map", "sh -c 'kill -9 $$'", "--reduce", "cat"}, exitFailed, "sh: signal: killed"},
		"failing reduce":      {[]string{"--input", dir + "/*", "--map", "cat", "--reduce", "false"}, exitFailed, "false: exit status 1"},
		"split":               {[]string{"--input", dir + "/*", "--map", "cat", "--reduce", "cat", "--split", "big"}, exitUsage, "64KiB, 8MiB or 1GiB"},
		"split of stdin":      {[]string{"--input", "-", "--map", "cat", "--reduce", "cat", "--split", "8MiB"}, exitUsage, "4MiB at most"},
		"partitions":          {[]string{"--input", dir + "/*", "--map", "cat", "--reduce", "cat", "--partitions", "0"}, exitUsage, "--partitions: 1 to 1024"},
		"combine without =":   {[]string{"--input", "-", "--map", "cat", "--reduce", "cat", "--combine", "sort -u"}, exitUsage, "write --combine='sort -u', or --combine alone for the reduce program"},
		"local with a queue":  {[]string{"--queue", "q", "--input", "-", "--map", "cat", "--reduce", "cat"}, exitUsage, "local queue"},
		"output with --json":  {[]string{"--json", "--output", out, "--input", dir + "/*", "--map", "cat", "--reduce", "cat"}, exitUsage, "leave --json away"},
		"nowhere for outputs": {[]string{"--output", dir + "/no/where", "--input", dir + "/*", "--map", "cat", "--reduce", "cat"}, exitFailed, "--output: "},
	} {
		stdout, errs, code := c.run("", append([]string{"mapreduce", "--local"}, test.args...)...)
		if code != test.code || stdout != "" {
			t.Errorf("%s: exit code %d, want %d; stdout %q", name, code, test.code, stdout)
		}
		wantAll(t, errs, test.want)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("what failed left a result")
	}
	if left, _ := filepath.Glob(filepath.Dir(out) + "/.*"); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func workFlagsFor(more ...string) []string {
	return append(append([]string{"--mapreduce"}, wordsFlags...), more...)
}

func TestMapreduceOnWorkers(t *testing.T) {
	t.Parallel()
	dir, text, want := corpus(t, 6)
	server := redistest.Start(t)
	c := consoleAt(t, server.URL())
	c.work(workFlagsFor()...)
	c.work(workFlagsFor("--root", dir)...)
	for name, args := range map[string][]string{
		"files":   {"--input", dir + "/*.txt", "--split", "500"},
		"shipped": {"--input", dir + "/*.txt", "--split", "500", "--ship", "--progress", "always"},
		"stdin":   {"--input", "-", "--split", "300", "--partitions", "3"},
	} {
		out, errs, code := c.run(text, mapreduceArgs(args...)...)
		if code != 0 || out != want {
			t.Errorf("%s: exit code %d, got\n%s\nwant\n%s%s", name, code, out, want, errs)
		}
		wantAll(t, errs, "run 01", " map tasks, ", "on queue programs-", "0 of them failed, 9 lines in ")
	}
	_, errs, _ := c.run("", "runs")
	wantAll(t, errs, "no runs")
	for _, key := range server.Client(t).Keys(t.Context(), "*").Val() {
		if strings.Contains(key, ":run") || strings.Contains(key, "/") {
			t.Errorf("key %s is left", key)
		}
	}
	// A file outside of what one of the two reads: the other one may get it, or none of the attempts.
	_, errs, code := c.run("", mapreduceArgs("--input", dir+"/0.txt", "--input", "/dev/null")...)
	if code != exitFailed {
		t.Errorf("a device: exit code %d", code)
	}
	wantAll(t, errs, "/dev/null is no file that can be cut")
}

// TestRunsGoOnAlone leaves a run without workers, looks at it, starts a worker and comes back.
func TestRunsGoOnAlone(t *testing.T) {
	t.Parallel()
	dir, _, want := corpus(t, 3)
	c := newConsole(t)
	id := strings.TrimSpace(c.must("", mapreduceArgs("--input", dir+"/*.txt", "--detach", "--combine")...))
	wantAll(t, c.must("", "runs"), id, "mapping", "0/1", "0/16", "tr -cs")
	wantAll(t, c.must("", "runs", "show", id), "state     mapping", "0 of 1 tasks", dir+"/*.txt", "awk -F")
	var record runRecord
	if err := json.Unmarshal([]byte(c.must("", "runs", "show", "--json", id)), &record); err != nil || record.ID != id || record.Maps != 1 {
		t.Errorf("got %+v, %v", record, err)
	}
	s := c.start("runs", "resume", id)
	s.stderr.await(t, "no worker has the programs of this run yet; start one: worker-machine work --mapreduce --map 'LC_ALL=C tr -cs a-z '\\''\\n'\\''")
	s.ctrlC()
	if code := s.wait(); code != exitFailed {
		t.Errorf("exit code %d after ctrl-C", code)
	}
	wantAll(t, s.stderr.String(), "interrupted.\nRun "+id+" goes on; come back with: worker-machine runs resume "+id)
	c.work(workFlagsFor("--combine")...)
	if got := c.must("", "runs", "resume", id); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	_, errs, code := c.run("", "runs", "resume", id)
	if code != exitFailed {
		t.Errorf("once more: exit code %d", code)
	}
	wantAll(t, errs, "there is no run "+id)

	id = strings.TrimSpace(c.must("", "mapreduce", "--input", dir+"/*", "--map", "cat", "--reduce", "cat", "--detach"))
	_, errs, _ = c.run("", "runs", "cancel", id)
	wantAll(t, errs, "run "+id+" is cancelled")
	_, errs, code = c.run("", "runs", "cancel", id)
	if code != exitFailed {
		t.Errorf("cancelled twice: exit code %d", code)
	}
	wantAll(t, errs, "there is no run "+id)
}

// TestFailuresOfRuns has programs that fail, files that change, and a worker that may not read them.
func TestFailuresOfRuns(t *testing.T) {
	t.Parallel()
	dir, _, _ := corpus(t, 2)
	c := newConsole(t)
	c.work("--mapreduce", "--map", "sh -c 'echo oh no >&2; exit 3'", "--reduce", "cat", "--backoff-min", "1ms", "--backoff-max", "1ms")
	out, errs, code := c.run("", "mapreduce", "--input", dir+"/*.txt", "--map", "sh -c 'echo oh no >&2; exit 3'", "--reduce", "cat", "--max-attempts", "2")
	if code != exitFailed || out != "" {
		t.Errorf("exit code %d, stdout %q", code, out)
	}
	wantAll(t, errs, "tasks of the run failed", "map task 0 (inputs 0 to 0)", "attempt 2", "sh: exit status 3: oh no")

	cat := []string{"--map", "cat", "--reduce", "cat"}
	id := strings.TrimSpace(c.must("", append([]string{"mapreduce", "--input", dir + "/0.txt", "--detach"}, cat...)...))
	if err := os.WriteFile(dir+"/0.txt", []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.work(append([]string{"--mapreduce", "--root", dir}, cat...)...)
	_, errs, code = c.run("", "runs", "resume", id)
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "0.txt has 8 bytes, and had ", "start a new run")

	other, _, _ := corpus(t, 1)
	_, errs, code = c.run("", append([]string{"mapreduce", "--input", other + "/*.txt"}, cat...)...)
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "lies outside of what this worker reads; allow it with --root")
}

// TestAnInterruptedSubmitGoesOn ends a submit when a part of its inputs is stored, and goes on with it from another process.
func TestAnInterruptedSubmitGoesOn(t *testing.T) {
	t.Parallel()
	dir, _, want := corpus(t, 4)
	c := newConsole(t)
	ctx, cancel := context.WithCancel(t.Context())
	a := &app{env: c.env, stderr: newTranscript(), prefix: defaultPrefix, log: zap.NewNop()}
	target, client, hangUp, err := a.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp()
	f := reduceFlags{inputs: []string{dir + "/*.txt"}, split: 200}
	f.programs.spec = programs.Spec{Map: wordsMap, Reduce: wordsReduce, Shell: true}
	l := &launch{app: a, target: target, client: client, id: stream.NewID(), queue: queueOf(f.programs.spec, nil)}
	l.note = programs.Description{Spec: f.programs.spec, Inputs: f.inputs, Split: int64(f.split), Attempts: 4}
	l.newJob(ctx, jobName(l.note.Spec, nil), 5)
	paths, err := expand(f.inputs)
	if err != nil {
		t.Fatal(err)
	}
	splits, _, err := f.splits(nil, paths)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.submit(ctx, func(yield func(programs.Split, error) bool) {
		n := 0
		for split := range splits {
			if n++; n == 5 {
				redistest.Eventually(t, patience, func() bool { return strings.Contains(c.must("", "runs", "--json"), `"maps":3,`) }, "some inputs are stored")
				cancel()
				yield(split, ctx.Err())
				return
			}
			if !yield(split, nil) {
				return
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "go on with: worker-machine runs resume "+l.id) {
		t.Errorf("got %v", err)
	}
	wantAll(t, c.must("", "runs"), l.id, "open", "0/3")
	c.work(workFlagsFor()...)
	if got := c.must("", "runs", "resume", l.id); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestARunOutlivesItsCommand kills the command that waits with kill -9.
func TestARunOutlivesItsCommand(t *testing.T) {
	t.Parallel()
	dir, text, want := corpus(t, 2)
	c := newConsole(t)
	for _, args := range [][]string{{"--input", dir + "/*.txt"}, {"--input", "-"}} {
		cmd, _, stderr := c.processOf(strings.NewReader(text), mapreduceArgs(args...)...)
		stderr.await(t, "run 01")
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	c.work(workFlagsFor()...)
	for line := range strings.Lines(c.must("", "runs", "--json")) {
		var record runRecord
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if got := c.must("", "runs", "resume", record.ID); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// secretFile makes a file for --secret-file.
func secretFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSignedRuns(t *testing.T) {
	t.Parallel()
	dir, text, want := corpus(t, 3)
	key := strings.Repeat("0123456789abcdef", 2)
	mine, same, other := secretFile(t, key+"\n", 0o600), secretFile(t, key, 0o400), secretFile(t, strings.Repeat("x", 32), 0o600)
	c := newConsole(t)
	c.work("--mapreduce", "--secret-file", mine)
	if got := c.must("", mapreduceArgs("--input", dir+"/*.txt", "--secret-file", same)...); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := c.must(text, "mapreduce", "--input", "-", "--map", "sh -c 'cat > /dev/null; echo signed'", "--reduce", "uniq", "--secret-file", same); got != "signed\n" {
		t.Errorf("other programs: got %q", got)
	}
	dir2 := t.TempDir()
	mark := filepath.Join(dir2, "mark")
	evil := []string{"mapreduce", "--shell", "--map", "touch " + mark, "--reduce", "touch " + mark, "--input", dir + "/*.txt"}
	_, errs, code := c.run("", append(evil, "--secret-file", other)...)
	if code != exitFailed {
		t.Errorf("another secret: exit code %d", code)
	}
	wantAll(t, errs, "it is not signed with the secret of this worker", "dropped")
	// Without a secret, and sent to the queue of those that have one.
	_, errs, code = c.run("", append(evil, "--queue", signedQueue, "--max-attempts", "1")...)
	if code != exitFailed {
		t.Errorf("no secret: exit code %d", code)
	}
	wantAll(t, errs, "A worker of queue mapreduce does not have the programs; all of its workers should be: worker-machine work --mapreduce --map")
	if _, err := os.Stat(mark); err == nil {
		t.Error("a program ran that nobody signed")
	}
	// Somebody who can write to Redis puts other programs into a run that was signed.
	c2 := newConsole(t)
	id := strings.TrimSpace(c2.must("", mapreduceArgs("--input", dir+"/*.txt", "--secret-file", same, "--detach")...))
	options, err := redis.ParseURL(strings.TrimPrefix(c2.env[1], "REDIS_URL="))
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	forged := programs.Description{Spec: programs.Spec{Map: "touch " + mark, Reduce: "cat"}}
	if err := client.HSet(t.Context(), "wm:{mapreduce}:run:"+id, "note", forged.Text()).Err(); err != nil {
		t.Fatal(err)
	}
	c2.work("--mapreduce", "--secret-file", mine)
	_, errs, code = c2.run("", "runs", "resume", id)
	if code != exitFailed {
		t.Errorf("a forged run: exit code %d", code)
	}
	wantAll(t, errs, "it is not signed with the secret of this worker", `programs "touch `)
	if _, err := os.Stat(mark); err == nil {
		t.Error("a forged program ran")
	}
	for name, test := range map[string]struct{ path, want string }{
		"short":    {secretFile(t, strings.Repeat("x", 31)+"\n\n", 0o600), "holds a secret of 31 bytes"},
		"readable": {secretFile(t, key, 0o640), "others may use"},
		"missing":  {filepath.Join(dir2, "gone"), "no such file"},
		"no file":  {dir2, "is not a file"},
	} {
		for _, args := range [][]string{{"work", "--mapreduce", "--secret-file", test.path}, append(evil, "--secret-file", test.path)} {
			_, errs, code := c.run("", args...)
			if code != exitUsage {
				t.Errorf("%s: exit code %d", name, code)
			}
			wantAll(t, errs, "--secret-file: ", test.want)
		}
	}
}

// TestWorkersRunOnlyWhatTheyWereTold sends a run to the queue of a worker with other programs.
func TestWorkersRunOnlyWhatTheyWereTold(t *testing.T) {
	t.Parallel()
	dir, _, _ := corpus(t, 1)
	mark := filepath.Join(t.TempDir(), "mark")
	c := newConsole(t)
	c.work("--mapreduce", "--map", "cat", "--reduce", "cat", "--queue", "q")
	_, errs, code := c.run("", "mapreduce", "--queue", "q", "--map", "touch "+mark, "--reduce", "cat", "--input", dir+"/*", "--max-attempts", "1")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "no handler for function programs-", "worker-machine work --mapreduce --map 'touch "+mark+"' --reduce 'cat' --queue q")
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program ran")
	}
}
