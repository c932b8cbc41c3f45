package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/internal/redistest"
)

// canary is a password that no output may show.
const canary = "cAnArY-42"

func TestHelp(t *testing.T) {
	t.Parallel()
	var check func(path []string, cmd *cobra.Command)
	check = func(path []string, cmd *cobra.Command) {
		name := strings.Join(path, " ")
		if len(path) > 0 && path[0] == "completion" || cmd.Name() == "help" {
			return // cobra's own
		}
		if cmd.Short == "" || !cmd.Hidden && cmd.Example == "" {
			t.Errorf("%q has no summary or no example", name)
		}
		c := consoleAt(t, "redis://:"+canary+"@127.0.0.1:1")
		out := c.must("", append(path, "--help")...)
		wantAll(t, out, "Usage:")
		for _, example := range strings.Split(cmd.Example, "\n") {
			if !strings.Contains(out, strings.TrimSpace(example)) {
				t.Errorf("%q: the help lacks the example %q", name, example)
			}
		}
		if strings.Contains(out, canary) {
			t.Errorf("%q: the help shows the password:\n%s", name, out)
		}
		for _, sub := range cmd.Commands() {
			check(append(path[:len(path):len(path)], sub.Name()), sub)
		}
	}
	check(nil, (&app{}).root())
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string
	}{
		"unknown command":          {[]string{"bogus"}, `unknown command "bogus"`},
		"almost a command":         {[]string{"queuse"}, "did you mean queues?"},
		"almost a subcommand":      {[]string{"dead", "lst"}, "did you mean list?"},
		"unknown flag":             {[]string{"stats", "--bogus"}, "unknown flag: --bogus"},
		"log level":                {[]string{"stats", "--log-level", "loud"}, "debug, info, warn, error"},
		"prefix":                   {[]string{"stats", "--prefix", "a{b"}, "--prefix: "},
		"queue name":               {[]string{"enqueue", "--queue", "a b", "f"}, `--queue: queue name "a b"`},
		"queue name of stats":      {[]string{"stats", "-q"}, "unknown shorthand"},
		"queue argument of stats":  {[]string{"stats", "a\x1b[31mb"}, `queue name "a\x1b[31mb"`},
		"queue name of dead":       {[]string{"dead", "list", "--queue", ".x"}, "--queue: "},
		"function name":            {[]string{"enqueue", "f;rm"}, `function name "f;rm"`},
		"no function":              {[]string{"call"}, "the name of the function is missing"},
		"payload in words":         {[]string{"call", "f", "a", "b"}, "in quotes"},
		"map with two":             {[]string{"map", "f", "x"}, "one function"},
		"map window":               {[]string{"map", "f", "--window", "0"}, "--window"},
		"map progress":             {[]string{"map", "f", "--progress", "maybe"}, "--progress"},
		"map two ends":             {[]string{"map", "f", "--fail-fast", "--fail-after", "2"}, "fail-after fail-fast"},
		"map halt and fail fast":   {[]string{"map", "f", "--fail-fast", "--halt", "soon"}, "fail-fast halt"},
		"map halt":                 {[]string{"map", "f", "--halt", "later"}, "never, soon or now"},
		"map retries":              {[]string{"map", "f", "--retries", "0"}, "--retries: at least 1"},
		"map retries and attempts": {[]string{"map", "f", "--retries", "2", "--max-attempts", "3"}, "max-attempts retries"},
		"map resume of nothing":    {[]string{"map", "f", "--resume"}, "--joblog FILE"},
		"header":                   {[]string{"enqueue", "f", "--header", "x"}, "name=value"},
		"header name":              {[]string{"enqueue", "f", "--header", "a b=x"}, `header name "a b"`},
		"time":                     {[]string{"enqueue", "f", "--at", "soon"}, "--at: not a time"},
		"after and at":             {[]string{"enqueue", "f", "--after", "1s", "--at", "2030-01-01 00:00"}, "after at"},
		"less than nothing":        {[]string{"enqueue", "f", "--timeout", "-1s"}, "cannot be less"},
		"no handle":                {[]string{"work"}, "--handle is missing"},
		"handle without program":   {[]string{"work", "--handle", "f"}, "name=program"},
		"handle twice":             {[]string{"work", "--handle", "f=cat", "--handle", "f=cat"}, "it is there twice"},
		"missing program":          {[]string{"work", "--handle", "f=no-such-program x"}, `program "no-such-program": not found`},
		"shell text":               {[]string{"work", "--handle", "f=cat | wc"}, "--shell"},
		"open quote":               {[]string{"work", "--handle", "f=cat 'x"}, "a quote is not closed"},
		"bare mapreduce":           {[]string{"work", "--mapreduce"}, "with --map 'PROGRAM' --reduce 'PROGRAM' as in worker-machine mapreduce; or whom it trusts, with --secret-file FILE"},
		"programs for nothing":     {[]string{"work", "--handle", "f=cat", "--map", "cat"}, "go with --mapreduce"},
		"programs and a secret":    {[]string{"work", "--mapreduce", "--map", "cat", "--reduce", "cat", "--secret-file", "x"}, "not both"},
		"half of the programs":     {[]string{"work", "--mapreduce", "--map", "cat"}, "--reduce: it is missing"},
		"program of a worker":      {[]string{"work", "--mapreduce", "--map", "no-such-program", "--reduce", "cat"}, "no-such-program"},
		"root":                     {[]string{"work", "--mapreduce", "--map", "cat", "--reduce", "cat", "--root", "/no/such"}, "--root: /no/such is not a directory"},
		"run ID":                   {[]string{"runs", "show", "x y"}, "is no ID of a run"},
		"no run ID":                {[]string{"runs", "cancel"}, "the ID of one run"},
		"almost a runs command":    {[]string{"runs", "resum"}, "did you mean resume?"},
		"queue of runs":            {[]string{"runs", "--queue", "a b"}, "--queue: "},
		"queue weight":             {[]string{"work", "--handle", "f=cat", "--queue", "q:0"}, "weight"},
		"concurrency":              {[]string{"work", "--handle", "f=cat", "--concurrency", "-1"}, "Concurrency is -1"},
		"directory":                {[]string{"work", "--handle", "f=cat", "--dir", "/no/such"}, "/no/such is not a directory"},
		"dead without choice":      {[]string{"dead", "purge"}, "or use --all"},
		"dead with both":           {[]string{"dead", "replay", "--all", "1-0"}, "or use --all"},
		"demo delay":               {[]string{"demo", "--delay", "0s"}, "--delay"},
		"help for nothing":         {[]string{"help", "nosuch"}, `unknown command "nosuch"`},
		"help for less":            {[]string{"help", "dead", "lst"}, "did you mean list?"},
		"queues watch":             {[]string{"queues", "--watch", "-1s"}, "--watch"},
		"queue argument of queues": {[]string{"queues", "a\x1b[31mb"}, `queue name "a\x1b[31mb"`},
		"queue flag of queues":     {[]string{"queues", "-q", "a b"}, `queue name "a b"`},
		"two workers":              {[]string{"workers", "a", "b"}, "one worker at a time"},
		"name of a worker":         {[]string{"workers", "a b"}, `worker name "a b"`},
		"limit of workers":         {[]string{"workers", "--limit", "-1"}, "--limit"},
		"almost a tasks command":   {[]string{"tasks", "lits"}, "did you mean list?"},
		"state of tasks":           {[]string{"tasks", "list", "--state", "gone"}, "waiting, running, delayed or dead"},
		"worker and state":         {[]string{"tasks", "list", "--state", "dead", "--worker", "w"}, "leave --state out"},
		"limit of tasks":           {[]string{"tasks", "list", "--limit", "0"}, "--all for all"},
		"limit and all":            {[]string{"tasks", "list", "--limit", "5", "--all"}, "limit"},
		"task ID":                  {[]string{"tasks", "show", "x\x1by"}, "is no ID of a task"},
		"no task":                  {[]string{"tasks", "show"}, "the ID of one task"},
		"cancel nothing":           {[]string{"tasks", "cancel"}, "name the IDs"},
		"queue of tasks":           {[]string{"tasks", "retry", "--queue", "a b", "01M842GNH5PAD9BP9VDYDARKF0"}, "--queue: "},
		"pending of two":           {[]string{"pending", "a", "b"}, "one queue at a time"},
		"pending limit":            {[]string{"pending", "--limit", "1000"}, "0 to 200"},
		"pause nothing":            {[]string{"pause"}, "name the queues"},
		"purge nothing":            {[]string{"purge", "--state", "dead"}, "name the queue"},
		"purge what":               {[]string{"purge", "web"}, "--state: say which"},
		"purge what runs":          {[]string{"purge", "web", "--state", "running"}, "what runs is not purged"},
		"purge state":              {[]string{"purge", "web", "--state", "gone"}, "waiting, delayed or dead"},
		"dead group and ID":        {[]string{"dead", "purge", "--group", "a", "1-0"}, "or use --all or --group"},
		"dead limit":               {[]string{"dead", "list", "--limit", "-1"}, "--limit"},
		"bench size":               {[]string{"bench", "--size", "7"}, "--size: 8 bytes"},
		"bench size text":          {[]string{"bench", "--size", "huge"}, "--size: write a number"},
		"bench tasks":              {[]string{"bench", "--tasks", "0"}, "--tasks: at least 1"},
		"bench workers":            {[]string{"bench", "--workers", "10001"}, "--workers: at most 10000"},
		"bench call":               {[]string{"bench", "--call", "--workers", "0"}, "--call: it needs"},
		"bench both":               {[]string{"bench", "--tasks", "1", "--duration", "1s"}, "tasks"},
		"dev port":                 {[]string{"dev", "--port", "70000"}, "--port"},
	}
	server := redistest.Start(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, errs, code := consoleAt(t, server.URL()).run("", test.args...)
			if code != exitUsage || out != "" {
				t.Errorf("exit code %d, want %d; stdout %q", code, exitUsage, out)
			}
			wantAll(t, errs, test.want, "--help'.")
			if strings.Contains(errs, "\x1b") {
				t.Errorf("an escape character reaches the terminal: %q", errs)
			}
		})
	}
}

func TestBadURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"redis://:" + canary + "/x@h", "http://:" + canary + "@h", "redis://u:" + canary, canary + "@h:1", "redis://:" + canary + "@h:port",
		canary, canary + "/1", "redis://h," + canary, "redis://h?ca=/" + canary, "rediss://h?ca=/" + canary,
		"redis://:" + canary + "%zz@h", "redis://h?password=" + canary, "redis+sentinel://:" + canary + "@h",
	} {
		for _, args := range [][]string{
			{"stats"}, {"enqueue", "f"}, {"call", "f"}, {"map", "f"}, {"dead", "list"}, {"work", "--handle", "f=cat"}, {"demo-worker"},
		} {
			for from, c := range map[string]*console{"REDIS_URL": consoleAt(t, url), "--redis": {t: t, flags: []string{"--redis", url}, env: []string{"PATH=" + os.Getenv("PATH")}}} {
				out, errs, code := c.run("", args...)
				if code != exitUsage || strings.Contains(out+errs, canary) {
					t.Errorf("%s %s, %v: exit code %d, stdout %q, stderr %q", from, url, args, code, out, errs)
				}
				wantAll(t, errs, from+": the Redis URL ", "redis://user:password@127.0.0.1:6379/0")
			}
		}
	}
}

func TestNoRedis(t *testing.T) {
	t.Parallel()
	c := consoleAt(t, "redis://:"+canary+"@127.0.0.1:1")
	for _, args := range [][]string{
		{"stats"},
		{"enqueue", "f"},
		{"call", "f"},
		{"map", "f"},
		{"dead", "list"},
		{"dead", "purge", "--all"},
		{"dead", "replay", "1-0"},
		{"work", "--handle", "f=cat"},
		{"demo", "--redis", "redis://:" + canary + "@127.0.0.1:1"},
	} {
		began := time.Now()
		out, errs, code := c.run("", args...)
		if code != exitFailed || out != "" || strings.Contains(errs, canary) {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, out, errs)
		}
		wantAll(t, errs, "no Redis answers at 127.0.0.1:1 (", "worker-machine dev", "apt-get install redis-server", "docker run", "--redis")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%v took %v", args, took)
		}
	}
}

