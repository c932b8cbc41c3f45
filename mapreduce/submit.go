package mapreduce

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"iter"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// Headers of the tasks of a run.
const (
	headerRun   = "run"   // its ID
	headerSplit = "split" // number of the split, or of the partition
	headerFirst = "first" // of a map task: number of the first input
	headerCopy  = "copy"  // of a task that is started a second time: the worker that was slow
)

// Bounds of one call that stores splits: Redis serves nobody else while it runs.
const (
	mostFedTasks = 1000
	mostFedBytes = 1 << 20
)

// Submit begins a run of the job on the workers, and returns when all inputs are stored: from then on the run needs nobody but workers
// and Redis, and [Job.Resume] finds it from any process. Map tasks start while inputs still come. inputs is pulled by the
// caller's goroutine; of what it yields, a call under way and the next one are held, about 2 MiB. A panic of inputs passes through.
//
// When it fails, or is killed, what was stored stays until it expires: another Submit with the same inputs and [RunID] continues. Have the
// ID from the beginning for that, by RunID(stream.NewID()). While inputs are slow the run is kept alive.
//
// The errors of a run that ends meanwhile are those of [Run.Wait]; [stream.ErrUnavailable] says that Redis was away for longer than
// ClientConfig.RetryFor, [stream.ErrQueueFull] that it is out of memory, [stream.ErrPayloadTooLarge] that an input is above
// ClientConfig.MaxPayload, [ErrOtherRun] that the run which is to be continued is another one.
func (j *Job[In, K, V, Out]) Submit(ctx context.Context, client *stream.Client, inputs iter.Seq[In], opts ...RunOption) (*Run[K, Out], error) {
	full, err := j.filled()
	o, bad := newRunOptions(opts)
	if err = errors.Join(err, bad); err == nil && client == nil {
		err = fmt.Errorf("mapreduce: submit %s: client is nil: make it with stream.NewClient", j.Name)
	}
	if err != nil {
		return nil, err
	}
	var done func(error)
	full.headers, done = client.Sending(ctx, stream.Sending{Verb: "submit", Queue: full.Queue, Function: full.Name})
	defer func() { done(err) }()
	run := newRun[K](full.Name, o.id, client, full.Queue, full.out().DecodeOut)
	stored, err := full.open(ctx, run.at, &o)
	if err == nil && stored.State == script.RunOpen {
		err = full.feed(ctx, client, inputs, newFeeder(run.at, stored, o.expire))
	}
	if err != nil {
		return nil, fmt.Errorf("mapreduce: submit %s as run %s: %w", j.Name, o.id, err)
	}
	run.seen.Store(true)
	return run, nil
}

// spec is what a Submit must agree on with the one it continues.
type spec struct {
	Job        string `json:"job"`
	Partitions int    `json:"partitions"`
	Split      int    `json:"split"`
	SplitBytes int    `json:"splitBytes"`
}

// open makes the run, or finds it. Its partitions are made BEFORE the first split is stored: a map task that finds none takes it for a
// loss of data.
func (j *Job[In, K, V, Out]) open(ctx context.Context, at *place, o *runOptions) (stored script.RunStored, err error) {
	text, err := json.Marshal(spec{Job: j.Name, Partitions: j.Partitions, Split: j.Split, SplitBytes: j.SplitBytes})
	if err != nil {
		return stored, err
	}
	tend := wire.Task{ID: stream.NewID(), Function: j.Name + suffixTend, Attempt: 1, Headers: map[string]string{headerRun: o.id}}
	opening := &script.RunOpening{
		Keys: at.keys, TTL: o.expire, Tend: tend.Encode(), Reducers: make([][]byte, j.Partitions),
		Fields: append([]any{"job", j.Name, "spec", text, "partitions", j.Partitions}, o.fields()...),
	}
	for p := range opening.Reducers {
		task := j.task(o.id, suffixReduce, taskID(o.id, kindReduce, p), p)
		opening.Reducers[p] = task.Encode()
	}
	if err = at.again(ctx, func() (err error) {
		stored, err = at.store.Scripts().OpenRun(ctx, opening)
		return err
	}); err != nil {
		return stored, err
	}
	if stored.Spec != string(text) {
		return stored, fmt.Errorf("%w: it is %s, and this is %s", ErrOtherRun, stored.Spec, text)
	}
	if stored.State != script.RunOpen || stored.Splits > 0 {
		return stored, nil
	}
	err = at.again(ctx, func() error { return at.store.Scripts().KeepPartitions(ctx, at.keys, j.Partitions, o.expire, true) })
	if err == nil {
		err = at.again(ctx, func() error { return at.store.Register(ctx, j.Queue) })
	}
	return stored, err
}

// task is a task of a run, without a payload.
func (j *Job[In, K, V, Out]) task(run, suffix, id string, number int) wire.Task {
	return wire.Task{
		ID: id, Function: j.Name + suffix, Attempt: 1, MaxAttempts: j.MaxAttempts, Timeout: j.Timeout.Truncate(time.Millisecond), Reply: run,
		Headers: withHeaders(map[string]string{headerRun: run, headerSplit: strconv.Itoa(number)}, j.headers),
	}
}

