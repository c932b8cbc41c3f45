package stage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/athoune/worker-machine/integration/internal/history"
	"github.com/athoune/worker-machine/integration/internal/role"
	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// Patience is how long the rest may take after the last fault. It bounds what is stuck; recovery is measured from the histories.
const Patience = 60 * time.Second

// Settle brings everything to rest after the last fault is over: clients end when they have all they wait for, workers when the
// queues are empty. It writes down what is left, what Redis counted and which outcomes it keeps.
func (s *Stage) Settle() {
	s.t.Helper()
	s.Faults.Write(history.Record{Kind: history.Calm})
	s.mu.Lock()
	workers, clients := slices.Clone(s.workers), slices.Clone(s.clients)
	s.mu.Unlock()
	for _, p := range clients {
		p.Calm()
	}
	for _, p := range clients {
		s.awaitEnd(p)
	}
	s.awaitEmptyQueues()
	s.readOutcomes()
	for _, p := range workers {
		p.Terminate()
	}
	for _, p := range workers {
		s.awaitEnd(p)
	}
	s.readTotals()
	s.lookForKeys()
	s.lookForSecrets()
	s.Faults.Write(history.Record{Kind: history.Settled})
}

// awaitEnd writes down a process that does not end, or ends badly. One that was killed is no finding.
func (s *Stage) awaitEnd(p *Process) {
	if p.killed.Load() {
		<-p.done
		return
	}
	if err := p.Await(Patience); err != nil {
		s.left("%s: %v", p.Name, err)
	}
}

func (s *Stage) awaitEmptyQueues() {
	ctx := s.t.Context()
	for _, queue := range []string{role.Queue, role.RunQueue} {
		keys := s.store.Keys(queue)
		empty := redistest.Within(Patience, func() bool {
			return s.Direct.XLen(ctx, keys.Tasks()).Val()+s.Direct.ZCard(ctx, keys.Due()).Val() == 0
		})
		if empty {
			continue
		}
		for _, entry := range s.Direct.XRangeN(ctx, keys.Tasks(), "-", "+", 20).Val() {
			s.left("queue %s: the entry %s: %.200v", queue, entry.ID, entry.Values)
		}
		s.left("queue %s: pending: %+v", queue, s.Direct.XPending(ctx, keys.Tasks(), s.store.Group()).Val())
		s.left("queue %s: due: %v", queue, s.Direct.ZRangeWithScores(ctx, keys.Due(), 0, 20).Val())
	}
}

// readOutcomes reads the outcome of each task that was to be kept.
func (s *Stage) readOutcomes() {
	ctx := s.t.Context()
	client, err := stream.NewClient(s.store, stream.ClientConfig{})
	s.must(err)
	defer func() { s.must(client.Close(context.WithoutCancel(ctx))) }()
	s.eachRecord(func(r history.Record) {
		if r.Kind != history.Stored || r.Way != history.Kept && r.Way != history.Delayed {
			return
		}
		outcome, done, err := client.Outcome(ctx, role.Queue, r.Task)
		switch {
		case errors.Is(err, stream.ErrNotKept), err == nil && !done:
			return // the checker knows whether data was lost
		case err != nil:
			s.left("the outcome of number %d cannot be read: %v", r.Number, err)
		default:
			s.Faults.Write(outcomeRecord(r.Number, outcome))
		}
	})
}

func outcomeRecord(n int64, o stream.Outcome) history.Record {
	r := history.Record{Kind: history.Outcome, Number: n, Task: o.TaskID}
	switch {
	case o.Kind == wire.KindResult:
		r.Value, _ = strconv.ParseInt(string(o.Payload), 10, 64)
	case o.Failure.Message == history.DropMessage:
		r.Error = history.DropMessage
	default:
		r.Error = strings.TrimSuffix(o.Failure.Reason+": "+o.Failure.Message, ": ")
		for _, known := range []string{history.Cancelled, history.CrashLoop} {
			if o.Failure.Reason == known {
				r.Error = known
			}
		}
	}
	return r
}

// eachRecord reads the histories of the processes.
func (s *Stage) eachRecord(do func(history.Record)) {
	files, err := filepath.Glob(filepath.Join(s.Dir, "*.jsonl"))
	s.must(err)
	for _, path := range files {
		file, err := os.Open(path)
		s.must(err)
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			var r history.Record
			if json.Unmarshal(lines.Bytes(), &r) == nil { // the last line may be torn
				do(r)
			}
		}
		s.must(lines.Err())
		_ = file.Close()
	}
}

func (s *Stage) readTotals() {
	counts := map[string]int64{}
	for name, text := range s.Direct.HGetAll(s.t.Context(), s.store.Keys(role.Queue).Counts()).Val() {
		counts[name], _ = strconv.ParseInt(text, 10, 64)
	}
	s.Faults.Write(history.Record{Kind: history.Totals, Counts: counts})
}

// lookForKeys writes down what lies in Redis though nothing is to be done any more, and who is still connected.
func (s *Stage) lookForKeys() {
	ctx := s.t.Context()
	keys := s.store.Keys(role.Queue)
	for _, key := range []string{keys.Body(), keys.Crashes(), keys.Chunks(), keys.Sessions(), keys.SessionInfo()} {
		if s.Direct.Exists(ctx, key).Val() != 0 {
			s.left("the key %s: %.300v", key, s.Direct.Dump(ctx, key).Val())
		}
	}
	for _, queue := range []string{role.Queue, role.RunQueue} {
		consumers := s.Direct.XInfoConsumers(ctx, s.store.Keys(queue).Tasks(), s.store.Group()).Val()
		for _, c := range consumers {
			if c.Pending > 0 {
				s.left("queue %s: the consumer %s has %d pending entries", queue, c.Name, c.Pending)
			}
		}
	}
}

// lookForSecrets looks for the password of Redis in everything that was written.
func (s *Stage) lookForSecrets() {
	if s.password == "" {
		return
	}
	files, err := filepath.Glob(filepath.Join(s.Dir, "*"))
	s.must(err)
	for _, path := range files {
		data, err := os.ReadFile(path)
		s.must(err)
		if bytes.Contains(data, []byte(s.password)) {
			s.left("%s contains the password of Redis", filepath.Base(path))
		}
	}
}