// TestDeadRedis has one that accepts and says nothing.
func TestDeadRedis(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t)
	server.Stop()
	defer server.Cont()
	_, errs, code := consoleAt(t, server.URL()).run("", "stats")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "no Redis answers at "+server.Addr)
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t, "--requirepass", "right-"+canary)
	for name, credentials := range map[string]string{"wrong": ":wrong-" + canary + "@", "unknown user": "bob-" + canary + ":x-" + canary + "@", "none": ""} {
		for _, args := range [][]string{{"stats"}, {"enqueue", "f"}, {"work", "--handle", "f=cat"}} {
			_, errs, code := consoleAt(t, "redis://"+credentials+server.Addr).run("", append(args, "--log-level", "debug")...)
			if code != exitFailed || strings.Contains(errs, canary) {
				t.Errorf("%s %v: exit code %d, stderr %q", name, args, code, errs)
			}
			wantAll(t, errs, "authentication refused by "+server.Addr, "REDIS_URL")
		}
	}
}

// TestNothingShowsThePassword runs what works with a password, with all the log there is.
func TestNothingShowsThePassword(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t, "--requirepass", canary)
	c := consoleAt(t, "redis://:"+canary+"@"+server.Addr)
	c.flags = []string{"--log-level", "debug"}
	worker := c.work("--handle", "env=env", "--handle", "no=false", "--max-attempts", "1")
	all := ""
	for _, args := range [][]string{{"call", "env"}, {"call", "no"}, {"map", "env", "--json"}, {"stats"}, {"dead", "list", "--json"}, {"stats", "--json"}, {"enqueue", "env"}} {
		out, errs, _ := c.run("x\n", args...)
		all += out + errs
	}
	server.Kill() // and now for the errors of connections that are gone
	worker.stderr.await(t, "cannot read queues")
	_, errs, _ := c.run("", "stats")
	worker.ctrlC()
	worker.quit()
	if code := worker.wait(); code != exitFailed {
		t.Errorf("a worker that could not hand over its tasks: exit code %d", code)
	}
	if all += errs + worker.stderr.String() + worker.stdout.String(); strings.Contains(all, canary) {
		t.Errorf("the password is shown:\n%s", all)
	}
}