// feed stores the inputs that are not stored yet.
func (j *Job[In, K, V, Out]) feed(ctx context.Context, client *stream.Client, inputs iter.Seq[In], f *feeder) error {
	sending, stop := context.WithCancel(ctx)
	go f.send(sending)
	defer func() { // also when inputs panics: what is on its way is given up
		stop()
		<-f.ended
	}()
	cutter, in := newSplitter(j.Split, j.SplitBytes, 0, 0), j.in()
	for input := range inputs {
		data, err := in.Payload(client, input)
		if err == nil {
			if done, ok := cutter.add(data); ok {
				err = f.add(ctx, j.mapTask(f.at, done), done)
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	if done, ok := cutter.flush(); ok {
		if err := f.add(ctx, j.mapTask(f.at, done), done); err != nil {
			return err
		}
	}
	return f.finish(ctx)
}

func (j *Job[In, K, V, Out]) mapTask(at *place, s split) []byte {
	task := j.task(at.keys.ID(), suffixMap, taskID(at.keys.ID(), kindMap, s.number), s.number)
	task.Headers[headerFirst], task.Payload = strconv.Itoa(s.first), s.packed
	return task.Encode()
}

// feeder stores splits while the next ones are cut: one call is under way at a time.
type feeder struct {
	at     *place
	ttl    time.Duration
	stored script.RunStored // before
	digest hash.Hash64
	cut    int    // splits so far
	more   signal // there is something to store
	room   signal // the last was taken
	ended  chan struct{}

	mu   sync.Mutex
	next script.RunFeed // gathers
	size int
	err  error

	bytes int64 // of the inputs so far
	fed   int   // splits that are stored; of send
}

func newFeeder(at *place, stored script.RunStored, ttl time.Duration) *feeder {
	return &feeder{
		at: at, ttl: ttl, stored: stored, fed: stored.Splits, digest: fnv.New64a(),
		more: make(signal, 1), room: make(signal, 1), ended: make(chan struct{}),
	}
}

// add waits until there is room for a split. What is stored already is compared with it.
func (f *feeder) add(ctx context.Context, task []byte, s split) error {
	if s.number >= mostSplits {
		return fmt.Errorf("the run has more than %d map tasks: make Split or SplitBytes larger", mostSplits)
	}
	_, _ = f.digest.Write(s.packed) // never fails
	f.bytes += int64(len(s.packed))
	f.cut++
	sum := hex.EncodeToString(f.digest.Sum(nil))
	if s.number < f.stored.Splits {
		if last := s.number == f.stored.Splits-1; last && (sum != f.stored.Digest || s.first+s.inputs != f.stored.Inputs) {
			return fmt.Errorf("%w: the first %d are not these", ErrOtherRun, f.stored.Inputs)
		}
		return nil
	}
	after := script.RunFeed{Inputs: s.first + s.inputs, Digest: sum, Bytes: f.bytes}
	for {
		if added, err := f.offer(task, after); added || err != nil {
			return err
		}
		select {
		case <-f.room:
		case <-f.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// offer adds a task to those that gather; it reports false when there is no room.
func (f *feeder) offer(task []byte, after script.RunFeed) (added bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.more.give()
	if n := len(f.next.Tasks); f.err != nil || n > 0 && (n >= mostFedTasks || f.size+len(task) > mostFedBytes) {
		return false, f.err
	}
	after.Tasks = append(f.next.Tasks, task)
	f.next = after
	f.size += len(task)
	return true, nil
}

// finish closes the run, once all is stored.
func (f *feeder) finish(ctx context.Context) error {
	if f.cut < f.stored.Splits {
		return fmt.Errorf("%w: %d are stored, and these are fewer", ErrOtherRun, f.stored.Inputs)
	}
	f.mu.Lock()
	f.next.Close = true
	f.mu.Unlock()
	f.more.give()
	select {
	case <-f.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// send stores what has gathered, and keeps the run alive while nothing does.
func (f *feeder) send(ctx context.Context) {
	defer close(f.ended)
	beat := time.NewTicker(max(f.ttl/renewParts, time.Millisecond))
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.more:
		case <-beat.C:
			if err := f.at.renew(ctx, f.ttl); err != nil {
				f.fail(err)
				return
			}
			continue
		}
		f.mu.Lock()
		batch := f.next
		f.next, f.size = script.RunFeed{}, 0
		f.mu.Unlock()
		f.room.give()
		if len(batch.Tasks) == 0 && !batch.Close {
			continue
		}
		if err := f.store(ctx, &batch); err != nil {
			f.fail(err)
			return
		}
		if batch.Close {
			if _, err := f.at.advance(ctx, false); err != nil { // map tasks may all be done; whoever tends the run does it too
				f.at.store.Logger().Debug("advance a run that is closed", zap.String("run", f.at.keys.ID()), zap.Error(err))
			}
			return
		}
	}
}

func (f *feeder) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *feeder) store(ctx context.Context, batch *script.RunFeed) error {
	batch.Keys, batch.First = f.at.keys, f.fed
	var state string
	var splits int
	err := f.at.again(ctx, func() (err error) {
		state, splits, err = f.at.store.Scripts().FeedRun(ctx, batch)
		return err
	})
	if err != nil {
		return err
	}
	switch want := batch.First + len(batch.Tasks); {
	case state == script.RunGone:
		return f.at.gone(ctx)
	case state == script.RunFailed:
		return f.at.failure(ctx)
	case splits < want:
		return fmt.Errorf("%w: %d splits are stored of %d that were", ErrDataLost, splits, batch.First)
	}
	f.fed += len(batch.Tasks) // splits may be more: another Submit stores the same ones
	return nil
}
