package mapreduce

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/script"
	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// What may end a durable batch early, besides what ends any batch; test with errors.Is.
var (
	// ErrTakenOver says that another process runs the batch by now, or that somebody has discarded its checkpoint. Nothing that this
	// process has folded since its last save counts; the other one does that again.
	ErrTakenOver = errors.New("another process has taken the batch over")
	// ErrOtherInputs says that the inputs are not those that the checkpoint was made with, or come in another order.
	ErrOtherInputs = errors.New("the inputs are not those of the checkpoint")
	// ErrOtherBatch says that the checkpoint of that name is of another function, of a loop and not of Reduce or the other way round,
	// or was written by a newer version. Use another name, or [Discard] it.
	ErrOtherBatch = errors.New("the checkpoint is of another batch")
	// ErrNoCheckpoint says that there is no checkpoint of that name: the batch has not begun, has ended, or its checkpoint expired.
	ErrNoCheckpoint = errors.New("no such checkpoint")
)

const (
	checkpointEvery = time.Second
	checkpointTTL   = 24 * time.Hour
	shortestEvery   = 10 * time.Millisecond
	shortestTTL     = 10 * time.Second
	checkpointBytes = 64 << 20 // of an accumulator

	kindLoop, kindFold = "loop", "fold"
)

// DurableOption tunes [Durable].
type DurableOption func(*durability)

// durability is what Durable and its options say.
type durability struct {
	name       string
	every, ttl time.Duration
	codec      stream.Codec
}

// Durable gives the batch a checkpoint in Redis, beside the queue of its function, so that it survives its caller: when the process
// dies, whoever runs the same call again, with the same name and the same inputs, resumes where the last save left it. Names follow the
// rule of queue names. The checkpoint is removed when every input has been delivered. A batch that ended early, by a break, an error
// or its context, keeps it; [Discard] forgets it.
//
// [Reduce] saves its accumulator together with which inputs are in it, in one step: each input counts exactly once in it, whatever
// is killed when. Acc must survive the codec (with JSON: exported fields), and only fold may change it. A resumed Reduce begins with
// the saved accumulator instead of init. fold should return an error before it changes an accumulator that it shares, such as a map: what such a fold
// left is not saved. Fold and save take turns, so a large accumulator holds up the fold for as long as encoding it takes.
//
// In a loop over [Batch.Results] an input counts as delivered when the loop asks for the next result. What was delivered since the last
// save comes again after a kill, and so does the result at which the loop was left.
//
// inputs is pulled from the start again, and what was delivered is not sent. So it must yield the same inputs in the same order,
// encoded to the same bytes: a checksum over all inputs that were taken is compared BEFORE anything is sent, and the batch ends with
// [ErrOtherInputs] where it differs. Inputs that were out when the process died run again. Indexes stay those of the whole batch;
// [Progress] and [FailAfter] count what was delivered before. An iterator that must give up, after an error of what it reads, ends the
// context before it returns: otherwise the batch is complete with what it gave, and its checkpoint is removed.
//
// A batch has one owner: the process that began it last. The one before ends with [ErrTakenOver] within about a second, and
// can change nothing any more, not even when it was frozen and comes back later. While Redis does not answer, the batch goes on
// unsaved, for the client's RetryFor at most.
func Durable(name string, opts ...DurableOption) Option {
	d := &durability{name: name, every: checkpointEvery, ttl: checkpointTTL, codec: stream.JSON}
	for _, opt := range opts {
		opt(d)
	}
	return func(o *options) { o.durable = d }
}

// CheckpointEvery sets how often a checkpoint is saved, as long as anything was delivered since; the default is 1s. It is saved at
// the end too.
func CheckpointEvery(d time.Duration) DurableOption { return func(o *durability) { o.every = d } }

// CheckpointTTL sets how long a checkpoint outlives its process; the default is 24h. A live batch renews it every second, but not while
// one fold takes longer than that.
func CheckpointTTL(d time.Duration) DurableOption { return func(o *durability) { o.ttl = d } }

// CheckpointCodec sets how the accumulator of [Reduce] is encoded; the default is [stream.JSON]. It may take 64 MiB at most.
func CheckpointCodec(c stream.Codec) DurableOption { return func(o *durability) { o.codec = c } }

// check reports what is wrong, each by the option that says it.
func (d *durability) check() error {
	var errs []error
	if err := wire.CheckName("batch", d.name); err != nil {
		errs = append(errs, fmt.Errorf("mapreduce: Durable: %w", err))
	}
	if d.every < shortestEvery {
		errs = append(errs, fmt.Errorf("mapreduce: CheckpointEvery(%v): at least %v is needed", d.every, shortestEvery))
	}
	if d.ttl < shortestTTL {
		errs = append(errs, fmt.Errorf("mapreduce: CheckpointTTL(%v): at least %v is needed", d.ttl, shortestTTL))
	}
	if d.codec == nil {
		errs = append(errs, errors.New("mapreduce: CheckpointCodec(nil): leave it out for JSON"))
	}
	return errors.Join(errs...)
}

