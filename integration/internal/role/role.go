// Package role is what the processes under test are told: which part to play, on which server, and where to write their history.
// The actor and the naive program read the same, so that both can stand in the same faults.
package role

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/athoune/worker-machine/integration/internal/history"
)

// Variable is the environment variable that holds a Spec as JSON.
const Variable = "WM_ROLE"

// Queue is the one that all tasks lie in, RunQueue that of map/reduce runs, whose tasks nobody counts.
const (
	Queue    = "work"
	RunQueue = "runs"
)

// The parts.
const (
	Worker = "worker" // runs tasks until SIGTERM or the end of its input
	Client = "client" // orders tasks until the line "calm" on its input, then waits for what it ordered, and ends
	Exec   = "exec"   // runs one task as a program: the number on its input, the result on its output
)

// Spec says what a process is to do.
type Spec struct {
	Role     string
	Process  string // its name in histories, of this process only
	History  string // the file it appends to
	Seed     uint64
	Addrs    []string // of the server, of all nodes of a cluster, or of the sentinels
	Master   string   // name of the one that the sentinels watch
	Cluster  bool
	Prefix   string
	Password string
	Pool     int    // connections; 0 for the default
	CA       string // the file with the authority that signed the certificate of the server; "" without TLS

	Concurrency  int           // of a worker
	Lease, Drain time.Duration // of a worker

	First  int64         // the first number of a client; it takes First, First+1, ...
	Most   int64         // how many numbers it may take
	Every  time.Duration // how long a client waits between two orders; a map counts as one
	Ways   []history.Way // of ordering, drawn by chance; one that is named twice is drawn twice as often
	Cancel int           // in a hundred: how many of the kept and delayed tasks a client asks to cancel
	Widest int           // most inputs of a map

	ReplyTTL time.Duration // of a client: how long its outcomes outlive it; 0 for the default
}

// Read reads the Spec of this process and opens its history. It writes the first record.
func Read() (Spec, *history.Writer, error) {
	var s Spec
	if err := json.Unmarshal([]byte(os.Getenv(Variable)), &s); err != nil {
		return s, nil, fmt.Errorf("%s: %w", Variable, err)
	}
	w, err := history.Append(s.History, s.Process)
	if err != nil {
		return s, nil, err
	}
	w.Write(history.Record{Kind: history.Begin, Text: fmt.Sprintf("%s, seed %d, pid %d", s.Role, s.Seed, os.Getpid())})
	return s, w, nil
}

// Signals returns a context that ends with SIGTERM, and with the end of the input: the test is gone then. calm is closed by the line "calm".
func Signals() (ctx context.Context, calm <-chan struct{}, stop func()) {
	ctx, stop = signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // the main of a process
	quiet := make(chan struct{})
	go func() {
		input := bufio.NewReader(os.Stdin)
		for told := false; ; {
			line, err := input.ReadString('\n')
			if !told && strings.TrimSpace(line) == "calm" {
				told = true
				close(quiet)
			}
			if err == io.EOF || err != nil {
				stop()
				return
			}
		}
	}()
	return ctx, quiet, stop
}
