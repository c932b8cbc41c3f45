package main

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the server names scripts so
	"encoding/hex"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// What the keys of times are made of.
const (
	inMaps     = "map tasks"
	inMapper   = "mapper"
	inReduces  = "reduce tasks"
	wordsName  = "words"
	sleepsName = "sleeps"
)

// jobsWorker is a worker process for the jobs of this benchmark; at "times" it tells where its time went.
func jobsWorker(ctx context.Context, j job, v *voice, words <-chan string) error {
	times := &clock{spent: map[string]time.Duration{}, scripts: map[string]string{}}
	if err := times.readScripts(); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: j.Address, Dialer: times.dial})
	defer client.Close()
	store, err := stream.NewStore(client, stream.Config{})
	if err != nil {
		return err
	}
	defer store.Close()
	worker, err := group.NewWorker(store, group.Config{
		Queues: []group.Queue{{Name: queueName}}, Concurrency: j.Work.Concurrency, Middleware: []group.Middleware{times.around}, Drain: time.Second,
	})
	if err != nil {
		return err
	}
	wordsJob(times, 0).Handle(worker)
	sleepsJob(client, j.Sleep).Handle(worker)
	group.Handle(worker, echo, func(_ context.Context, _ []byte) ([]byte, error) { return nil, nil })
	v.say(report{Event: "ready"})
	go func() {
		for range words {
			v.say(report{Event: "times", CPU: ownCPU(), Spent: times.all()})
		}
	}()
	return worker.Run(ctx)
}

// wordsJob counts the words of files.
func wordsJob(times *clock, split int) *mapreduce.Job[string, string, int, int] {
	sum := func(_ context.Context, _ string, counts iter.Seq[int]) (int, error) {
		total := 0
		for n := range counts {
			total += n
		}
		return total, nil
	}
	job := mapreduce.New(wordsName, func(_ context.Context, path string, emit func(string, int)) error {
		defer times.since(inMapper, time.Now())
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for word := range strings.FieldsFuncSeq(string(text), betweenWords) {
			emit(word, 1)
		}
		return nil
	}, sum)
	job.Combine, job.Queue, job.Split = sum, queueName, split
	return job
}

// betweenWords is what tr -c 'A-Za-z0-9_' finds in the C locale.
func betweenWords(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
}

// goFiles are the Go files below a directory, in the order of their names.
func goFiles(root string) iter.Seq[string] {
	return func(yield func(string) bool) {
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, ".go") && !yield(path) {
				return fs.SkipAll
			}
			return err
		})
	}
}

const (
	napTime   = 100 * time.Millisecond
	slowInput = 100
)

// sleepsJob has tasks that take 100 ms, but for one, where it runs first.
func sleepsJob(client *redis.Client, slow time.Duration) *mapreduce.Job[int, int, int, int] {
	job := mapreduce.New(sleepsName, func(ctx context.Context, n int, emit func(int, int)) error {
		took := napTime
		if n == slowInput && client != nil {
			first, err := client.SetNX(ctx, "slow", 1, 0).Result()
			if err != nil {
				return err
			}
			if first {
				took = slow
			}
		}
		emit(n%10, n)
		return pause(ctx, took)
	}, func(_ context.Context, _ int, values iter.Seq[int]) (int, error) {
		n := 0
		for range values {
			n++
		}
		return n, nil
	})
	job.Queue, job.Split, job.Partitions = queueName, 1, 4
	return job
}

// clock adds up where the time of a process goes, over all of its goroutines.
type clock struct {
	scripts map[string]string // names by SHA-1

	mu    sync.Mutex
	spent map[string]time.Duration
}

func (c *clock) readScripts() error {
	paths, err := filepath.Glob("../internal/script/lua/*.lua")
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sum := sha1.Sum(text) //nolint:gosec // see the import
		c.scripts[hex.EncodeToString(sum[:])] = strings.TrimSuffix(filepath.Base(path), ".lua")
	}
	return nil
}

func (c *clock) add(what string, took time.Duration) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spent[what] += took
}

func (c *clock) since(what string, began time.Time) { c.add(what, time.Since(began)) }

func (c *clock) all() map[string]time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.spent)
}

// around times handlers.
func (c *clock) around(next group.Handler) group.Handler {
	return func(ctx context.Context, task group.Task) ([]byte, error) {
		began := time.Now()
		defer func() {
			switch {
			case strings.HasSuffix(task.Function, ".map"):
				c.since(inMaps, began)
			case strings.HasSuffix(task.Function, ".reduce"):
				c.since(inReduces, began)
			}
		}()
		return next(ctx, task)
	}
}

// dial times the calls of Redis: from the request until the last part of the answer.
func (c *clock) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	plain, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &timed{Conn: plain, clock: c}, nil
}

type timed struct {
	net.Conn
	clock *clock
	call  atomic.Pointer[started]
}

// started is a call under way.
type started struct {
	name string
	at   time.Time
}

func (t *timed) Write(request []byte) (int, error) {
	if name := t.clock.name(request); name != "" {
		t.call.Store(&started{name, time.Now()})
	}
	return t.Conn.Write(request)
}

func (t *timed) Read(answer []byte) (int, error) {
	n, err := t.Conn.Read(answer)
	if s := t.call.Load(); s != nil {
		now := time.Now()
		t.clock.add(s.name, now.Sub(s.at))
		t.call.Store(&started{s.name, now})
	}
	return n, err
}

// name is that of a request which begins with a command: of the script, or the command with the last part of its key.
func (c *clock) name(request []byte) string {
	parts := bytes.SplitN(request[:min(len(request), 400)], []byte("\r\n"), 10)
	if request[0] != '*' || len(parts) < 6 {
		return ""
	}
	first := string(parts[4])
	if script := c.scripts[first]; script != "" && len(parts) > 9 {
		key := string(parts[8])
		return script + " " + key[strings.LastIndexByte(key, ':')+1:]
	}
	return string(parts[2]) + " " + first[strings.LastIndexByte(first, ':')+1:]
}

// output is what a command prints, "" when it fails.
func output(ctx context.Context, command ...string) string {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, command, err)
		return ""
	}
	return string(out)
}
