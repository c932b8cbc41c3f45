package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/mapreduce"
	"github.com/athoune/worker-machine/stream"
)

// specVariable holds, as JSON, what a child process is to do.
const specVariable = "WM_INTEGRATION_SPEC"

// spec is what a child process is to do.
type spec struct {
	Network, Addr string
	Cluster       []string // instead
	Prefix        string
	Workers       int // in one process; 0 is one
	Queues        int // instead of the one that all tests use: see numberedQueues
	Concurrency   int
	Lease, Drain  time.Duration
	ReplyTTL      time.Duration // of a client
	Tasks         int           // that a client maps
	Verbose       bool          // log to standard error
	Run           *runSpec      // of the roles for map/reduce runs
}

func (s *spec) open() (*stream.Store, error) {
	var client redis.UniversalClient = redis.NewClient(&redis.Options{Network: s.Network, Addr: s.Addr})
	if len(s.Cluster) > 0 {
		client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Cluster})
	}
	logger := zap.NewNop()
	if s.Verbose {
		config := zap.NewDevelopmentConfig()
		config.Level.SetLevel(zap.InfoLevel)
		config.DisableStacktrace = true
		logger = zap.Must(config.Build())
	}
	return stream.NewStore(client, stream.Config{Prefix: s.Prefix, Logger: logger})
}

// readSpec is the beginning of each role.
func readSpec() (s spec, store *stream.Store, err error) {
	if err = json.Unmarshal([]byte(os.Getenv(specVariable)), &s); err != nil {
		return s, nil, fmt.Errorf("%s: %w", specVariable, err)
	}
	store, err = s.open()
	return s, store, err
}

// reporter writes events to standard output, one line each, whole lines only.
func reporter() func(format string, args ...any) {
	var mu sync.Mutex
	return func(format string, args ...any) {
		line := fmt.Appendf(nil, format+"\n", args...)
		mu.Lock()
		defer mu.Unlock()
		_, _ = os.Stdout.Write(line)
	}
}

// playWorker is a worker process: SIGTERM and the end of its input drain it, the line "open" opens its gate.
func playWorker() error {
	s, store, err := readSpec()
	if err != nil {
		return err
	}
	defer store.Close()
	report := reporter()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // the main of a process
	defer stop()
	gate := make(chan struct{})
	go followInput(gate, stop)
	ended := make(chan error)
	workers := max(1, s.Workers)
	for range workers {
		worker, err := newWorker(s, store, report)
		if err != nil {
			return err
		}
		handleAll(worker, gate, report)
		report("name %s 0 0", worker.Name())
		go func() { ended <- worker.Run(ctx) }()
	}
	var errs []error
	for range workers {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

func newWorker(s spec, store *stream.Store, report func(format string, args ...any)) (*group.Worker, error) {
	queues := []group.Queue{{Name: queue}}
	if s.Queues > 0 {
		queues = numberedQueues(s.Queues)
	}
	return group.NewWorker(store, group.Config{
		Queues: queues, Concurrency: s.Concurrency, Lease: s.Lease, Drain: s.Drain,
		Backoff: group.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond},
		Hooks: group.Hooks{
			Late:      func(m group.Metadata) { report("late %s %d 0", m.ID, m.Attempt) },
			LeaseLost: func(string) { report("leaseLost - 0 0") },
		},
	})
}

// numberedQueues are q0, q1, and so on.
func numberedQueues(n int) []group.Queue {
	queues := make([]group.Queue, n)
	for i := range queues {
		queues[i].Name = fmt.Sprintf("q%d", i)
	}
	return queues
}

// followInput opens the gate when told to, and stops the process when the test is gone.
func followInput(gate chan struct{}, stop func()) {
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		if strings.TrimSpace(input.Text()) == "open" {
			close(gate)
		}
	}
	stop()
}

// playClient maps numbers to their squares; it reports each result and waits to be killed.
func playClient() error {
	s, store, err := readSpec()
	if err != nil {
		return err
	}
	client, err := stream.NewClient(store, stream.ClientConfig{ReplyTTL: s.ReplyTTL})
	if err != nil {
		return err
	}
	report := reporter()
	inputs := func(yield func(int) bool) {
		for n := range s.Tasks {
			if !yield(n) {
				return
			}
		}
	}
	ctx := context.Background() //nolint:forbidigo // the main of a process
	batch := mapreduce.Map(ctx, client, hold, inputs, mapreduce.Window(s.Tasks))
	go func() {
		for ctx.Err() == nil && batch.Progress().Submitted < s.Tasks {
			_ = pauseFor(ctx, time.Millisecond)
		}
		report("sent %s 0 %d", batch.ID(), s.Tasks)
	}()
	for r := range batch.Results() {
		report("result %s 0 %d", r.TaskID, r.Index)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return batch.Err()
}
