package reclaim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
)

// letterPage is how many dead letters one round trip brings: their payloads may be a megabyte each.
const letterPage = 32

// ErrNoLetter says that there is no dead letter of that ID: it was replayed or purged before, or never was.
var ErrNoLetter = errors.New("no such dead letter")

// ErrNotReplayable says that a dead letter holds no task that could run again; look at its Raw text, then purge it.
var ErrNotReplayable = errors.New("it holds no task that can run")

// DeadLetter is a task that failed for good, kept with its reason until it is replayed or purged.
type DeadLetter struct {
	ID       string            `json:"letter"` // of the dead letter itself, for Replay and Purge; it is older or newer as a Redis entry ID is
	Queue    string            `json:"queue"`
	TaskID   string            `json:"task,omitempty"` // "" when the entry was no task
	Function string            `json:"function,omitempty"`
	Attempt  int               `json:"attempt,omitempty"` // the attempt it failed in
	Reason   string            `json:"reason"`            // one of a few words, such as "failed", "dropped" or "malformed"
	Error    string            `json:"error"`             // what the last attempt ended with
	Worker   string            `json:"worker,omitempty"`  // who buried it
	Entry    string            `json:"entry,omitempty"`   // where it lay in the stream of tasks
	Time     time.Time         `json:"time"`
	Payload  []byte            `json:"-"`    // whoever shows letters decides who may see it
	Size     int               `json:"size"` // of the payload; Payload is shorter where a listing cut it
	Headers  map[string]string `json:"headers,omitempty"`
	Raw      string            `json:"raw,omitempty"` // of an entry that is no task, or one of a newer version: its fields, quoted and cut

	task wire.Task
	why  error // why it cannot be replayed
}

// ListOption changes one call of [List].
type ListOption func(*listing)

// NewestFirst lists from the newest dead letter to the oldest.
func NewestFirst() ListOption { return func(l *listing) { l.newest = true } }

type listing struct{ newest bool }

// List goes through the dead letters of a queue, oldest first, in pages of bounded size. It ends at the letter that was the newest when
// it began, so that a loop which replays what it sees ends even if the tasks fail again. After an error it ends.
func List(ctx context.Context, store *stream.Store, queue string, opts ...ListOption) iter.Seq2[DeadLetter, error] {
	var l listing
	for _, option := range opts {
		option(&l)
	}
	return func(yield func(DeadLetter, error) bool) {
		if err := wire.CheckName("queue", queue); err != nil {
			yield(DeadLetter{}, fmt.Errorf("reclaim: list dead letters: %w", err))
			return
		}
		key := store.Keys(queue).Dead()
		last, err := newestID(ctx, store, key)
		low, high := "-", last
		for err == nil && last != "" {
			var page []redis.XMessage
			if l.newest {
				page, err = store.Client().XRevRangeN(ctx, key, high, low, letterPage).Result()
			} else {
				page, err = store.Client().XRangeN(ctx, key, low, high, letterPage).Result()
			}
			for _, message := range page {
				if !yield(Open(queue, message), nil) {
					return
				}
			}
			if err == nil && len(page) < letterPage {
				return
			}
			if err == nil {
				end := "(" + page[len(page)-1].ID
				low, high = pick(l.newest, low, end), pick(l.newest, end, high)
			}
		}
		if err != nil {
			yield(DeadLetter{}, fmt.Errorf("reclaim: list dead letters of %s: %w", queue, err))
		}
	}
}