func TestNotRedis(t *testing.T) {
	t.Parallel()
	pages := startPages(t)
	_, errs, code := consoleAt(t, "redis://"+pages).run("", "stats")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, "what answers at "+pages+" does not speak Redis")
	server := redistest.StartTCP(t)
	_, errs, code = consoleAt(t, "rediss://"+server.Addr).run("", "stats")
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantAll(t, errs, server.Addr, "is it redis:// that you want?")
}

func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()
	c := consoleAt(t, "redis://127.0.0.1:1")
	wantAll(t, c.must("", "version"), "worker-machine ", "go1.")
	if got, want := c.must("", "--version"), c.must("", "version"); got != want {
		t.Errorf("--version prints %q, want %q", got, want)
	}
	if got, want := c.must("", "help", "dead", "list"), c.must("", "dead", "list", "--help"); got != want {
		t.Errorf("help dead list prints %q, want %q", got, want)
	}
	wantAll(t, c.must("", "help"), "Available Commands:")
	wantAll(t, c.must("", "version", "--json"), `"version":`, `"platform":`)
	wantAll(t, c.must("", "completion", "bash"), "worker-machine")
	wantAll(t, c.must("", "__complete", "--log-level", ""), "debug\n", "error\n")
	wantAll(t, c.must("", "__complete", "d"), "demo\t", "dev\t", "dead\t")
}