// Checkpoint is how far a durable batch was when it was last saved.
type Checkpoint struct {
	Function string        // that it maps
	Fold     bool          // it is of Reduce, and not of a loop over the results
	Owner    string        // a ULID, another one for each process that begins or resumes the batch
	Done     int           // inputs that were delivered and have a value
	Failed   int           // inputs that were delivered and failed
	Low      int           // all inputs below this index are among those; some above may be
	Inputs   int           // inputs taken
	Saved    time.Time     // by the clock of Redis; zero when it was not saved yet
	Expires  time.Duration // when it goes, unless a live batch renews it
	Acc      []byte        // the accumulator of Reduce, encoded; nil of a loop, and when it was not saved yet
}

// Checkpointed looks at the checkpoint of a durable batch, and changes nothing. queue is that of the function, "" for the default.
// It returns [ErrNoCheckpoint] when there is none.
func Checkpointed(ctx context.Context, store *stream.Store, queue, name string) (*Checkpoint, error) {
	fields, expires, err := readCheckpoint(ctx, store, queue, name)
	var s *saved
	if err == nil {
		s, err = parseSaved(fields)
	}
	if err != nil {
		return nil, fmt.Errorf("mapreduce: checkpoint %q: %w", name, err)
	}
	c := &Checkpoint{
		Function: fields["function"], Fold: fields["kind"] == kindFold, Owner: s.owner.ID,
		Done: s.delivered.count() - s.failed, Failed: s.failed, Low: s.delivered.low(), Inputs: s.inputs, Expires: expires,
	}
	if s.at > 0 {
		c.Saved = time.UnixMilli(s.at)
	}
	if s.folded {
		c.Acc = []byte(s.acc)
	}
	return c, nil
}

// Discard removes the checkpoint of a durable batch: the next run of its call begins anew. A process that runs the batch now ends with
// [ErrTakenOver]. It returns [ErrNoCheckpoint] when there is none.
func Discard(ctx context.Context, store *stream.Store, queue, name string) error {
	for {
		fields, _, err := readCheckpoint(ctx, store, queue, name)
		if err != nil {
			return fmt.Errorf("mapreduce: discard checkpoint %q: %w", name, err)
		}
		epoch, _ := strconv.ParseInt(fields["epoch"], 10, 64) // a broken one is removed all the same
		owner := script.Owner{ID: fields["owner"], Epoch: epoch}
		removed, err := store.Scripts().Discard(ctx, store.Keys(queueName(queue)), name, owner, false)
		if err != nil {
			return fmt.Errorf("mapreduce: discard checkpoint %q: %w", name, err)
		}
		if removed {
			return nil
		} // it has another owner since
	}
}

func queueName(queue string) string {
	if queue == "" {
		return stream.DefaultQueue
	}
	return queue
}

func readCheckpoint(ctx context.Context, store *stream.Store, queue, name string) (map[string]string, time.Duration, error) {
	if err := errors.Join(wire.CheckName("queue", queueName(queue)), wire.CheckName("batch", name)); err != nil {
		return nil, 0, err
	}
	key := store.Keys(queueName(queue)).Batch(name)
	pipe := store.Client().TxPipeline()
	fields, expires := pipe.HGetAll(ctx, key), pipe.PTTL(ctx, key)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, 0, err
	}
	if len(fields.Val()) == 0 {
		return nil, 0, ErrNoCheckpoint
	}
	return fields.Val(), expires.Val(), nil
}

// saved is what a checkpoint holds.
type saved struct {
	owner     script.Owner
	sessions  []string // that may have tasks: of owners before, and of this one
	delivered spans    // indexes of inputs
	failed    int      // of these
	inputs    int      // taken
	sum       uint32   // over those
	at        int64    // ms; 0 never
	folded    bool     // acc is there
	acc       string
}

// fields is all of it but for what the script adds.
func (s *saved) fields(function, kind string) map[string]string {
	fields := map[string]string{
		"v": script.CheckpointVersion, "function": function, "kind": kind,
		"sessions":  strings.Join(s.sessions, " "),
		"delivered": s.delivered.String(),
		"failed":    strconv.Itoa(s.failed),
		"inputs":    strconv.Itoa(s.inputs),
		"sum":       strconv.FormatUint(uint64(s.sum), 16),
	}
	if s.folded {
		fields["acc"] = s.acc
	}
	return fields
}

// parseSaved reads a checkpoint; one that was not saved yet lacks some fields.
func parseSaved(fields map[string]string) (*saved, error) {
	all := maps.Clone(fields)
	for _, name := range []string{"failed", "inputs", "sum", "saved"} {
		if all[name] == "" {
			all[name] = "0"
		}
	}
	s := &saved{owner: script.Owner{ID: all["owner"]}, sessions: strings.Fields(all["sessions"])}
	s.acc, s.folded = all["acc"]
	var errs [6]error
	var sum uint64
	s.owner.Epoch, errs[0] = strconv.ParseInt(all["epoch"], 10, 64)
	s.failed, errs[1] = strconv.Atoi(all["failed"])
	s.inputs, errs[2] = strconv.Atoi(all["inputs"])
	sum, errs[3] = strconv.ParseUint(all["sum"], 16, 32)
	s.at, errs[4] = strconv.ParseInt(all["saved"], 10, 64)
	s.delivered, errs[5] = parseSpans(all["delivered"])
	s.sum = uint32(sum) //nolint:gosec // it was parsed as 32 bits
	err := errors.Join(errs[:]...)
	if err == nil && (s.delivered.end() > s.inputs || s.failed > s.delivered.count()) {
		err = fmt.Errorf("delivered %s, %d of them failed, of %d inputs", s.delivered, s.failed, s.inputs)
	}
	if err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return s, nil
}
