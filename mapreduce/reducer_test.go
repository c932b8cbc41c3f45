package mapreduce_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// tally is the accumulator of the tests: it tells which inputs were folded, how often, and with which values.
type tally struct {
	Count  int
	Failed int
	Sum    int
	Set    uint64         // sum of a hash of each index
	Mod    map[string]int // by value modulo 7; a map, so that folds change it in place
}

// add folds one result.
func (t tally) add(r mapreduce.Result[int, int]) tally {
	if t.Mod == nil {
		t.Mod = make(map[string]int)
	}
	t.Count++
	t.Set += scramble(uint64(r.Index)) //nolint:gosec // never negative
	if r.Err != nil {
		t.Failed++
		return t
	}
	t.Sum += r.Value
	t.Mod[strconv.Itoa(r.Value%7)]++
	return t
}

func (t tally) String() string {
	text, _ := json.Marshal(t)
	return string(text)
}

// scramble is the finalizer of splitmix64.
func scramble(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// job is a durable fold; a test and its child processes have the same.
type job struct {
	Network, Addr string
	Name          string
	Inputs        int
	Ordered       bool
	Loop          bool // over the results, instead of a fold
	Every         time.Duration
	ReplyTTL      time.Duration
}

// inputs are numbers, some of which fail.
func (j job) inputs() []int {
	inputs := make([]int, j.Inputs)
	for i := range inputs {
		if inputs[i] = i % 1000; i%97 == 13 {
			inputs[i] = -i
		}
	}
	return inputs
}

// serial is the answer.
func (j job) serial() tally {
	var t tally
	for i, n := range j.inputs() {
		r := mapreduce.Result[int, int]{Index: i, Value: n * n}
		if n < 0 {
			r.Err = errNegative
		}
		t = t.add(r)
	}
	return t
}

// fold runs the job; told hears of each input that is folded.
func (j job) fold(ctx context.Context, client *stream.Client, told func(index int) error) (tally, error) {
	options := []mapreduce.Option{mapreduce.Durable(j.Name, mapreduce.CheckpointEvery(j.Every)), mapreduce.Window(300), mapreduce.Chunk(20)}
	if j.Ordered {
		options = append(options, mapreduce.InOrder())
	}
	inputs := func(yield func(int) bool) {
		for _, n := range j.inputs() {
			if !yield(n) {
				return
			}
		}
	}
	last := -1
	batch := mapreduce.Map(ctx, client, square, inputs, options...)
	if j.Loop {
		var t tally
		for r := range batch.Results() {
			t = t.add(r)
			if err := told(r.Index); err != nil {
				return t, err
			}
		}
		return t, batch.Err()
	}
	return mapreduce.Reduce(ctx, batch, tally{}, func(t tally, r mapreduce.Result[int, int]) (tally, error) {
		if j.Ordered && r.Index <= last {
			return t, fmt.Errorf("%d came after %d", r.Index, last)
		}
		last = r.Index
		if r.Err == nil && r.Value != r.Input*r.Input || r.Err != nil && r.Input >= 0 {
			return t, fmt.Errorf("got %+v", r)
		}
		return t.add(r), told(r.Index)
	})
}

// playReducer is a child process that runs a job: it writes "folded <index>" for each input, then "result <tally>".
func playReducer(spec string) error {
	var j job
	if err := json.Unmarshal([]byte(spec), &j); err != nil {
		return err
	}
	store, err := stream.NewStore(redis.NewClient(&redis.Options{Network: j.Network, Addr: j.Addr}), stream.Config{})
	if err != nil {
		return err
	}
	client, err := stream.NewClient(store, stream.ClientConfig{ReplyTTL: j.ReplyTTL})
	if err != nil {
		return err
	}
	ctx := context.Background() //nolint:forbidigo // the main of a process
	t, err := j.fold(ctx, client, func(index int) error {
		_, err := fmt.Println("folded", index)
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Println("result", t)
	return err
}

// reducer is such a process.
type reducer struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	told  func(index string) // of each input, unless nil
}

func startReducer(t *testing.T, j job) *reducer {
	t.Helper()
	spec, err := json.Marshal(j)
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MAPREDUCE_TEST_REDUCER="+string(spec))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	r := &reducer{t: t, cmd: cmd, lines: bufio.NewScanner(io.Reader(stdout))}
	t.Cleanup(r.kill)
	return r
}

// follow reads n lines, or up to the end; it returns the rest of the last one when that is a result or an error.
func (r *reducer) follow(n int) (verb, rest string) {
	for ; n > 0 && r.lines.Scan(); n-- {
		if verb, rest, _ = strings.Cut(r.lines.Text(), " "); verb != "folded" {
			return verb, rest
		}
		if r.told != nil {
			r.told(rest)
		}
	}
	return "", ""
}

func (r *reducer) signal(s syscall.Signal) {
	r.t.Helper()
	must(r.t, r.cmd.Process.Signal(s))
}

// kill is kill -9.
func (r *reducer) kill() {
	_ = r.cmd.Process.Kill()
	if err := r.cmd.Wait(); err != nil && errors.Is(err, exec.ErrNotFound) {
		r.t.Error(err)
	}
}

// nothingLeft holds that neither keys nor tasks of the batches of a server are left.
func nothingLeft(t testing.TB, server *redistest.Server) {
	t.Helper()
	client := server.Client(t)
	redistest.Eventually(t, 10*time.Second, func() bool { return len(keys(t, client)) == 0 && backlog(t, client) == 0 },
		"no key and no task is left: %q, %d", keys(t, client), backlog(t, client))
}
