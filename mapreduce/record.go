package mapreduce

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/stream"
)

// RunState is what a run is at: "open" while its inputs are submitted (map tasks run already), "mapping", "reducing", "done" or "failed".
type RunState string

// The states of a run.
const (
	RunOpen     RunState = script.RunOpen
	RunMapping  RunState = script.RunMapping
	RunReducing RunState = script.RunReducing
	RunDone     RunState = script.RunDone
	RunFailed   RunState = script.RunFailed
)

// RunProgress is how far a run is. Sizes are bytes before Redis' own overhead.
type RunProgress struct {
	State       RunState
	Inputs      int           // stored so far
	InputBytes  int64         // encoded
	MapsDone    int           // map tasks that are decided: done, or failed and tolerated
	Maps        int           // stored so far; all of them once State is past "open"
	ReducesDone int           // likewise
	Reduces     int           // as many as the job has partitions
	Failed      int           // tasks that have failed for good
	Copies      int           // slow tasks that were started a second time
	Bytes       int64         // sent from mappers to reducers
	Pairs       int64         // emitted, after combining
	Results     int64         // of reducers that are done
	Started     time.Time     // when the run was made, by the clock of Redis
	Elapsed     time.Duration // since then, until now or its end
	Rate        float64       // tasks per second, in this phase
	ETA         time.Duration // until the end of this phase, at that rate; 0 where nothing can be said
}

// RunInfo describes a run to whoever does not know its job's types.
type RunInfo struct {
	RunProgress
	ID         string
	Job        string
	Queue      string
	Note       string // see [Note]
	Partitions int
	Reason     string // why it failed: "failed", "deadline", "too much data", "data lost", "cancelled"; "" otherwise
}

// record is the record of a run.
type record struct {
	RunInfo
	reason string
	keep   time.Duration
	now    time.Time // by the clock of Redis
}

// record reads the record of the run; the error is ErrNoRun when there is none.
func (p *place) record(ctx context.Context) (r record, err error) {
	var fields *redis.MapStringStringCmd
	var now *redis.TimeCmd
	err = p.again(ctx, func() error {
		_, err := p.store.Client().Pipelined(ctx, func(pipe redis.Pipeliner) error {
			fields, now = pipe.HGetAll(ctx, p.keys.Hash()), pipe.Time(ctx)
			return nil
		})
		return err
	})
	if err != nil {
		return record{}, err
	}
	if len(fields.Val()) == 0 {
		return record{}, ErrNoRun
	}
	return newRecord(p.keys.ID(), fields.Val(), now.Val()), nil
}

func newRecord(id string, f map[string]string, now time.Time) record {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(f[name], 10, 64) // scripts wrote it; what is missing is 0
		return n
	}
	at := func(name string) time.Time {
		if n := number(name); n > 0 {
			return time.UnixMilli(n)
		}
		return time.Time{}
	}
	r := record{reason: f["reason"], keep: time.Duration(number("keep")) * time.Millisecond, now: now}
	r.RunInfo = RunInfo{ID: id, Job: f["job"], Note: f["note"], Partitions: int(number("partitions")), Reason: f["reason"]}
	r.RunProgress = RunProgress{
		State: RunState(f["state"]), Inputs: int(number("inputs")), InputBytes: number("size"),
		MapsDone: int(number("maps")), Maps: int(number("splits")), ReducesDone: int(number("reduces")), Reduces: r.Partitions,
		Failed: int(number("failed")), Copies: int(number("copies")),
		Bytes: number("bytes"), Pairs: number("maps pairs"), Results: number("reduces pairs"), Started: at("made"),
	}
	until := now
	if end := at("ended"); !end.IsZero() {
		until = end
	}
	r.Elapsed = max(until.Sub(r.Started), 0)
	r.pace(until, at("mapped"))
	return r
}

// pace computes rate and ETA of the phase.
func (p *RunProgress) pace(now, mapped time.Time) {
	done, all, since := p.MapsDone, p.Maps, p.Started
	if !mapped.IsZero() {
		done, all, since = p.ReducesDone, p.Reduces, mapped
	}
	if took := now.Sub(since); took > 0 && done > 0 {
		p.Rate = float64(done) / took.Seconds()
		if p.State == RunMapping || p.State == RunReducing {
			p.ETA = time.Duration(float64(all-done) / p.Rate * float64(time.Second))
		}
	}
}

// failures are the tasks that failed.
func (p *place) failures(ctx context.Context) ([]TaskFailure, error) {
	var texts map[string]string
	err := p.again(ctx, func() (err error) {
		texts, err = p.store.Client().HGetAll(ctx, p.keys.Errors()).Result()
		return err
	})
	if err != nil {
		return nil, err
	}
	failures := make([]TaskFailure, 0, len(texts))
	for field, text := range texts {
		var f TaskFailure
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			f = TaskFailure{Phase: field, Message: text}
		}
		failures = append(failures, f)
	}
	slices.SortFunc(failures, func(a, b TaskFailure) int {
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Number, b.Number))
	})
	return failures, nil
}

// patience is how long functions without a client wait for Redis.
const patience = 10 * time.Second

// Runs lists the runs of a queue, the latest first.
func Runs(ctx context.Context, store *stream.Store, queue string) ([]RunInfo, error) {
	queue = cmp.Or(queue, stream.DefaultQueue)
	keys := store.Keys(queue)
	var ids []string
	err := store.Again(ctx, patience, func() (err error) {
		ids, err = store.Client().ZRange(ctx, keys.Runs(), 0, -1).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mapreduce: list the runs of %s: %w", queue, err)
	}
	slices.Reverse(ids)
	infos := make([]RunInfo, 0, len(ids))
	for _, id := range ids {
		at := &place{store: store, keys: keys.Run(id), within: patience}
		r, err := at.record(ctx)
		if errors.Is(err, ErrNoRun) { // it has expired
			_ = store.Client().ZRem(ctx, keys.Runs(), id).Err()
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("mapreduce: list the runs of %s: %w", queue, err)
		}
		r.Queue = queue
		infos = append(infos, r.RunInfo)
	}
	return infos, nil
}

// FindRun looks for a run in all queues of the store; the error is [ErrNoRun] when it is in none.
func FindRun(ctx context.Context, store *stream.Store, id string) (RunInfo, error) {
	info, _, err := find(ctx, store, id)
	if err != nil {
		return RunInfo{}, fmt.Errorf("mapreduce: find run %s: %w", id, err)
	}
	return info, nil
}

// CancelRun is [Run.Cancel] for a run in any queue of the store.
func CancelRun(ctx context.Context, store *stream.Store, id string) error {
	_, at, err := find(ctx, store, id)
	if err == nil {
		var there bool
		if there, err = at.remove(ctx, script.ReasonCancelled); err == nil && !there {
			err = ErrNoRun
		}
	}
	if err != nil {
		return fmt.Errorf("mapreduce: cancel run %s: %w", id, err)
	}
	return nil
}

func find(ctx context.Context, store *stream.Store, id string) (RunInfo, *place, error) {
	queues, err := store.Queues(ctx)
	if err != nil {
		return RunInfo{}, nil, err
	}
	for _, queue := range queues {
		at := &place{store: store, keys: store.Keys(queue).Run(id), within: patience}
		r, err := at.record(ctx)
		if err == nil {
			r.Queue, at.job = queue, r.Job
			return r.RunInfo, at, nil
		}
		if !errors.Is(err, ErrNoRun) {
			return RunInfo{}, nil, err
		}
	}
	return RunInfo{}, nil, ErrNoRun
}