func pick(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

func newestID(ctx context.Context, store *stream.Store, key string) (string, error) {
	last, err := store.Client().XRevRangeN(ctx, key, "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return "", err
	}
	return last[0].ID, nil
}

// Replay puts the tasks of the dead letters with these IDs back into the queue: same task ID, first attempt. It goes on after a letter
// that is gone or holds no task, and stops when Redis fails; n is how many are known to be back. Each letter turns into a task in
// one step, so an interrupted Replay loses nothing and may be called again.
func Replay(ctx context.Context, store *stream.Store, queue string, ids ...string) (n int, err error) {
	if err := wire.CheckName("queue", queue); err != nil {
		return 0, fmt.Errorf("reclaim: replay dead letters: %w", err)
	}
	var problems []error
	for _, id := range ids {
		done, err := replay(ctx, store, queue, id)
		if done {
			n++
		}
		if err == nil {
			continue
		}
		problems = append(problems, fmt.Errorf("reclaim: replay dead letter %s of %s: %w", id, queue, err))
		if !errors.Is(err, ErrNoLetter) && !errors.Is(err, ErrNotReplayable) {
			break
		}
	}
	return n, errors.Join(problems...)
}

func replay(ctx context.Context, store *stream.Store, queue, id string) (bool, error) {
	if !IsLetterID(id) {
		return false, fmt.Errorf("%w: an ID is two numbers and a dash, as `dead list` shows it", ErrNoLetter)
	}
	found, err := store.Client().XRangeN(ctx, store.Keys(queue).Dead(), id, id, 1).Result()
	if err != nil {
		return false, err
	}
	if len(found) == 0 {
		return false, ErrNoLetter
	}
	letter := Open(queue, found[0])
	if letter.why != nil {
		return false, fmt.Errorf("%w: %w", ErrNotReplayable, letter.why)
	}
	task := letter.task
	task.Attempt, task.LastError = 1, ""
	// Its caller has had the failure as outcome, and its uniqueness lock went with it. A tombstone of an old cancel must not
	// catch a task that a person wants to run, and tombstones are asked only for promoted tasks.
	task.Unique, task.Promoted = "", false
	if task.Reply != task.ID { // nobody waits any more; but an outcome may be kept
		task.Reply = ""
	}
	return store.Scripts().Replay(ctx, store.Keys(queue), id, task)
}

// Purge removes the dead letters with these IDs for good and returns how many there were.
func Purge(ctx context.Context, store *stream.Store, queue string, ids ...string) (n int, err error) {
	if err := wire.CheckName("queue", queue); err != nil {
		return 0, fmt.Errorf("reclaim: purge dead letters: %w", err)
	}
	const atOnce = 256
	for len(ids) > 0 {
		some := ids[:min(atOnce, len(ids))]
		ids = ids[len(some):]
		removed, err := store.Client().XDel(ctx, store.Keys(queue).Dead(), some...).Result()
		n += int(removed)
		if err != nil {
			return n, fmt.Errorf("reclaim: purge dead letters of %s: %w", queue, err)
		}
	}
	return n, nil
}

// Open reads an entry of the stream of dead letters; it takes whatever lies there.
func Open(queue string, message redis.XMessage) DeadLetter {
	letter := DeadLetter{ID: message.ID, Queue: queue, Time: timeOf(message.ID)}
	fields := make([]string, 0, 2*len(message.Values))
	for _, name := range slices.Sorted(maps.Keys(message.Values)) {
		text := fmt.Sprint(message.Values[name])
		switch name {
		case "reason":
			letter.Reason = text
		case "error":
			letter.Error = text
		case "worker":
			letter.Worker = text
		case "entry":
			letter.Entry = text
		case "raw":
			letter.Raw = text
		default:
			fields = append(fields, name, text)
		}
	}
	task, err := wire.Decode(fields)
	if err != nil {
		letter.why = err
		if letter.Raw == "" { // of a newer version, and kept whole
			letter.Raw = wire.Raw(fields)
		}
		return letter
	}
	letter.task = task
	letter.TaskID, letter.Function, letter.Attempt = task.ID, task.Function, task.Attempt
	letter.Payload, letter.Size, letter.Headers = task.Payload, len(task.Payload), task.Headers
	return letter
}

// timeOf reads the Redis clock from an entry ID.
func timeOf(id string) time.Time {
	ms, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

// IsLetterID tells whether id may be that of a dead letter: it keeps "-", "+" and ranges out of a place where one is meant.
func IsLetterID(id string) bool {
	ms, sequence, ok := strings.Cut(id, "-")
	if !ok {
		return false
	}
	for _, part := range []string{ms, sequence} {
		if _, err := strconv.ParseUint(part, 10, 64); err != nil {
			return false
		}
	}
	return true
}
